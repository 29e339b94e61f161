// Package verify proves how complete the tape is: it reads the ids of all rows, computes which are
// missing, and publishes the result in the coverage table.
//
// Its guarantee: a tape is called complete only if every id from the first to the last of each
// symbol was read exactly once, or is recorded as absent at the exchange. docs/TAPE.md defines
// coverage and its states.
package verify

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"tapedeck/internal/tape"
)

// Options are the settings of a run.
type Options struct {
	// Now is the time of the check.
	Now time.Time
	// Full reads all files again, also those that have not changed since the last run.
	Full bool
	// Logger receives one line about the result; nil means none.
	Logger *slog.Logger
}

// Run checks the tape, publishes its coverage and returns the certificate.
//
// An incomplete tape is not an error, see Certificate.Complete. A tape that is not writable is not
// an error either, see Certificate.SaveErr. If publishing the coverage fails for another reason,
// for example a full disk, Run returns both the certificate and the error. With any other error the
// certificate is nil.
func Run(ctx context.Context, dir *tape.Dir, opt Options) (*tape.Certificate, error) {
	certificate, err := dir.Certify(ctx, opt.Now, opt.Full)
	if err != nil {
		return nil, err
	}
	var notSymbols []string
	for _, name := range certificate.NotSymbols {
		notSymbols = append(notSymbols, name.Text)
	}
	if err := dir.RecordNotSymbols(notSymbols); err != nil {
		certificate.SaveErr = cmp.Or(certificate.SaveErr, err)
	}
	dir.RecordLeftOut(certificate)
	published, err := dir.PublishCoverage(ctx, certificate)
	if tape.IsReadOnly(err) {
		certificate.SaveErr = err
	} else if err != nil {
		return &certificate, fmt.Errorf("publish the coverage: %w", err)
	}
	if opt.Logger != nil {
		opt.Logger.Info("tape checked", "symbols", len(certificate.Symbols), "files", certificate.Files,
			"files_read", certificate.Scanned, "coverage_rows", published.Rows, "complete", certificate.Complete())
	}
	return &certificate, nil
}
