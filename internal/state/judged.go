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

const (
	// JudgedDir holds one file for each UTC date, named for it, with a JudgedDay.
	JudgedDir = "judged"
	// judgedDefinitions holds the hash of each detector's SQL, by name.
	judgedDefinitions = "judged-definitions.json"
	judgedLock        = "judged.lock"
)

// Reasons why a detector did not judge a time.
const (
	// ReasonHistory: too little of the time that the detector compares with is recorded.
	ReasonHistory = "history"
	// ReasonGap: ids are missing that the exchange itself does not have.
	ReasonGap = "gap"
	// ReasonDropped: ids, or the detector's alerts, were dropped on purpose.
	ReasonDropped = "dropped"
	// ReasonWaiting: ids are missing that may still arrive. The next run after that judges it.
	ReasonWaiting = "waiting"
	// ReasonUnknown: nothing proves yet that the record reaches the time; trades of it may still arrive.
	// The next run after the proof judges it.
	ReasonUnknown = "unknown"
	// ReasonFailed: the detector failed. The next run tries again.
	ReasonFailed = "failed"
	// ReasonChanged: another version of the detector judged it.
	ReasonChanged = "changed"
)

// JudgedDay says what detectors judged of one UTC date and what not, grouped by detectors and symbols
// that share windows. What is in no window, no detector has looked at.
type JudgedDay struct {
	Groups []JudgedGroup `json:"groups"`
}

// JudgedGroup is what each of some detectors judged of each of some symbols. The lists are sorted, and
// the spans are disjoint.
type JudgedGroup struct {
	Detectors []string     `json:"detectors"`
	Symbols   []string     `json:"symbols"`
	Spans     []JudgedSpan `json:"windows"`
}

// JudgedSpan is a window that was judged if Reason is empty, and otherwise why it was not.
type JudgedSpan struct {
	Start  time.Time `json:"start"`
	End    time.Time `json:"end"`
	Reason string    `json:"reason,omitempty"`
}

// Window returns the time of the span.
func (s JudgedSpan) Window() window.Window { return window.Window{Start: s.Start, End: s.End} }

// Judged is the outcome of one detector for one symbol.
type Judged struct {
	Detector, Symbol string
	Spans            []JudgedSpan
}

// RecordJudged adds outcomes to the files of their dates. They replace what was recorded of the same
// time, except that with keep, a time that was judged stays so. When it returns, the outcomes are
// durable. A file that is damaged counts as empty: the loss of a claim is no wrong claim.
func RecordJudged(d *Dir, outcomes []Judged, keep bool) error {
	return d.lockJudged(func() error {
		byDate := map[string][]Judged{}
		for _, outcome := range outcomes {
			for date, spans := range splitSpans(outcome.Spans) {
				byDate[date] = append(byDate[date], Judged{outcome.Detector, outcome.Symbol, spans})
			}
		}
		for date, outcomes := range byDate {
			spans := d.readJudgedDay(date)
			for _, outcome := range outcomes {
				key := judgedKey{outcome.Detector, outcome.Symbol}
				spans[key] = mergeSpans(spans[key], outcome.Spans, keep)
			}
			if err := d.writeJudgedDay(date, spans); err != nil {
				return err
			}
		}
		return nil
	})
}

// RecordDefinitions notes the hash of each detector's SQL. What a detector judged with another SQL than
// now is no longer judged: its reason becomes ReasonChanged. It returns the detectors that changed.
func RecordDefinitions(d *Dir, hashes map[string]string) (changed []string, err error) {
	err = d.lockJudged(func() error {
		known := map[string]string{}
		if err := d.Read(judgedDefinitions, &known); err != nil && !errors.Is(err, fs.ErrNotExist) {
			known = nil // damaged: nothing is known to have changed
		}
		if known == nil {
			known = map[string]string{}
		}
		isNew := false
		for name, hash := range hashes {
			if old, ok := known[name]; ok && old != hash {
				changed = append(changed, name)
			}
			isNew = isNew || known[name] != hash
			known[name] = hash
		}
		slices.Sort(changed)
		if err := d.forgetJudged(changed); err != nil || !isNew {
			return err
		}
		return d.Write(judgedDefinitions, known)
	})
	if err != nil {
		err = fmt.Errorf("record which detectors changed: %w", err)
	}
	return changed, err
}

// forgetJudged gives everything that the detectors judged the reason ReasonChanged.
func (d *Dir) forgetJudged(detectors []string) error {
	if len(detectors) == 0 {
		return nil
	}
	dates, err := d.judgedDates()
	if err != nil {
		return err
	}
	for _, date := range dates {
		spans, isChanged := d.readJudgedDay(date), false
		for key, old := range spans {
			for i := range old {
				if slices.Contains(detectors, key.detector) && old[i].Reason == "" {
					old[i].Reason, isChanged = ReasonChanged, true
				}
			}
			spans[key] = joinSpans(old)
		}
		if isChanged {
			if err := d.writeJudgedDay(date, spans); err != nil {
				return err
			}
		}
	}
	return nil
}

// JudgedOf returns what is recorded of each detector and symbol on one UTC date, sorted by detector and
// symbol.
func JudgedOf(d *Dir, date time.Time) (out []Judged) {
	for key, spans := range d.readJudgedDay(date.UTC().Format(time.DateOnly)) {
		out = append(out, Judged{key.detector, key.symbol, spans})
	}
	slices.SortFunc(out, func(a, b Judged) int {
		return cmp.Or(strings.Compare(a.Detector, b.Detector), strings.Compare(a.Symbol, b.Symbol))
	})
	return out
}

