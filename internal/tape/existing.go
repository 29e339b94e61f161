package tape

import (
	"errors"
	"io/fs"
	"slices"
	"sort"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/idset"
)

// maxExistingRows bounds the decoded rows that an existingRows holds. At 57 bytes a row this is 60 MB.
// A row group that was given up is decoded again when it is needed again.
const maxExistingRows = 1 << 20

// existingRows reads rows that are on the tape, in the partitions of some dates, by id. It reads only
// the row groups that can have them, column by column, and holds those read last. Ids should come in
// ascending order of (symbol, id), or row groups are read more than once. It is not safe for
// concurrent use.
type existingRows struct {
	catalog catalog
	tape    identity
	dates   []string
	listed  bool
	files   []*existingFile
	broken  map[string]bool // paths of files that cannot be read
	rows    int             // held
	clock   int64           // counts uses
	found   []bool          // scratch of each
}

// existingFile is a segment. It is not kept open, because a partition can have thousands.
type existingFile struct {
	path   string
	ids    map[string]idset.Set
	origin Origin
	tape   identity
	sorted bool // by (symbol, id), as tapedeck writes
	groups []groupRange
	loaded *columns // content of groups[group]; nil if none
	group  int
	used   int64
}

// groupRange bounds the rows of a row group. known is false if the file does not say.
type groupRange struct {
	firstSymbol, lastSymbol string
	firstID, lastID         int64
	known                   bool
}

// mayHave reports whether the row group can have ids of a range.
func (g groupRange) mayHave(symbol string, ids idset.Range) bool {
	if !g.known {
		return true
	}
	if symbol < g.firstSymbol || symbol > g.lastSymbol {
		return false
	}
	return g.firstID <= ids.Last && g.lastID >= ids.First
}

func (d *Dir) newExistingRows(dates []string) *existingRows {
	return &existingRows{catalog: d.catalog, tape: d.identity(), dates: dates, broken: map[string]bool{}}
}

// each calls use for each of rows whose id is on the tape: with the row, and with the columns and the
// index of the row on the tape. rows are of one symbol in ascending order of ids, which may be
// repeated. It returns how many of them were not found. A segment that cannot be read has no rows.
func (r *existingRows) each(rows []Trade, use func(row *Trade, c *columns, i int, origin Origin)) (absent int64, err error) {
	for try := 0; ; try++ {
		if !r.listed || try > 0 {
			// Another process may have published or compacted files since they were listed.
			if err := r.list(); err != nil {
				return 0, err
			}
		}
		rows, err = r.pass(rows, use)
		vanished := errors.Is(err, fs.ErrNotExist)
		switch {
		case err != nil && (!vanished || try == maxListings):
			return 0, err
		case len(rows) == 0 || !vanished && try > 0:
			return int64(len(rows)), nil
		}
	}
}

// pass is each for the files that are listed. It returns the rows that it did not find.
func (r *existingRows) pass(
	rows []Trade, use func(row *Trade, c *columns, i int, origin Origin),
) (absent []Trade, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	r.found = slices.Grow(r.found[:0], len(rows))[:len(rows)]
	clear(r.found)
	left := len(rows)
	ids := idset.Range{First: rows[0].ID, Last: rows[len(rows)-1].ID}
	for _, file := range r.files {
		if left == 0 {
			return nil, nil
		}
		if !file.ids[rows[0].Symbol].Overlaps(ids) {
			continue
		}
		for group := range file.groups {
			if !file.groups[group].mayHave(rows[0].Symbol, ids) {
				continue
			}
			if err = r.load(file, group); err != nil {
				break
			}
			left -= file.join(rows, r.found, use)
		}
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil { // a damaged file, which verify names
			r.broken[file.path], err = true, nil
		}
	}
	for i := range rows {
		if !r.found[i] {
			absent = append(absent, rows[i])
		}
	}
	return absent, err
}

// join calls use for the rows that the loaded row group has and that were not found yet, and returns
// how many.
func (f *existingFile) join(rows []Trade, found []bool, use func(row *Trade, c *columns, i int, origin Origin)) (n int) {
	c := f.loaded
	run, ok := slices.BinarySearch(c.symbols, rows[0].Symbol)
	if !ok {
		return 0
	}
	at, end := 0, c.ends[run]
	if run > 0 {
		at = c.ends[run-1]
	}
	for i := range rows {
		id := rows[i].ID
		if at < end && c.ids[at] < id {
			if at++; at < end && c.ids[at] < id {
				at += sort.Search(end-at, func(k int) bool { return c.ids[at+k] >= id })
			}
		}
		if at == end {
			break
		}
		if c.ids[at] == id && !found[i] {
			found[i] = true
			n++
			use(&rows[i], c, at, f.origin)
		}
	}
	return n
}

