package report

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/tape"
)

// DigestSchema names the form in which a digest is kept. It changes when a reader of the old form would misread the new one; a
// digest of another form counts as none.
const DigestSchema = "tapedeck.digest/1"

// Digest is what a report said, small enough to be kept: when the tape has been healed since, a new report of the same window
// is compared with it.
type Digest struct {
	Schema   string                   `json:"schema"`
	Start    time.Time                `json:"start"`
	End      time.Time                `json:"end"`
	Feed     tape.Feed                `json:"feed"`
	Symbols  []string                 `json:"symbols,omitempty"` // that were asked for
	MadeAt   time.Time                `json:"made_at"`
	Complete bool                     `json:"complete"`
	Missing  int64                    `json:"missing"`
	Sections map[string]SectionDigest `json:"sections"`
}

// SectionDigest is what a section said, by the rows' keys.
type SectionDigest struct {
	// Values are every value by column, exact; of the sections of which it is told what changed.
	Values map[string]map[string]string `json:"values,omitempty"`
	// Sums are checksums of the rows, of the others.
	Sums map[string]string `json:"sums,omitempty"`
}

// told are the sections of which a change is told value by value. Of the others it is told how many rows changed.
var told = [...]string{"overview", "incidents"}

// untold say more about the recording than about the market, or are drawn from what other sections say.
var untold = [...]string{completenessName, "runs", "candles"}

// Digest gives the digest of a report. A section that failed is not in it.
func (r *Report) Digest() Digest {
	d := Digest{
		Schema: DigestSchema, Start: r.Window.Start, End: r.Window.End, Feed: r.Feed, Symbols: slices.Sorted(slices.Values(r.Symbols)),
		MadeAt: r.MadeAt, Complete: r.Complete, Missing: r.Missing, Sections: map[string]SectionDigest{},
	}
	for _, section := range r.Sections {
		name := section.Query.Name
		if section.Err != nil || slices.Contains(untold[:], name) {
			continue
		}
		var s SectionDigest
		if slices.Contains(told[:], name) {
			s.Values = map[string]map[string]string{}
		} else {
			s.Sums = map[string]string{}
		}
		for _, row := range section.Result.Rows {
			key, values := section.keyed(row)
			if s.Values != nil {
				s.Values[key] = values
				continue
			}
			sum := sha256.New()
			for _, column := range section.Result.Columns {
				fmt.Fprintf(sum, "%s=%q\n", column.Name, values[column.Name])
			}
			s.Sums[key] = hex.EncodeToString(sum.Sum(nil)[:8])
		}
		d.Sections[name] = s
	}
	return d
}

// keyed gives a row's key and its values, exact, by column.
func (s Section) keyed(row []any) (key string, values map[string]string) {
	values = map[string]string{}
	for i, column := range s.Result.Columns {
		values[column.Name] = csvValue(kindOf(column), row[i])
	}
	parts := make([]string, len(s.Query.Key))
	for i, name := range s.Query.Key {
		parts[i] = values[name]
	}
	return strings.Join(parts, " "), values
}

// Change is one thing that another report of the same window said otherwise.
type Change struct {
	Section string
	Key     string // of the row; empty where several rows are meant
	Column  string // empty where a row came, went, or several are meant
	// Before and After are as people read them, empty for nothing.
	Before, After string
	Rows          int // how many changed, came or went, where they are not told one by one
}