// lockJudged calls do while no other process changes the files.
func (d *Dir) lockJudged(do func() error) error {
	unlock, err := durable.Lock(d.Path(judgedLock))
	if err != nil {
		return fmt.Errorf("record what was judged: %w", err)
	}
	defer unlock()
	if err := do(); err != nil {
		return fmt.Errorf("record what was judged: %w", err)
	}
	return nil
}

func (d *Dir) judgedDates() (dates []string, err error) {
	entries, err := os.ReadDir(d.Path(JudgedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if date, ok := strings.CutSuffix(entry.Name(), ".json"); ok {
			dates = append(dates, date)
		}
	}
	return dates, nil
}

type judgedKey struct{ detector, symbol string }

func (d *Dir) readJudgedDay(date string) map[judgedKey][]JudgedSpan {
	out := map[judgedKey][]JudgedSpan{}
	var day JudgedDay
	if d.Read(filepath.Join(JudgedDir, date+".json"), &day) != nil {
		return out
	}
	for _, group := range day.Groups {
		if !validSpans(group.Spans, date) {
			continue
		}
		for _, detector := range group.Detectors {
			for _, symbol := range group.Symbols {
				out[judgedKey{detector, symbol}] = slices.Clone(group.Spans)
			}
		}
	}
	return out
}

// validSpans reports whether spans are those of a date: in order, disjoint, not empty, on that date.
func validSpans(spans []JudgedSpan, date string) bool {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return false
	}
	for last := day; len(spans) > 0; spans = spans[1:] {
		if spans[0].Start.Before(last) || spans[0].Window().IsEmpty() {
			return false
		}
		last = spans[0].End
		if last.After(day.AddDate(0, 0, 1)) {
			return false
		}
	}
	return true
}

func (d *Dir) writeJudgedDay(date string, spans map[judgedKey][]JudgedSpan) error {
	text, err := json.Marshal(JudgedDay{groupSpans(spans)})
	if err != nil {
		return err
	}
	return d.WriteBytes(JudgedDir+"/"+date+".json", append(text, '\n'))
}

// groupSpans groups the symbols with equal spans of each detector, and then the detectors with equal
// groups.
func groupSpans(spans map[judgedKey][]JudgedSpan) (groups []JudgedGroup) {
	bySpans := map[string]map[string]*JudgedGroup{} // by detector and spans
	for key, list := range spans {
		if len(list) == 0 {
			continue
		}
		var text strings.Builder
		for _, span := range list {
			fmt.Fprintf(&text, "%d %d %s,", span.Start.Unix(), span.End.Unix(), span.Reason)
		}
		ofDetector := bySpans[key.detector]
		if ofDetector == nil {
			ofDetector = map[string]*JudgedGroup{}
			bySpans[key.detector] = ofDetector
		}
		if ofDetector[text.String()] == nil {
			ofDetector[text.String()] = &JudgedGroup{Spans: list}
		}
		ofDetector[text.String()].Symbols = append(ofDetector[text.String()].Symbols, key.symbol)
	}
	merged := map[string]*JudgedGroup{} // by spans and symbols
	for detector, ofDetector := range bySpans {
		for text, group := range ofDetector {
			slices.Sort(group.Symbols)
			text += strings.Join(group.Symbols, " ")
			if merged[text] == nil {
				merged[text] = group
			}
			merged[text].Detectors = append(merged[text].Detectors, detector)
		}
	}
	for _, group := range merged {
		slices.Sort(group.Detectors)
		groups = append(groups, *group)
	}
	slices.SortFunc(groups, func(a, b JudgedGroup) int {
		return cmp.Or(slices.Compare(a.Detectors, b.Detectors), slices.Compare(a.Symbols, b.Symbols))
	})
	return groups
}

// splitSpans splits spans at UTC midnights, by date.
func splitSpans(spans []JudgedSpan) map[string][]JudgedSpan {
	out := map[string][]JudgedSpan{}
	for _, span := range spans {
		for _, part := range span.Window().Days() {
			date := part.Start.UTC().Format(time.DateOnly)
			out[date] = append(out[date], JudgedSpan{part.Start.UTC(), part.End.UTC(), span.Reason})
		}
	}
	return out
}

// mergeSpans puts new spans over old ones. With keep, old spans that were judged stay.
func mergeSpans(old, added []JudgedSpan, keep bool) []JudgedSpan {
	over, under := added, old
	if keep {
		over, under = nil, slices.Clone(added)
		for _, span := range old {
			if span.Reason == "" {
				over = append(over, span)
			} else {
				// New spans go over it.
				under = append(under, cutSpans([]JudgedSpan{span}, added)...)
			}
		}
	}
	return joinSpans(append(slices.Clone(over), cutSpans(under, over)...))
}

// cutSpans returns the parts of spans that lie in none of the others.
func cutSpans(spans, others []JudgedSpan) (out []JudgedSpan) {
	var windows []window.Window
	for _, other := range others {
		windows = append(windows, other.Window())
	}
	windows = window.Merge(windows)
	for _, span := range spans {
		for _, part := range span.Window().Subtract(windows) {
			out = append(out, JudgedSpan{part.Start, part.End, span.Reason})
		}
	}
	return out
}

// joinSpans sorts disjoint spans and joins those that touch and have the same reason.
func joinSpans(spans []JudgedSpan) (out []JudgedSpan) {
	slices.SortFunc(spans, func(a, b JudgedSpan) int { return a.Start.Compare(b.Start) })
	for _, span := range spans {
		if last := len(out) - 1; last >= 0 && out[last].Reason == span.Reason && out[last].End.Equal(span.Start) {
			out[last].End = span.End
		} else if !span.Window().IsEmpty() {
			out = append(out, span)
		}
	}
	return out
}
