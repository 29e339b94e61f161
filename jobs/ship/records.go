package ship

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/lake"
	"tapedeck/internal/tape"
)

// coverage ships the coverage of a date whose trades the lake has.
func (s *shipment) coverage(ctx context.Context, d *day) error {
	rows, certificate, err := s.coverageRows(d)
	if err != nil {
		return err
	}
	have, certified := s.have[tape.Coverage][d.date]
	if certified && have.Hash == certificate.Hash {
		return nil
	}
	decide := func(now *lake.Table) error {
		have, certified := now.Days()[d.date]
		trades := s.have[tape.Trades][d.date]
		if !certified || have.Tape == certificate.Tape || trades.Hash != d.certificate.Hash || certificate.Open < have.Open {
			return nil
		}
		return lake.ErrKept // another recorder's, which knows as much
	}
	return s.commitRows(ctx, lake.Change{Table: tape.Coverage, Date: d.date, Certificate: certificate}, decide,
		func(w io.Writer) error { return lake.EncodeRows(w, rows) })
}

// coverageRows returns the rows of coverage of a date, and their certificate, which does not depend on when they
// were checked and by whom.
func (s *shipment) coverageRows(d *day) (rows []lake.CoverageRow, certificate lake.Certificate, err error) {
	date, err := time.Parse(time.DateOnly, d.date)
	if err != nil {
		return nil, certificate, err
	}
	certificate = lake.Certificate{Tape: s.dir.ID(), Symbols: len(d.coverage), Rows: int64(len(d.coverage))}
	hash := sha256.New()
	for _, c := range d.coverage {
		content := d.symbols[c.Symbol]
		row := lake.CoverageRow{
			Symbol: c.Symbol, Date: int32(date.Unix() / 86400), FirstID: c.FirstID, LastID: c.LastID, Trades: c.Trades,
			AbsentAtSource: c.AbsentAtSource, AbsentIDs: content.Absent, State: c.State, Content: content.Content,
			Tape: s.dir.ID(), CheckedAt: s.opt.Now.UnixMicro(),
		}
		if c.Trades > 0 {
			row.FirstAt, row.LastAt = &content.FirstAt, &content.LastAt
		}
		if c.State == tape.StateOpen {
			certificate.Open++
		}
		fmt.Fprintf(hash, "%q %d %d %s %s %s\n", c.Symbol, c.Trades, c.AbsentAtSource, content.Absent, c.State, content.Content)
		rows = append(rows, row)
	}
	certificate.Hash = hex.EncodeToString(hash.Sum(nil))
	return rows, certificate, nil
}

// commitRows writes rows to a temporary file and commits it.
func (s *shipment) commitRows(
	ctx context.Context, change lake.Change, decide func(*lake.Table) error, write func(io.Writer) error,
) error {
	path := filepath.Join(s.dir.StagingPath(), durable.UniqueName(string(change.Table), ".parquet.tmp"))
	file, err := durable.OS{}.Create(path)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	hash := sha256.New()
	err = write(io.MultiWriter(file, hash))
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	open, err := durable.Open(path)
	if err != nil {
		return err
	}
	defer open.Close()
	info, err := open.Stat()
	if err != nil {
		return err
	}
	sum := [32]byte(hash.Sum(nil))
	change.Files = []lake.Upload{{
		Name: fmt.Sprintf("%s-%s.parquet", change.Table, hex.EncodeToString(sum[:12])), File: open, Size: info.Size(), Sum: sum,
	}}
	if _, err := s.lake.Commit(ctx, change, decide); err != nil && !errors.Is(err, lake.ErrKept) {
		return err
	}
	return nil
}

// alertKey identifies an alert.
type alertKey struct {
	detector, symbol string
	at               int64
}

func keyOf(a tape.Alert) alertKey { return alertKey{a.Detector, a.Symbol, a.At} }

// alerts adds the alerts of a date that the lake does not have.
func (s *shipment) alerts(ctx context.Context, date string) error {
	if s.opt.DryRun {
		return nil
	}
	ours, err := s.dir.ReadAlerts(date, date)
	if err != nil || len(ours) == 0 {
		return err
	}
	files := alertsHash(ours)
	known := s.cached(date)
	if have, ok := s.have[tape.Alerts][date]; ok && known.Alerts == have.Hash && known.AlertFiles == files {
		return nil
	}
	for {
		now, err := s.lake.Read(ctx, tape.Alerts)
		if err != nil {
			return err
		}
		theirs, err := now.Alerts(ctx, date, s.dir.StagingPath())
		if err != nil {
			return err
		}
		known := map[alertKey]bool{}
		for _, alert := range theirs {
			known[keyOf(alert)] = true
		}
		added := slices.Clone(ours)
		added = slices.DeleteFunc(added, func(a tape.Alert) bool { return known[keyOf(a)] })
		have := now.Days()[date]
		if len(added) == 0 {
			return s.remember(date, func(c *cached) { c.Alerts, c.AlertFiles = have.Hash, files })
		}
		certificate := lake.Certificate{
			Tape: s.dir.ID(), Rows: int64(len(theirs) + len(added)), Hash: alertsHash(append(theirs, added...)),
		}
		decide := func(read *lake.Table) error {
			if read.Days()[date].Hash != have.Hash {
				return errChanged
			}
			return nil
		}
		err = s.commitRows(ctx, lake.Change{Table: tape.Alerts, Date: date, Certificate: certificate, Adds: true}, decide,
			func(w io.Writer) error { return lake.EncodeRows(w, added) })
		if errors.Is(err, errChanged) {
			continue // another recorder added some meanwhile
		}
		if err != nil {
			return err
		}
		s.out.Alerts += int64(len(added))
		return s.remember(date, func(c *cached) { c.Alerts, c.AlertFiles = certificate.Hash, files })
	}
}

var errChanged = errors.New("the alerts of the date changed")

// alertsHash is a hash of which alerts there are. It sorts them.
func alertsHash(alerts []tape.Alert) string {
	slices.SortFunc(alerts, func(a, b tape.Alert) int {
		x, y := keyOf(a), keyOf(b)
		switch {
		case x.symbol != y.symbol:
			return strings.Compare(x.symbol, y.symbol)
		case x.at != y.at:
			return int(min(1, max(-1, x.at-y.at)))
		}
		return strings.Compare(x.detector, y.detector)
	})
	hash := sha256.New()
	for _, a := range alerts {
		fmt.Fprintf(hash, "%q %q %d\n", a.Detector, a.Symbol, a.At)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
