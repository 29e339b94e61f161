package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

// DigestSchema names the format of a saved digest. It changes when readers of the old format would
// misread the new one. A digest with another schema is ignored.
const DigestSchema = "tapedeck.digest/1"

// Digest is a summary of a report, small enough to be saved. Once the tape has been healed, a new
// report of the same window is compared with it.
type Digest struct {
	Schema   string                   `json:"schema"`
	Start    time.Time                `json:"start"`
	End      time.Time                `json:"end"`
	Feed     tape.Feed                `json:"feed"`
	Symbols  []string                 `json:"symbols,omitempty"` // the symbols asked for, sorted
	MadeAt   time.Time                `json:"made_at"`
	Complete bool                     `json:"complete"`
	Missing  int64                    `json:"missing"`
	Sections map[string]SectionDigest `json:"sections"`
}

// SectionDigest is a summary of a section. The keys of its maps are the keys of the rows.
type SectionDigest struct {
	// Values holds every exact value by column, for the sections in valueSections.
	Values map[string]map[string]string `json:"values,omitempty"`
	// Sums holds checksums of the rows, for the other sections.
	Sums map[string]string `json:"sums,omitempty"`
}

// valueSections are the sections whose changes are listed value by value. For the others, a
// correction counts the rows that changed.
var valueSections = [...]string{"overview", "incidents"}

// uncomparedSections describe the recording rather than the market, or repeat what other sections
// show.
var uncomparedSections = [...]string{completenessName, conflictsName, judgedName, "runs", "candles"}

