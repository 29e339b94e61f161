package state

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/window"
)

// watchedDir holds one file for each run of a recorder.
const watchedDir = "watched"

// Watched says when a recorder watched its symbols: in each span a connection with the symbol was up
// without a break, and everything that was traded in it is on the tape. The recorder rewrites its
// file after each flush, so that a kill loses only what the last flush does not cover. Times are
// the exchange's. If the file is lost, less is known to be complete.
type Watched struct {
	RunID string `json:"run_id"`
	// Groups have disjoint symbols. The symbols of a group were watched at the same times.
	Groups []WatchedGroup `json:"groups"`
	// Published are the ends of each symbol when the file was written. An earlier version did not write them.
	Published map[string]Ends `json:"published,omitempty"`
}

// WatchedGroup is a set of symbols with the spans in which they were watched, in ascending order
// and disjoint.
type WatchedGroup struct {
	Symbols []string     `json:"symbols"`
	Spans   WatchedSpans `json:"spans"`
}

// WatchedSpans is a list of windows in which a symbol was watched.
type WatchedSpans []window.Window

// span is a window in the file.
type span struct {
	Start time.Time `json:"from"`
	End   time.Time `json:"until"`
}

// MarshalJSON implements json.Marshaler.
func (w WatchedSpans) MarshalJSON() ([]byte, error) {
	out := make([]span, len(w))
	for i, s := range w {
		out[i] = span{s.Start.UTC(), s.End.UTC()}
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *WatchedSpans) UnmarshalJSON(text []byte) error {
	var spans []span
	if err := json.Unmarshal(text, &spans); err != nil {
		return err
	}
	*w = make(WatchedSpans, len(spans))
	for i, s := range spans {
		(*w)[i] = window.Window(s)
	}
	return nil
}

// NewWatched returns the content of a run's file, in which symbols with the same spans share them. published
// are the ends of each symbol on the tape, which must be read after the trades in the spans were published.
func NewWatched(runID string, bySymbol map[string][]window.Window, published map[string]Ends) Watched {
	groups := map[string]*WatchedGroup{}
	for symbol, spans := range bySymbol {
		if len(spans) == 0 {
			continue
		}
		var key strings.Builder
		for _, s := range spans {
			fmt.Fprintf(&key, "%d-%d,", s.Start.UnixMicro(), s.End.UnixMicro())
		}
		group := groups[key.String()]
		if group == nil {
			group = &WatchedGroup{Spans: spans}
			groups[key.String()] = group
		}
		group.Symbols = append(group.Symbols, symbol)
	}
	w := Watched{RunID: runID, Groups: []WatchedGroup{}, Published: published}
	for _, group := range groups {
		slices.Sort(group.Symbols)
		w.Groups = append(w.Groups, *group)
	}
	slices.SortFunc(w.Groups, func(a, b WatchedGroup) int { return cmp.Compare(a.Symbols[0], b.Symbols[0]) })
	return w
}

// Write replaces the file of the run.
func (w Watched) Write(d *Dir) error {
	if w.RunID == "" || w.RunID != filepath.Base(w.RunID) || strings.HasPrefix(w.RunID, ".") {
		return fmt.Errorf("record what was watched: %q cannot be the name of a file", w.RunID)
	}
	text, err := json.Marshal(w)
	if err == nil {
		err = d.WriteBytes(watchedDir+"/"+w.RunID+".json", append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("record what was watched: %w", err)
	}
	return nil
}

// ReadWatched returns the spans in which each symbol was watched by any recorder, in ascending order
// and disjoint, and the ends of each symbol that the recorders found on the tape. A damaged file is left
// out, as if it had been lost.
func ReadWatched(d *Dir) (spans map[string][]window.Window, published map[string]Ends, err error) {
	files, err := readWatchedFiles(d)
	if err != nil {
		return nil, nil, err
	}
	spans, published = mergeWatched(files)
	return spans, published, nil
}

// formerly is the file that PruneWatched leaves.
const formerly = "formerly"

// PruneWatched replaces the files of all recorders by one with the spans that keep returns for each
// symbol, and their ends united with those on the tape. A recorder that is running writes its file again with
// its next flush. The caller must be the only one that prunes.
func PruneWatched(d *Dir, onTape map[string]Ends, keep func(symbol string, spans []window.Window) []window.Window) error {
	files, err := readWatchedFiles(d)
	if err != nil || len(files) == 0 {
		return err
	}
	kept, published := mergeWatched(files)
	addEnds(published, onTape)
	for symbol, spans := range kept {
		kept[symbol] = keep(symbol, spans)
	}
	if err := NewWatched(formerly, kept, published).Write(d); err != nil {
		return err
	}
	for path := range files {
		if path == filepath.Join(d.Path(watchedDir), formerly+".json") {
			continue
		}
		if err := d.disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what a former recorder watched: %w", err)
		}
	}
	return nil
}

// readWatchedFiles returns the files of all recorders by path.
func readWatchedFiles(d *Dir) (map[string]Watched, error) {
	entries, err := os.ReadDir(d.Path(watchedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what was watched: %w", err)
	}
	out := map[string]Watched{}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".json") {
			continue
		}
		path := filepath.Join(d.Path(watchedDir), entry.Name())
		text, err := durable.ReadOwn(path, maxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue // merged into another file meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read what was watched: %w", err)
		}
		var w Watched
		if json.Unmarshal(text, &w) == nil {
			out[path] = w
		}
	}
	return out, nil
}

func mergeWatched(files map[string]Watched) (map[string][]window.Window, map[string]Ends) {
	out, published := map[string][]window.Window{}, map[string]Ends{}
	for _, w := range files {
		addEnds(published, w.Published)
		for _, group := range w.Groups {
			for _, symbol := range group.Symbols {
				out[symbol] = append(out[symbol], group.Spans...)
			}
		}
	}
	for symbol, spans := range out {
		spans = slices.DeleteFunc(spans, window.Window.IsEmpty)
		if out[symbol] = window.Merge(spans); len(out[symbol]) == 0 {
			delete(out, symbol)
		}
	}
	return out, published
}