// load decodes one row group of a file, unless it is loaded.
func (r *existingRows) load(f *existingFile, group int) (err error) {
	defer recoverDamage("content", &err)
	r.clock++
	f.used = r.clock
	if f.loaded != nil && f.group == group {
		return nil
	}
	c := f.loaded // its buffers are used again
	if c != nil {
		r.rows -= c.rows
		f.loaded = nil
	}
	if f.sorted {
		c, err = readGroup(r.catalog.path(f.path), group, c)
	} else {
		c, err = readUnsorted(r.catalog.path(f.path))
	}
	if err != nil {
		return err
	}
	f.loaded, f.group = c, group
	r.rows += c.rows
	r.forget(f)
	return nil
}

// forget gives up the row groups that were unused longest, except that of keep, while there are too
// many rows.
func (r *existingRows) forget(keep *existingFile) {
	for r.rows > maxExistingRows {
		var oldest *existingFile
		for _, f := range r.files {
			if f != keep && f.loaded != nil && (oldest == nil || f.used < oldest.used) {
				oldest = f
			}
		}
		if oldest == nil {
			return
		}
		r.rows -= oldest.loaded.rows
		oldest.loaded = nil
	}
}

// readGroup reads a row group of a segment into reuse, which may be nil.
func readGroup(path string, group int, reuse *columns) (*columns, error) {
	c, err := openColumns(path)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if reuse != nil {
		file, leaves, groups := c.file, c.leaves, c.groups
		*c = *reuse
		c.file, c.leaves, c.groups = file, leaves, groups
	}
	c.groups = c.groups[group : group+1]
	if _, err := c.read(); err != nil {
		return nil, err
	}
	c.chunks = nil
	return c, nil
}

// readUnsorted reads all rows of a segment that another program wrote, and sorts them.
func readUnsorted(path string) (*columns, error) {
	rows, err := readRows[Trade](path)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(rows, compareTrades)
	c := &columns{rows: len(rows)}
	for i := range rows {
		t := &rows[i]
		if n := len(c.symbols); n == 0 || c.symbols[n-1] != t.Symbol {
			c.symbols, c.ends = append(c.symbols, t.Symbol), append(c.ends, i)
		}
		c.ends[len(c.ends)-1] = i + 1
		c.ids, c.times = append(c.ids, t.ID), append(c.times, t.TradedAt)
		c.prices, c.qtys = append(c.prices, t.Price), append(c.qtys, t.Qty)
		c.firsts, c.lasts = append(c.firsts, t.FirstTradeID), append(c.lasts, t.LastTradeID)
		c.buyerMakers = append(c.buyerMakers, t.IsBuyerMaker)
	}
	return c, nil
}

// list lists the files of the dates.
func (r *existingRows) list() error {
	known := map[string]*existingFile{}
	for _, f := range r.files {
		known[f.path] = f
	}
	r.files, r.rows, r.listed = nil, 0, true
	for _, date := range r.dates {
		files, _, err := readPartition(r.catalog, Trades, date, func(name string) (*existingFile, error) {
			path := segmentPath(Trades, date, name)
			if f := known[path]; f != nil {
				return f, nil
			}
			return openExisting(r.catalog, path)
		})
		if err != nil {
			return err
		}
		r.files = append(r.files, slices.DeleteFunc(files, func(f *existingFile) bool {
			return r.broken[f.path] || !r.tape.owns(f.tape)
		})...)
	}
	for _, f := range r.files {
		if f.loaded != nil {
			r.rows += f.loaded.rows
		}
	}
	return nil
}

// openExisting reads the footer of a segment.
func openExisting(c catalog, path string) (*existingFile, error) {
	file, _, err := openParquet(c.path(path))
	if err != nil {
		return nil, err
	}
	defer file.close()
	f := &existingFile{path: path, ids: map[string]idset.Set{}, tape: identityOf(file)}
	var runs symbolRuns
	text, ok := file.Lookup(runsKey)
	if ok {
		f.sorted = true
		if runs, err = parseRuns(text); err == nil {
			err = runs.checkIDs()
		}
		if err == nil {
			f.origin, err = readOrigin(file.File)
		}
		f.groups = groupRanges(file)
	} else {
		var found content
		found, err = scanRows(c.path(path), "")
		runs, f.groups = found.runs, make([]groupRange, 1)
	}
	for symbol, runs := range runs {
		f.ids[symbol] = idsOf(runs)
	}
	return f, err
}

// groupRanges returns the bounds of each row group, from the statistics in the footer.
func groupRanges(file parquetFile) []groupRange {
	groups := file.RowGroups()
	out := make([]groupRange, len(groups))
	symbol, okSymbol := file.Schema().Lookup("symbol")
	id, okID := file.Schema().Lookup("id")
	if !okSymbol || !okID {
		return out
	}
	for i, group := range groups {
		chunks := group.ColumnChunks()
		symbols, okSymbols := chunks[symbol.ColumnIndex].(*parquet.FileColumnChunk)
		ids, okIDs := chunks[id.ColumnIndex].(*parquet.FileColumnChunk)
		if !okSymbols || !okIDs {
			continue
		}
		firstSymbol, lastSymbol, okSymbols := symbols.Bounds()
		firstID, lastID, okIDs := ids.Bounds()
		if okSymbols && okIDs {
			out[i] = groupRange{firstSymbol.String(), lastSymbol.String(), firstID.Int64(), lastID.Int64(), true}
		}
	}
	return out
}
