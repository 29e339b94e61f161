package tape

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"sync"
	"syscall"
	"tapedeck/internal/durable"
	"tapedeck/internal/idset"
	"time"
)

// Certificate says how complete the record is, computed from the rows of the files themselves.
type Certificate struct {
	CheckedAt time.Time
	Symbols   []SymbolCertificate // sorted by symbol
	// Broken are the segments that cannot be read; their rows count as not there.
	Broken []BrokenSegment
	// Misplaced counts rows in a partition of another date than their own.
	Misplaced int64
	// Scanned counts the files read now; the others were known from an earlier time and have not changed.
	Scanned, Files int
	// NotKept is why what was read could not be written down for the next time, which then reads it again: the volume is read-only or full, say. Nil
	// where it was.
	NotKept error
}

// SymbolCertificate is the record of one symbol.
type SymbolCertificate struct {
	Symbol string
	Bounds
	// Trades counts the ids on the tape, Missing those inside the bounds that are not and could be had, Absent those that the exchange
	// does not have, Twice the ids that stand more than once, be it on two dates.
	Trades, Missing, Absent, Twice int64
	Days                           []Day // ascending, from the first to the last, quiet days too
	Gaps                           []Gap // ascending; absent ids are not in them
}

// Day is the record of one symbol on one UTC date.
type Day struct {
	Date string
	CoverageRow
}

// The states of a day.
const (
	// StateProven: every id between the day before's last and the day after's first is here, once.
	StateProven = "proven"
	// StateOpen: no id is missing, but the day is not over, or the record begins or ends in it.
	StateOpen = "open"
	// StateGap: ids are missing and can still be had.
	StateGap = "gap"
	// StateAbsent: ids are missing that the exchange itself does not have.
	StateAbsent = "absent"
)

// Complete says that nothing is missing that could be had, nothing stands twice, and every file could be read.
func (c Certificate) Complete() bool {
	if len(c.Broken) > 0 || c.Misplaced > 0 {
		return false
	}
	for _, s := range c.Symbols {
		if s.Missing > 0 || s.Twice > 0 {
			return false
		}
	}
	return true
}

// scanned is what is known of one partition from reading its files, kept in a state file by date.
type scanned struct {
	Files map[string]scannedFile `json:"files"`
}

type scannedFile struct {
	Size      int64       `json:"size"`
	Modified  int64       `json:"modified_ns"`
	Spans     symbolSpans `json:"spans"`
	Twice     int64       `json:"twice,omitempty"`
	Misplaced int64       `json:"misplaced,omitempty"`
	Broken    string      `json:"broken,omitempty"`
}

// Certify reads the ids of every row on the tape and works out what is missing. Files read before, by name, size and modification time, are not
// read again unless afresh. It writes down what it read for the next time; where that cannot be done it is no error, see
// Certificate.NotKept. progress, if not nil, is told how many files of how many are done.
func (d *Dir) Certify(ctx context.Context, now time.Time, afresh bool, progress func(done, of int)) (Certificate, error) {
	out := Certificate{CheckedAt: now.UTC()}
	dates, err := d.dates(Trades, "", "")
	if err != nil {
		return out, err
	}
	absent, err := d.Absent()
	if err != nil {
		return out, err
	}
	extent, err := d.readExtent()
	if err != nil {
		return out, err
	}
	todo, err := d.read(ctx, dates, afresh, progress)
	if err != nil {
		return out, err
	}
	out.Files, out.Scanned, out.NotKept = todo.files, len(todo.scans), todo.notKept
	days := map[string]map[string]*dayRecord{} // by symbol, by date
	for date, part := range todo.parts {
		for _, name := range sortedKeys(part.Files) {
			file := part.Files[name]
			if file.Broken != "" {
				out.Broken = append(out.Broken, BrokenSegment{filepath.Join(string(Trades), "date="+date, name), errors.New(file.Broken)})
				continue
			}
			out.Misplaced += file.Misplaced
			for symbol, runs := range file.Spans {
				if days[symbol] == nil {
					days[symbol] = map[string]*dayRecord{}
				}
				if days[symbol][date] == nil {
					days[symbol][date] = &dayRecord{}
				}
				day := days[symbol][date]
				day.twice += overlap(day.set.runs, runs)
				day.set.add(runs)
			}
			if symbols := sortedKeys(file.Spans); file.Twice > 0 && len(symbols) > 0 {
				days[symbols[0]][date].twice += file.Twice
			}
		}
	}
	sort.Slice(out.Broken, func(i, j int) bool { return out.Broken[i].Path < out.Broken[j].Path })
	for symbol := range extent {
		if days[symbol] == nil {
			days[symbol] = nil
		}
	}
	for _, symbol := range sortedKeys(days) {
		bounds, ever := extent[symbol]
		out.Symbols = append(out.Symbols, certifySymbol(symbol, days[symbol], bounds, ever, absent[symbol], now))
	}
	return out, nil
}

