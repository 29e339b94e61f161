package lake

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/iceberg-go/table"

	"tapedeck/internal/tape"
)

// Expired is what Expire removed from one table.
type Expired struct {
	Table            tape.Table
	Snapshots, Files int
	Bytes            int64
}

// Expire removes snapshots that are older than grace, except the current one, and then the objects below the
// table's location that no snapshot has and that are older than grace: of expired snapshots, and of
// shipments that were interrupted. grace must be longer than any reader and any shipment takes.
func (l *Lake) Expire(ctx context.Context, name tape.Table, grace time.Duration) (out Expired, err error) {
	out.Table = name
	found, err := l.load(ctx, name)
	if err != nil || found == nil {
		return out, err
	}
	before := len(found.Metadata().Snapshots())
	transaction := found.NewTransaction()
	if err := transaction.ExpireSnapshots(table.WithOlderThan(grace), table.WithRetainLast(1), table.WithPostCommit(false)); err != nil {
		return out, fmt.Errorf("expire the snapshots of %s: %w", name, err)
	}
	if found, err = transaction.Commit(ctx); err != nil {
		return out, l.config.catalogError(err)
	}
	out.Snapshots = before - len(found.Metadata().Snapshots())
	removed, err := found.DeleteOrphanFiles(ctx, table.WithFilesOlderThan(grace))
	if err != nil {
		return out, fmt.Errorf("remove the orphans of %s: %w", name, err)
	}
	out.Files, out.Bytes = len(removed.DeletedFiles), removed.TotalSizeBytes
	return out, nil
}
