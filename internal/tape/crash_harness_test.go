package tape

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/durable"
)

// harness is a tape on a crashDisk, and the rows that were published to it.
type harness struct {
	t    *testing.T
	disk *crashDisk
	// exchange is false for a file system that cannot exchange two names.
	exchange bool
	// links is false for a file system without hard links.
	links bool
	dir   *Dir
	// other is the same tape, opened by another process before the fault.
	other *Dir
	// submitted are the rows of all calls, acknowledged those of calls that returned without an error.
	// By symbol and id.
	submitted, acknowledged map[string]map[int64]Trade
}

// durableDisk returns the disk for the tape to use.
func (h *harness) durableDisk() durable.Disk {
	if h.exchange {
		return h.disk
	}
	if !h.links {
		return withoutLinks{withoutExchange{h.disk}}
	}
	return withoutExchange{h.disk}
}

func (h *harness) create() error {
	d, err := create(h.disk.data(), AggTrade, day0, h.durableDisk())
	if err == nil {
		h.dir = d
	}
	return err
}

// reopen opens the tape as a new process does.
func (h *harness) reopen() {
	h.t.Helper()
	d, err := open(h.disk.data(), h.durableDisk())
	if err != nil {
		h.t.Fatalf("open the tape: %v", err)
	}
	h.dir = d
}

func addRows(in map[string]map[int64]Trade, rows []Trade) {
	for _, row := range rows {
		if in[row.Symbol] == nil {
			in[row.Symbol] = map[int64]Trade{}
		}
		in[row.Symbol][row.ID] = row
	}
}

// publish publishes rows, and records them as submitted and acknowledged.
func (h *harness) publish(rows []Trade) error {
	addRows(h.submitted, rows)
	_, err := h.dir.Publish(context.Background(), slices.Clone(rows), Origin{Source: FromStream})
	if err == nil {
		addRows(h.acknowledged, rows)
	}
	return err
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// files reads all files that a reader can list, by path below the data directory.
func (h *harness) files() map[string][]byte {
	h.t.Helper()
	out := map[string][]byte{}
	for _, table := range allTables() {
		root := filepath.Join(h.disk.data(), string(table))
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				out[path[len(h.disk.data())+1:]], err = os.ReadFile(path)
			}
			return err
		})
		h.must(err)
	}
	return out
}

// checkVisible checks the guarantees on what a reader can list. partial is true if rows may be
// missing because a replacement file by file is not finished.
func (h *harness) checkVisible(when string, partial bool) {
	h.t.Helper()
	h.checkFiles(when, h.files(), partial)
}

// checkDurable checks the guarantees on what a power cut at this moment would leave.
func (h *harness) checkDurable(when string) {
	h.t.Helper()
	h.checkFiles(when+", and a power cut", h.disk.afterPowerCut(), false)
}

// checkFiles checks that files are readable and hold each row once, unchanged and on its date, and
// unless partial, that they hold all acknowledged rows.
func (h *harness) checkFiles(when string, files map[string][]byte, partial bool) {
	h.t.Helper()
	got := map[string]map[int64]Trade{}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		table, rest, _ := strings.Cut(path, "/")
		if !strings.HasSuffix(path, ".parquet") || table == stagingDir || table == asideDir {
			continue
		}
		partition, _, _ := strings.Cut(rest, "/")
		var err error
		switch Table(table) {
		case Trades:
			var rows []Trade
			rows, err = decode[Trade](files[path])
			for _, row := range rows {
				if _, ok := got[row.Symbol][row.ID]; ok {
					h.t.Fatalf("%s: %s %d is repeated", when, row.Symbol, row.ID)
				}
				if row != h.submitted[row.Symbol][row.ID] {
					h.t.Fatalf("%s: %s %d is not what was published: %+v", when, row.Symbol, row.ID, row)
				}
				if partition != "date="+DateOf(row.TradedAt) {
					h.t.Fatalf("%s: %s %d is in %s", when, row.Symbol, row.ID, path)
				}
				addRows(got, []Trade{row})
			}
		case Alerts:
			_, err = decode[Alert](files[path])
		case Runs:
			_, err = decode[Run](files[path])
		case Coverage:
			_, err = decode[CoverageRow](files[path])
		case Conflicts:
			_, err = decode[Conflict](files[path])
		case Recorder:
			_, err = decode[RecorderEvent](files[path])
		case Drops:
			_, err = decode[Drop](files[path])
		default:
			h.t.Fatalf("%s: %s is in no table", when, path)
		}
		if err != nil {
			h.t.Fatalf("%s: %s: %v", when, path, err)
		}
	}
	if !partial {
		h.checkRows(when, got, h.acknowledged)
	}
}

// decode reads the rows of a segment.
func decode[T any](content []byte) ([]T, error) {
	file, err := readFooter(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, err
	}
	reader := parquet.NewGenericReader[T](file)
	defer reader.Close()
	rows := make([]T, file.NumRows())
	if n, err := reader.Read(rows); n < len(rows) {
		return nil, fmt.Errorf("%d of %d rows: %h", n, len(rows), err)
	}
	return rows, nil
}

// rowsOf reads the rows of one table.
func rowsOf[T any](h *harness, files map[string][]byte, table Table) []T {
	h.t.Helper()
	var out []T
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(path, string(table)+"/") {
			rows, err := decode[T](files[path])
			h.must(err)
			out = append(out, rows...)
		}
	}
	return out
}

// checkRows checks that got has all rows of want.
func (h *harness) checkRows(when string, got, want map[string]map[int64]Trade) {
	h.t.Helper()
	for symbol, rows := range want {
		for id := range rows {
			if _, ok := got[symbol][id]; !ok {
				h.t.Fatalf("%s: %s %d is lost", when, symbol, id)
			}
		}
	}
}

// finishInterrupted does what the next writer does first.
func (h *harness) finishInterrupted() {
	h.t.Helper()
	unlock, err := h.dir.publisher.lock()
	h.must(err)
	unlock()
}

// newHarness returns a tape that is set up for an operation.
func newHarness(t *testing.T, op operation) *harness {
	h := &harness{
		t: t, disk: newCrashDisk(t, t.TempDir()), exchange: !op.noExchange, links: !op.noLinks,
		submitted: map[string]map[int64]Trade{}, acknowledged: map[string]map[int64]Trade{},
	}
	op.setup(h)
	if op.name != "Create" {
		h.must(h.publish(trades("OTHERUSDT", 1, 2, day0)))
	}
	return h
}

// clone returns a harness in the same state, in which both processes have used the tape for a
// while.
func (h *harness) clone(op operation) *harness {
	h.t.Helper()
	out := *h
	out.disk = h.disk.clone()
	out.submitted, out.acknowledged = map[string]map[int64]Trade{}, map[string]map[int64]Trade{}
	for symbol := range h.submitted {
		out.submitted[symbol], out.acknowledged[symbol] = maps.Clone(h.submitted[symbol]), maps.Clone(h.acknowledged[symbol])
	}
	if op.name != "Create" {
		out.reopen()
		h.must(out.dir.publisher.sync(Trades, "2026-01-15"))
		out.other = out.dir
		out.reopen()
	}
	out.disk.arm(-1, healthy)
	return &out
}