// listings bounds how often the tape is listed again because a compaction replaced files while they were being read.
const listings = 8

// read makes what is known of the files whole.
func (d *Dir) read(ctx context.Context, dates []string, afresh bool, progress func(done, of int)) (*surveyed, error) {
	known := map[string]*scanned{} // what was just read need not be read twice
	for range listings {
		todo, err := d.survey(dates, afresh, known)
		if err != nil {
			return nil, err
		}
		if err := todo.run(ctx, progress); err != nil {
			return nil, err
		}
		todo.notKept = todo.save()
		if !todo.vanished {
			return todo, nil
		}
		known = todo.parts
	}
	return nil, fmt.Errorf("the tape changed %d times while it was read", listings)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

type dayRecord struct {
	set   timedSet
	twice int64
}

func certifySymbol(symbol string, days map[string]*dayRecord, bounds Bounds, ever bool, absent idset.Set, now time.Time) SymbolCertificate {
	out := SymbolCertificate{Symbol: symbol}
	dates := sortedKeys(days)
	rows := map[string]*Day{}
	row := func(date string) *Day {
		if rows[date] == nil {
			rows[date] = &Day{Date: date, CoverageRow: CoverageRow{Symbol: symbol, State: StateProven, CheckedAt: now.UnixMicro()}}
		}
		return rows[date]
	}
	var runs []timedSpan // of all dates
	for _, date := range dates {
		day := days[date]
		r := row(date)
		here := day.set.runs
		first, last := here[0].first, here[len(here)-1].last
		r.FirstID, r.LastID = &first, &last
		for _, run := range here {
			r.Trades += run.last - run.first + 1
		}
		out.Trades += r.Trades
		out.Twice += day.twice
		for _, run := range []timedSpan{here[0], here[len(here)-1]} {
			bounds, ever = bounds.with(run, ever), true
		}
		runs = append(runs, here...)
	}
	out.Bounds = bounds
	lastDate := DateOf(bounds.LastAt.UnixMicro())
	for date := DateOf(bounds.FirstAt.UnixMicro()); date <= lastDate; date = dateOfDay(dayOf(mustBounds(date)) + 1) {
		row(date)
	}

	// hole books the ids between two rows on the day of the first; every day that it touches is not proven.
	hole := func(first, last int64, after, before time.Time) {
		gone := absent.Intersect(idset.Set{{First: first, Last: last}})
		left := (idset.Set{{First: first, Last: last}}).Subtract(gone)
		from, to := DateOf(after.UnixMicro()), DateOf(before.UnixMicro())
		r := row(from)
		r.Missing += left.Count()
		r.AbsentAtSource += gone.Count()
		out.Missing += left.Count()
		out.Absent += gone.Count()
		for _, span := range left {
			out.Gaps = append(out.Gaps, Gap{symbol, span.First, span.Last, after, before})
		}
		for date := range rows {
			if date < from || date > to {
				continue
			}
			if len(left) > 0 {
				rows[date].State = StateGap
			} else if rows[date].State == StateProven {
				rows[date].State = StateAbsent
			}
		}
	}
	// Ids rise with the dates, but for what another program put there.
	slices.SortStableFunc(runs, func(a, b timedSpan) int { return cmp.Compare(a.first, b.first) })
	next, after := bounds.FirstID, bounds.FirstAt
	for _, run := range runs {
		if run.first > next {
			hole(next, run.first-1, after, timeOf(run.firstAt))
		} else if twice := min(run.last, next-1) - run.first + 1; twice > 0 { // on another date too
			out.Twice += twice
			out.Trades -= twice
		}
		if run.last >= next {
			next, after = run.last+1, timeOf(run.lastAt)
		}
	}
	if ever && next <= bounds.LastID {
		hole(next, bounds.LastID, after, bounds.LastAt)
	}

	today := DateOf(now.UnixMicro())
	for _, date := range sortedKeys(rows) {
		r := rows[date]
		firstDay := date == DateOf(bounds.FirstAt.UnixMicro()) && bounds.FirstID > 1
		if r.State == StateProven && (firstDay || date == lastDate || date >= today) {
			r.State = StateOpen
		}
		out.Days = append(out.Days, *r)
	}
	return out
}

func mustBounds(date string) int64 {
	first, _ := dateBounds(date)
	return first
}

// survey lists the files of the tape and which of them must be read.
type surveyed struct {
	dir   *Dir
	parts map[string]*scanned // by date
	dirty map[string]bool     // dates whose state file must be written
	scans []scanWork
	files int
	// through says that every column is read, for the checksum of each page, and not only those that the certificate needs.
	through bool
	// vanished says that a listed file was gone when it was to be read: a compaction replaced it.
	vanished bool
	// notKept is why what was learnt could not be written down.
	notKept error
}

type scanWork struct{ date, name string }

const scannedDir = "scanned"

func (d *Dir) survey(dates []string, afresh bool, known map[string]*scanned) (*surveyed, error) {
	out := &surveyed{dir: d, through: afresh, parts: map[string]*scanned{}, dirty: map[string]bool{}}
	for _, date := range dates {
		part := known[date]
		if part == nil {
			part = &scanned{Files: map[string]scannedFile{}}
			if !afresh {
				part = d.readScanned(date)
			}
		}
		names, err := d.files(Trades, date)
		if err != nil {
			return nil, err
		}
		here := map[string]bool{}
		for _, name := range names {
			info, err := os.Stat(filepath.Join(d.path, string(Trades), "date="+date, name))
			if errors.Is(err, fs.ErrNotExist) {
				out.vanished = true
				continue
			}
			if err != nil {
				return nil, err
			}
			here[name] = true
			known, ok := part.Files[name]
			if ok && known.Size == info.Size() && known.Modified == info.ModTime().UnixNano() {
				continue
			}
			part.Files[name] = scannedFile{Size: info.Size(), Modified: info.ModTime().UnixNano()}
			out.scans = append(out.scans, scanWork{date, name})
			out.dirty[date] = true
		}
		if len(here) < len(part.Files) {
			maps.DeleteFunc(part.Files, func(name string, _ scannedFile) bool { return !here[name] })
			out.dirty[date] = true
		}
		out.parts[date] = part
		out.files += len(here)
	}
	return out, nil
}

// readScanned gives what was learnt of a partition before. What cannot be read or cannot be only costs reading the partition again.
func (d *Dir) readScanned(date string) *scanned {
	part := &scanned{}
	if err := d.ReadState(filepath.Join(scannedDir, date+".json"), part); err != nil {
		part = &scanned{}
	}
	for name, file := range part.Files {
		if !file.possible() {
			delete(part.Files, name)
		}
	}
	if part.Files == nil {
		part.Files = map[string]scannedFile{}
	}
	return part
}

// possible says whether a scan can have found this.
func (f scannedFile) possible() bool {
	for symbol, runs := range f.Spans {
		next := int64(0)
		for _, run := range runs {
			if run.first < next || run.last < run.first || !tradeable(run.firstAt) || !tradeable(run.lastAt) {
				return false
			}
			next = run.last + 1
		}
		if symbol == "" || len(runs) == 0 {
			return false
		}
	}
	return f.Twice >= 0 && f.Misplaced >= 0
}

// run reads the files that must be read, on every core.
func (s *surveyed) run(ctx context.Context, progress func(done, of int)) error {
	work := make(chan scanWork)
	var mu sync.Mutex
	var group sync.WaitGroup
	done := 0
	for range min(runtime.GOMAXPROCS(0), len(s.scans)) {
		group.Go(func() {
			for w := range work {
				path := filepath.Join(s.dir.path, string(Trades), "date="+w.date, w.name)
				found, err := scan(path, w.date)
				if err == nil && s.through {
					err = readThrough(path)
				}
				mu.Lock()
				file := s.parts[w.date].Files[w.name]
				switch {
				case errors.Is(err, fs.ErrNotExist):
					s.vanished = true
					delete(s.parts[w.date].Files, w.name)
				case err != nil:
					file.Broken = err.Error()
					s.parts[w.date].Files[w.name] = file
				default:
					file.Spans, file.Twice, file.Misplaced = found.spans, found.twice, found.misplaced
					s.parts[w.date].Files[w.name] = file
				}
				done++
				if progress != nil {
					progress(done, len(s.scans))
				}
				mu.Unlock()
			}
		})
	}
	for _, w := range s.scans {
		if ctx.Err() != nil {
			break
		}
		work <- w
	}
	close(work)
	group.Wait()
	return ctx.Err()
}

// save keeps what was learnt for the next time. A power cut may take it away or leave it torn, and then it is learnt again; so it waits
// for no disk.
func (s *surveyed) save() error {
	if len(s.dirty) == 0 {
		return nil
	}
	if err := s.dir.disk.Mkdir(s.dir.StatePath(scannedDir)); err != nil {
		return fmt.Errorf("keep what was checked: %w", err)
	}
	for date := range s.dirty {
		text, err := json.Marshal(s.parts[date])
		if err != nil {
			return fmt.Errorf("keep what was checked: %w", err)
		}
		staged, _, err := s.dir.stageLoosely(durable.UniqueName("state", ".tmp"), func(w io.Writer) error {
			_, err := w.Write(text)
			return err
		})
		if err != nil {
			return fmt.Errorf("keep what was checked: %w", err)
		}
		if err := s.dir.disk.Rename(staged, s.dir.StatePath(filepath.Join(scannedDir, date+".json"))); err != nil {
			s.dir.disk.Remove(staged)
			return fmt.Errorf("keep what was checked: %w", err)
		}
	}
	return nil
}

// ReadOnly says whether err means that this process may read a tape and not write to it: the file system is mounted read-only, or permissions lack.
func ReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}