// String is the change in a sentence.
func (c Change) String() string {
	name := label(c.Section)
	switch {
	case c.Section == "":
		return fmt.Sprintf("%s: %s, was %s", c.Column, c.After, c.Before)
	case c.Rows > 0:
		return fmt.Sprintf("%s: %s changed", name, count(int64(c.Rows), "row"))
	case c.Column != "":
		return fmt.Sprintf("%s %s: %s, was %s", c.Key, label(c.Column), orNothing(c.After), orNothing(c.Before))
	case c.Before == "":
		return fmt.Sprintf("%s, new: %s", name, c.After)
	}
	return fmt.Sprintf("%s, gone: %s", name, c.Before)
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// ErrOtherReport says that two reports are not of the same window, feed and symbols.
var ErrOtherReport = errors.New("the reports are not about the same")

// Changes says what r says otherwise than the report that the digest is of, first how many ids are missing, then in the report's
// order. Nothing changed is nil. A section that only one of them has is not compared.
func (d Digest) Changes(r *Report) ([]Change, error) {
	now := r.Digest()
	if !d.Start.Equal(now.Start) || !d.End.Equal(now.End) || d.Feed != now.Feed || !slices.Equal(d.Symbols, now.Symbols) {
		return nil, ErrOtherReport
	}
	var out []Change
	if d.Missing != now.Missing {
		out = append(out, Change{Column: "missing ids", Before: grouped(formatInt(d.Missing)), After: grouped(formatInt(now.Missing))})
	}
	decimals := r.priceDecimals()
	for _, section := range r.Sections {
		before, had := d.Sections[section.Query.Name]
		after, has := now.Sections[section.Query.Name]
		if !had || !has {
			continue
		}
		if before.Values == nil || after.Values == nil {
			if n := differing(before.Sums, after.Sums); n > 0 {
				out = append(out, Change{Section: section.Query.Name, Rows: n})
			}
			continue
		}
		out = append(out, section.changes(before.Values, after.Values, decimals)...)
	}
	return out, nil
}

// differing counts the keys under which two maps do not hold the same.
func differing(a, b map[string]string) (n int) {
	for key, value := range a {
		if other, ok := b[key]; !ok || other != value {
			n++
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			n++
		}
	}
	return n
}

func (s Section) changes(before, after map[string]map[string]string, decimals map[string]int) (out []Change) {
	for _, row := range s.Result.Rows {
		key, values := s.keyed(row)
		old, ok := before[key]
		if !ok {
			out = append(out, Change{Section: s.Query.Name, Key: key, After: summary(key, values)})
			continue
		}
		for i, column := range s.Result.Columns {
			was, is := old[column.Name], values[column.Name]
			if was == is {
				continue
			}
			shown := shower{kind: kindOf(column), signed: signed(column), decimals: decimals, symbol: columnIndex(s.Result, "symbol")}
			out = append(out, Change{Section: s.Query.Name, Key: key, Column: column.Name, Before: shown.reread(was, row, i), After: oneLine(shown.show(row, i, 0))})
		}
	}
	for _, key := range sortedKeys(before) {
		if _, ok := after[key]; !ok {
			out = append(out, Change{Section: s.Query.Name, Key: key, Before: summary(key, before[key])})
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// summary is a row in a line: its key, and its message where it has one.
func summary(key string, values map[string]string) string {
	if message := values["message"]; message != "" {
		return oneLine(key + ": " + message)
	}
	return oneLine(key)
}

// reread shows a value that was kept as text like the value that took its place in a row.
func (s shower) reread(text string, row []any, column int) string {
	old := slices.Clone(row)
	if old[column] = parseKept(s.kind, text); old[column] == nil {
		return oneLine(text)
	}
	return oneLine(s.show(old, column, 0))
}

func parseKept(kind kind, text string) any {
	switch kind {
	case kindTime:
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return at
		}
	case kindCount, kindID:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case kindPrice, kindAmount, kindPercent, kindShare, kindNumber:
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			return v
		}
	}
	return nil
}

// stateName is the name under which a report's digest is kept.
func stateName(window Window, feed tape.Feed, symbols []string) string {
	sum := sha256.Sum256([]byte(string(feed) + "\n" + strings.Join(slices.Sorted(slices.Values(symbols)), "\n")))
	const layout = "20060102T150405.000000"
	return digestPrefix + window.Start.UTC().Format(layout) + "-" + window.End.UTC().Format(layout) + "-" + hex.EncodeToString(sum[:4]) + ".json"
}

const digestPrefix = "report-"

// Save keeps a digest in the tape's state, in the place of an older one of the same window, feed and symbols.
func (d Digest) Save(dir *tape.Dir) error {
	return dir.WriteState(stateName(Window{d.Start, d.End}, d.Feed, d.Symbols), d)
}

// LastDigest reads the digest of the last report of a window that was kept; false where there is none.
func LastDigest(dir *tape.Dir, window Window, symbols []string) (Digest, bool, error) {
	var d Digest
	err := dir.ReadState(stateName(window, dir.Feed(), symbols), &d)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Digest{}, false, nil
	case err != nil:
		return Digest{}, false, err
	}
	return d, d.Schema == DigestSchema, nil
}

// Digests reads the digests that are kept of windows that end after a time, the oldest window first: those whose reports a
// healing may change. One that cannot be read is passed over.
func Digests(dir *tape.Dir, after time.Time) ([]Digest, error) {
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(dir.StatePath("x")), digestPrefix+"*.json"))
	if err != nil {
		return nil, err
	}
	var out []Digest
	for _, path := range paths {
		var d Digest
		if err := dir.ReadState(filepath.Base(path), &d); err != nil || d.Schema != DigestSchema || !d.End.After(after) {
			continue
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Digest) int { return a.Start.Compare(b.Start) })
	return out, nil
}

// ForgetDigests removes the digests of windows that ended before a time, and says how many.
func ForgetDigests(dir *tape.Dir, before time.Time) (removed int, err error) {
	all, err := Digests(dir, time.Time{})
	if err != nil {
		return 0, err
	}
	for _, d := range all {
		if !d.End.Before(before) {
			continue
		}
		if err := os.Remove(dir.StatePath(stateName(Window{d.Start, d.End}, d.Feed, d.Symbols))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("forget an old report: %w", err)
		}
		removed++
	}
	return removed, nil
}