// Digest returns the report's digest. Sections that failed are left out.
func (r *Report) Digest() Digest {
	d := Digest{
		Schema: DigestSchema, Start: r.Window.Start, End: r.Window.End, Feed: r.Feed,
		Symbols: slices.Sorted(slices.Values(r.Symbols)),
		MadeAt:  r.MadeAt, Complete: r.Complete, Missing: r.Missing, Sections: map[string]SectionDigest{},
	}
	for _, section := range r.Sections {
		name := section.Query.Name
		if section.Err != nil || slices.Contains(uncomparedSections[:], name) {
			continue
		}
		var s SectionDigest
		if slices.Contains(valueSections[:], name) {
			s.Values = map[string]map[string]string{}
		} else {
			s.Sums = map[string]string{}
		}
		for _, row := range section.Result.Rows {
			key, values := section.exactValues(row)
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

// exactValues returns a row's key and its exact values by column.
func (s Section) exactValues(row []any) (key string, values map[string]string) {
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

// Change is one difference between two reports of the same window.
type Change struct {
	Section string // empty if the change is not about a section
	Key     string // the row's key; empty if the change counts rows
	Column  string // empty if a row was added or removed, or if the change counts rows
	// Before and After are formatted for people; empty for no value.
	Before, After string
	Rows          int // number of rows that changed, if they are not listed
}

// String describes the change in one line.
func (c Change) String() string {
	name := label(c.Section)
	switch {
	case c.Section == "":
		return fmt.Sprintf("%s: %s, was %s", c.Column, c.After, c.Before)
	case c.Rows > 0:
		return fmt.Sprintf("%s: %s changed", name, wording.Count(c.Rows, "row"))
	case c.Column != "":
		return fmt.Sprintf("%s %s: %s, was %s", c.Key, label(c.Column), cmp.Or(c.After, "no value"),
			cmp.Or(c.Before, "no value"))
	case c.Before == "":
		return fmt.Sprintf("%s, new: %s", name, c.After)
	}
	return fmt.Sprintf("%s, removed: %s", name, c.Before)
}

// ErrOtherReport means that two reports do not cover the same window, feed and symbols.
var ErrOtherReport = errors.New("the reports cover different windows, feeds or symbols")

// Changes compares the report of the digest with the later report r. It returns the change in
// missing ids first, then the others in the order of r's sections, and nil if nothing changed. A
// section that only one of the reports has is not compared.
func (d Digest) Changes(r *Report) ([]Change, error) {
	now := r.Digest()
	if !d.Start.Equal(now.Start) || !d.End.Equal(now.End) || d.Feed != now.Feed ||
		!slices.Equal(d.Symbols, now.Symbols) {
		return nil, ErrOtherReport
	}
	var out []Change
	if d.Missing != now.Missing {
		out = append(out, Change{Column: "missing ids", Before: wording.Comma(d.Missing),
			After: wording.Comma(now.Missing)})
	}
	for _, section := range r.Sections {
		before, inBefore := d.Sections[section.Query.Name]
		after, inAfter := now.Sections[section.Query.Name]
		if !inBefore || !inAfter {
			continue
		}
		if before.Values == nil || after.Values == nil {
			if n := countDifferences(before.Sums, after.Sums); n > 0 {
				out = append(out, Change{Section: section.Query.Name, Rows: n})
			}
			continue
		}
		out = append(out, r.sectionChanges(section, before.Values, after.Values)...)
	}
	return out, nil
}

// countDifferences counts the keys whose checksums differ between two maps.
func countDifferences(a, b map[string]string) (n int) {
	for key, sum := range a {
		if b[key] != sum {
			n++
		}
	}
	for key := range b {
		if a[key] == "" {
			n++
		}
	}
	return n
}

func (r *Report) sectionChanges(s Section, before, after map[string]map[string]string) (out []Change) {
	for _, row := range s.Result.Rows {
		key, values := s.exactValues(row)
		old, ok := before[key]
		if !ok {
			out = append(out, Change{Section: s.Query.Name, Key: key, After: summary(key, values)})
			continue
		}
		for i, column := range s.Result.Columns {
			if old[column.Name] == values[column.Name] {
				continue
			}
			f := r.formatter(s.Result, i)
			out = append(out, Change{
				Section: s.Query.Name, Key: key, Column: column.Name,
				Before: f.exactText(old[column.Name], row), After: f.format(row, 0),
			})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[key]; !ok {
			out = append(out, Change{Section: s.Query.Name, Key: key, Before: summary(key, before[key])})
		}
	}
	return out
}

// summary describes a row in one line: its key, and its message if it has one.
func summary(key string, values map[string]string) string {
	if message := values["message"]; message != "" {
		return wording.Visible(key + ": " + message)
	}
	return wording.Visible(key)
}

// exactText formats a value of a digest like the value that replaced it in row.
func (f formatter) exactText(text string, row []any) string {
	old := slices.Clone(row)
	if old[f.index] = parseExact(f.kind, text); old[f.index] == nil {
		return wording.Visible(text)
	}
	return f.format(old, 0)
}

// parseExact parses what csvValue wrote. It returns nil if text is not a value of that kind.
func parseExact(kind kind, text string) any {
	var value any
	var err error
	switch kind {
	case kindTime:
		value, err = time.Parse(time.RFC3339Nano, text)
	case kindCount, kindID:
		value, err = strconv.ParseInt(text, 10, 64)
	case kindPrice, kindAmount, kindPercent, kindShare, kindNumber:
		value, err = strconv.ParseFloat(text, 64)
	}
	if err != nil {
		return nil
	}
	return value
}

const digestPrefix = "report-"

// name returns the name of the digest's state file.
func (d Digest) name() string {
	sum := sha256.Sum256([]byte(string(d.Feed) + "\n" + strings.Join(slices.Sorted(slices.Values(d.Symbols)), "\n")))
	const layout = "20060102T150405.000000"
	return digestPrefix + d.Start.UTC().Format(layout) + "-" + d.End.UTC().Format(layout) + "-" +
		hex.EncodeToString(sum[:4]) + ".json"
}

// Save writes the digest to the tape's state. It replaces the digest of an earlier report of the
// same window, feed and symbols.
func (d Digest) Save(dir *tape.Dir) error {
	return dir.State().Write(d.name(), d)
}

// LastDigest reads the saved digest of a window and symbols. It returns false if there is none.
func LastDigest(dir *tape.Dir, w window.Window, symbols []string) (Digest, bool, error) {
	d := Digest{Start: w.Start, End: w.End, Feed: dir.Feed(), Symbols: symbols}
	err := dir.State().Read(d.name(), &d)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return d, d.Schema == DigestSchema, err
}

// Digests reads the saved digests of windows that end after a time, oldest window first. Digests
// that cannot be read are skipped.
func Digests(dir *tape.Dir, after time.Time) ([]Digest, error) {
	paths, err := filepath.Glob(dir.State().Path(digestPrefix + "*.json"))
	if err != nil {
		return nil, err
	}
	var out []Digest
	for _, path := range paths {
		var d Digest
		if err := dir.State().Read(filepath.Base(path), &d); err != nil || d.Schema != DigestSchema ||
			!d.End.After(after) {
			continue
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Digest) int { return a.Start.Compare(b.Start) })
	return out, nil
}

// ForgetDigests removes the digests of windows that ended before a time and returns how many.
func ForgetDigests(dir *tape.Dir, before time.Time) (removed int, err error) {
	all, err := Digests(dir, time.Time{})
	if err != nil {
		return 0, err
	}
	for _, d := range all {
		if !d.End.Before(before) {
			continue
		}
		if err := os.Remove(dir.State().Path(d.name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("remove the digest of an old report: %w", err)
		}
		removed++
	}
	return removed, nil
}
