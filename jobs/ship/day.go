package ship

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"tapedeck/internal/idset"
	"tapedeck/internal/lake"
	"tapedeck/internal/tape"
)

// day is a date that is to be shipped, with its files open: a compaction may replace them meanwhile.
type day struct {
	date        string
	coverage    []tape.Day
	segments    []tape.OpenSegment
	waiting     string // why it cannot be shipped yet
	bytes       int64
	certificate lake.Certificate
	symbols     map[string]symbolContent // by symbol
}

func (d *day) close() { tape.CloseSegments(d.segments) }

// symbolContent is what coverage says of a symbol besides its state.
type symbolContent struct {
	Absent  string `json:"absent,omitempty"` // ids between the first and the last one, as lake.FormatIDs writes them
	FirstAt int64  `json:"first_at"`
	LastAt  int64  `json:"last_at"`
	Content string `json:"content"`
}

// cached is what was computed from the files of a date, which saves reading all trades again on each run. It holds
// as long as Files does; if it is lost, it is computed again.
type cached struct {
	Files       string                   `json:"files"` // a hash of their names and sizes
	Certificate lake.Certificate         `json:"certificate"`
	Symbols     map[string]symbolContent `json:"symbols"`
	// Alerts is the lake's certificate of alerts that have all of the tape's, and AlertFiles the hash of those.
	Alerts     string `json:"alerts,omitempty"`
	AlertFiles string `json:"alert_files,omitempty"`
}

// cachedName is the state file of a date.
func cachedName(date string) string { return "shipped/" + date + ".json" }

// cached returns what is cached of a date. What is missing or damaged is zero.
func (s *shipment) cached(date string) (out cached) {
	if s.dir.State().Read(cachedName(date), &out) != nil {
		return cached{}
	}
	return out
}

func (s *shipment) remember(date string, change func(*cached)) error {
	entry := s.cached(date)
	change(&entry)
	return s.dir.State().Write(cachedName(date), entry)
}

// open opens the files of a date and computes its certificate.
func (s *shipment) open(ctx context.Context, date string, coverage []tape.Day) (*day, error) {
	out := &day{date: date, coverage: coverage}
	var broken []tape.BrokenSegment
	var err error
	if out.segments, broken, err = s.dir.OpenTrades(date); err != nil {
		return nil, err
	}
	if len(broken) > 0 {
		out.waiting = broken[0].Error()
		return out, nil
	}
	if out.waiting = notCompacted(out.segments); out.waiting != "" {
		return out, nil
	}
	files := sha256.New()
	for _, segment := range out.segments {
		fmt.Fprintf(files, "%s %d\n", path.Base(segment.Path), segment.Bytes)
		out.bytes += segment.Bytes
	}
	key := hex.EncodeToString(files.Sum(nil))
	if known := s.cached(date); known.Files == key && known.Certificate.Tape == s.dir.ID() {
		out.certificate, out.symbols = known.Certificate, known.Symbols
		return out, nil
	}
	content, err := out.content(ctx, nil)
	if err != nil {
		out.close()
		return nil, err
	}
	out.certificate = lake.Certificate{
		Tape: s.dir.ID(), Rows: content.Rows(), Symbols: len(content.Symbols()), Hash: content.Certificate(),
	}
	out.symbols = map[string]symbolContent{}
	for name, c := range content.Symbols() {
		if len(c.Doubled) > 0 {
			out.waiting = fmt.Sprintf("%s has ids twice", name)
			return out, nil
		}
		first, last := c.IDs[0].First, c.IDs[len(c.IDs)-1].Last
		out.symbols[name] = symbolContent{lake.FormatIDs(c.IDs.Missing(first, last)), c.FirstAt, c.LastAt, c.Sum.String()}
	}
	if s.opt.DryRun {
		return out, nil
	}
	return out, s.remember(date, func(c *cached) {
		c.Files, c.Certificate, c.Symbols = key, out.certificate, out.symbols
	})
}

// notCompacted says that a date is to be compacted first, or "".
func notCompacted(segments []tape.OpenSegment) string {
	others := 0
	for _, segment := range segments {
		if !segment.IsCompacted() {
			others++
		}
	}
	if len(segments) > 1 && (others == len(segments) || others > mostFiles) {
		return "it is not compacted"
	}
	return ""
}

// content reads the rows of the day; see tape.NewDayContent.
func (d *day) content(ctx context.Context, only map[string]idset.Set) (*tape.DayContent, error) {
	out := tape.NewDayContent(d.date, only)
	for _, segment := range d.segments {
		if err := out.AddFile(ctx, segment.File); err != nil {
			return nil, fmt.Errorf("%s: %w", segment.Path, err)
		}
	}
	return out, nil
}

// uploads returns the files of the day as they are uploaded.
func (d *day) uploads(ctx context.Context) (out []lake.Upload, err error) {
	for _, segment := range d.segments {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, io.NewSectionReader(segment.File, 0, segment.Bytes)); err != nil {
			return nil, fmt.Errorf("read %q: %w", segment.Path, err)
		}
		out = append(out, lake.Upload{
			Name: path.Base(segment.Path), File: segment.File, Size: segment.Bytes, Sum: [32]byte(hash.Sum(nil)),
		})
	}
	slices.SortFunc(out, func(a, b lake.Upload) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
