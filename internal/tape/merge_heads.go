package tape

import (
	"fmt"
	"slices"
)

// head is the next row of a segment.
type head struct {
	*columns
	path   string
	origin Origin
	order  int // of two rows with the same id, that of the lower order stays
	run    int // index of the symbol in symbols
	row    int // in the row group
	last   lastRow
}

func (h *head) symbol() string { return h.symbols[h.run] }
func (h *head) id() int64      { return h.ids[h.row] }

// openHead opens a segment and reads its first rows. more is false if it has none. The caller
// closes h even after an error, unless it is nil.
func openHead(cat catalog, path string) (h *head, more bool, err error) {
	c, err := openColumns(cat.path(path))
	if err != nil {
		return nil, false, err
	}
	h = &head{columns: c, path: path}
	if _, own := c.file.Lookup(runsKey); !own {
		h.order = maxMergeFiles // another program wrote it
	}
	if h.origin, err = readOrigin(c.file.File); err != nil {
		return h, false, fmt.Errorf("its metadata: %w", err)
	}
	more, err = h.fill()
	return h, more, err
}

// fill reads the next row group that has rows. It returns false at the end.
func (h *head) fill() (bool, error) {
	for {
		more, err := h.read()
		if err != nil || !more {
			return false, err
		}
		if h.rows > 0 {
			break
		}
	}
	h.run, h.row = 0, 0
	// The merge depends on the order of the rows.
	for run, from := 0, 0; run < len(h.symbols); run++ {
		if symbol := h.symbols[run]; symbol < h.last.symbol || symbol == h.last.symbol && h.ids[from] < h.last.id {
			return false, ErrUnsorted
		}
		if !slices.IsSorted(h.ids[from:h.ends[run]]) {
			return false, ErrUnsorted
		}
		from = h.ends[run]
		h.last = lastRow{h.symbols[run], h.ids[from-1]}
	}
	return true, nil
}

// heads is a heap by (symbol, id), and by order if an id is repeated.
type heads []*head

func (h heads) Len() int { return len(h) }
func (h heads) Less(i, j int) bool {
	if a, b := h[i].symbol(), h[j].symbol(); a != b {
		return a < b
	}
	if a, b := h[i].id(), h[j].id(); a != b {
		return a < b
	}
	return h[i].order < h[j].order
}
func (h heads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(v any)   { *h = append(*h, v.(*head)) }
func (h *heads) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// second returns the head after the first, or nil.
func (h heads) second() *head {
	switch {
	case len(h) < 2:
		return nil
	case len(h) == 2 || h.Less(1, 2):
		return h[1]
	}
	return h[2]
}
