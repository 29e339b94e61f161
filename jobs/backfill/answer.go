package backfill

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/state"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

// Answer says about which part of the window it is known which ids were traded in it, because the
// exchange said so or the tape has the ids around it. Ids of it that are not on the tape are listed
// elsewhere: as missing, absent or dropped.
type Answer struct {
	// Window is that part. It is empty if there is none. Without a requested window it reaches from
	// the first to the last trade on the tape.
	Window window.Window
	// First is the first trade that the exchange shows, if it shows none before the window. Unless
	// its id is 0, there may be older ones.
	First Shown
	// Silent means that the exchange shows no trade at all, Behind that its last one is older than
	// the tape's.
	Silent, Behind bool

	before, end *fact // the last trades before the window's start and its end; nil if not asked
	archived    *fact // the first trade since a time, according to the archive
}

// Shown is a trade that the exchange shows; the zero value is none.
type Shown struct {
	ID int64
	At time.Time
}

// fact is an answer of the exchange: a trade at the edge of a time has an id.
type fact struct {
	at time.Time
	id int64
}

// Clock is a reading of two clocks at the same moment.
type Clock struct {
	Machine, Exchange time.Time
	uncertainty       time.Duration // of the exchange's
}

// maxSkew is the difference of the clocks from which there is a warning.
const maxSkew = 5 * time.Second

// Skew returns how far the exchange's clock is ahead of this machine's; 0 if they agree within 5 s.
func (c Clock) Skew() time.Duration {
	skew := c.Exchange.Sub(c.Machine)
	if skew.Abs() <= maxSkew+c.uncertainty {
		return 0
	}
	return skew
}

// settleTime is how long after a time the exchange is asked for the last trade before it. A trade
// appears in the answers of REST a moment after it matched.
const settleTime = time.Second

// readClock asks the exchange for its time and returns the part of the window that is not in its
// future. If the window has just ended, it waits until the last trades in it can be asked for.
func readClock(ctx context.Context, rest *binance.REST, opt Options) (Clock, window.Window, binance.Cost, error) {
	at, took, cost, err := rest.ServerTime(ctx)
	if err != nil {
		return Clock{}, opt.Window, cost, err
	}
	clock := Clock{Machine: opt.Now.Add(took).UTC(), Exchange: at, uncertainty: took}
	if skew := clock.Skew(); skew != 0 {
		opt.Logger.Warn("this machine's clock differs from the exchange's",
			"machine", clock.Machine, "exchange", clock.Exchange, "difference_s", skew.Round(time.Second).Seconds())
	}
	answerable := opt.Window
	late := answerable.End.Sub(at)
	if late > maxSkew {
		answerable.End, late = at, 0
	}
	if late <= -settleTime {
		return clock, answerable, cost, nil
	}
	if err := rest.Sleep(ctx, late+settleTime); err != nil {
		return clock, answerable, cost, err
	}
	if late > 0 {
		again, _, asked, err := rest.ServerTime(ctx)
		cost = cost.Plus(asked)
		if err != nil {
			return clock, answerable, cost, err
		}
		if again.Before(answerable.End) {
			answerable.End = again
		}
	}
	return clock, answerable, cost, nil
}

// answers returns the answer for each symbol of the plan, after what was fetched.
func (s Summary) answers() map[symbol.Name]Answer {
	out := make(map[symbol.Name]Answer, len(s.Plan.Symbols))
	for _, symbol := range s.Plan.Symbols {
		out[symbol.Symbol] = symbol.Answer
	}
	for _, symbol := range s.Symbols {
		out[symbol.Symbol] = symbol.Answer
	}
	return out
}

// Unanswered lists for which part of the window and which symbols there is no answer, and why. It
// is empty if the whole window was answered, and if there is no window.
func (s Summary) Unanswered() []string {
	asked := s.Plan.Window
	if asked == (window.Window{}) {
		return nil
	}
	var out []string
	if answerable := s.Plan.Answerable; answerable.IsEmpty() {
		return []string{fmt.Sprintf("no answer %s: the exchange's clock is at %s", formatWindow(asked), formatTime(s.Plan.Clock.Exchange))}
	} else if answerable.End.Before(asked.End) {
		out = append(out, fmt.Sprintf("no answer %s: the exchange's clock is at %s",
			formatWindow(window.Window{Start: answerable.End, End: asked.End}), formatTime(s.Plan.Clock.Exchange)))
	}
	return append(out, s.unansweredSymbols()...)
}

// unansweredSymbols is Unanswered for what differs between the symbols.
func (s Summary) unansweredSymbols() (out []string) {
	answers := s.answers()
	var reasons []string // each once, in the order of the first symbol
	symbols := map[string][]string{}
	var short []string   // symbols whose history begins in the window
	var latest time.Time // at which one of them begins
	for _, symbol := range s.Plan.Symbols {
		if symbol.Problem != nil {
			continue
		}
		answer := answers[symbol.Symbol]
		reason := answer.lacks(s.Plan.Answerable)
		if reason == "" {
			continue
		}
		if symbols[reason] == nil {
			reasons = append(reasons, reason)
		}
		symbols[reason] = append(symbols[reason], symbol.Symbol.String())
		if answer.lacksOnlyItsBeginning(s.Plan.Answerable) {
			short = append(short, symbol.Symbol.String())
			if answer.Window.Start.After(latest) {
				latest = answer.Window.Start
			}
		}
	}
	if len(short) > 1 {
		out = append(out, fmt.Sprintf("%s: no answer from %s to the first trade of each that the exchange shows, at the latest %s",
			wording.List(short, maxNames), formatTime(s.Plan.Answerable.Start), formatTime(latest)))
	}
	for _, reason := range reasons {
		if len(short) > 1 && slices.Contains(short, symbols[reason][0]) {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s", wording.List(symbols[reason], maxNames), reason))
	}
	return out
}

// answered is Window, or empty if the exchange shows no trade at all, which answers nothing.
func (a Answer) answered() window.Window {
	if a.Silent {
		return window.Window{}
	}
	return a.Window
}

// lacksOnlyItsBeginning reports whether the answer lacks only what is before the exchange's history.
func (a Answer) lacksOnlyItsBeginning(asked window.Window) bool {
	return a.Window.Start.After(asked.Start) && a.Window.End.Equal(asked.End) && !a.Window.IsEmpty()
}

// maxNames limits the symbols that are named together.
const maxNames = 5

// lacks says which part of the window the answer lacks, and why; "" if it is complete.
func (a Answer) lacks(asked window.Window) string {
	none := func(start, end time.Time) string {
		return "no answer " + formatWindow(window.Window{Start: start, End: end})
	}
	switch {
	case a.Silent:
		return none(asked.Start, asked.End) + ": the exchange shows no trades of it"
	case a.Window.IsEmpty() && a.First != (Shown{}):
		return none(asked.Start, asked.End) + a.First.history()
	case a.Window.IsEmpty():
		return none(asked.Start, asked.End)
	}
	var parts []string
	if a.Window.Start.After(asked.Start) {
		parts = append(parts, none(asked.Start, a.Window.Start)+a.First.history())
	}
	if a.Window.End.Before(asked.End) {
		reason := ""
		if a.Behind {
			reason = ": the exchange shows no trade after the tape's last"
		}
		parts = append(parts, none(a.Window.End, asked.End)+reason)
	}
	return strings.Join(parts, "; ")
}

// recordAnswers records what the exchange answered, for everything that has to know up to when the
// tape is complete.
func (s Summary) recordAnswers(dir *tape.Dir) error {
	absent := map[symbol.Name]idset.Set{}
	for _, symbol := range s.Symbols {
		absent[symbol.Symbol] = symbol.absent
	}
	answers, out := s.answers(), state.Answers{}
	for _, symbol := range s.Plan.Symbols {
		facts := answers[symbol.Symbol].facts(symbol.absent.Union(absent[symbol.Symbol]))
		if len(facts.FirstFrom)+len(facts.LastBefore) > 0 {
			out[symbol.Symbol.String()] = facts
		}
	}
	return dir.RecordAnswers(out)
}

// facts returns what the exchange answered. absent are the ids that it does not have.
func (a Answer) facts(absent idset.Set) (out state.SymbolAnswers) {
	if f := a.before; f != nil {
		first := f.id + 1
		for _, r := range absent {
			if r.First <= first && first <= r.Last {
				first = r.Last + 1
			}
		}
		out.FirstFrom = append(out.FirstFrom, state.Answer{At: f.at, ID: first})
	}
	if f := a.archived; f != nil {
		out.FirstFrom = append(out.FirstFrom, state.Answer{At: f.at, ID: f.id})
	}
	if f := a.end; f != nil {
		out.LastBefore = append(out.LastBefore, state.Answer{At: f.at, ID: f.id})
	}
	return out
}

// extend makes the answer begin earlier: with the days before the first trade that REST shows whose
// archive files were used. firstID is the first id that they have in the window.
func (a *Answer) extend(archived map[time.Time]bool, firstID int64, asked window.Window) {
	if a.First == (Shown{}) || !a.Window.Start.After(asked.Start) {
		return
	}
	start := a.Window.Start
	if asked.End.Before(start) {
		start = asked.End
	}
	before := start
	for start.After(asked.Start) {
		day := start.Add(-1).Truncate(24 * time.Hour)
		if !archived[day] {
			break
		}
		start = day
	}
	if start.Before(asked.Start) {
		start = asked.Start
	}
	a.Window.Start = start
	if start.Before(before) && firstID >= 0 {
		a.archived = &fact{start, firstID}
	}
}

func (f Shown) history() string {
	return fmt.Sprintf(": the exchange shows nothing before %s (id %d)", formatTime(f.At), f.ID)
}

// Firsts lists the symbols that were first traded in the window or after it.
func (s Summary) Firsts() []string {
	var out []string
	answers := s.answers()
	for _, symbol := range s.Plan.Symbols {
		if first := answers[symbol.Symbol].First; first.ID == 0 && !first.At.IsZero() {
			out = append(out, fmt.Sprintf("%s: its first trade is of %s (id 0)", symbol.Symbol, formatTime(first.At)))
		}
	}
	return out
}

// scope says what the counts of the summary are about: the window that was answered, or the tape.
func (s Summary) scope() string {
	if s.Plan.Window == (window.Window{}) {
		return s.tapeScope()
	}
	var common window.Window
	for i, answer := range s.inOrder() {
		if i > 0 && answer.answered() != common {
			return "in what the exchange has answered"
		}
		common = answer.answered()
	}
	if common.IsEmpty() {
		return "in what the exchange has answered"
	}
	return formatWindow(common)
}

// tapeScope is scope for a run without a window.
func (s Summary) tapeScope() string { return scopeOf(s.inOrder()) }

func scopeOf(answers []Answer) string {
	// A symbol of which the tape has nothing has no gaps.
	answers = slices.DeleteFunc(answers, func(a Answer) bool { return a.Window.End.IsZero() })
	var earliest time.Time
	for _, answer := range answers {
		if end := answer.Window.End; earliest.IsZero() || end.Before(earliest) {
			earliest = end
		}
	}
	switch len(answers) {
	case 0:
		return "inside the tape"
	case 1:
		return fmt.Sprintf("inside the tape %s; the time after was not asked", formatWindow(answers[0].Window))
	}
	return fmt.Sprintf("inside the tape of %s, between the first and the last trade of each; the time after was not asked (the earliest last trade is of %s)",
		wording.Count(len(answers), "symbol"), formatTime(earliest))
}

// inOrder returns the answers in the order of the symbols.
func (s Summary) inOrder() []Answer {
	answers := s.answers()
	out := make([]Answer, 0, len(answers))
	for _, symbol := range s.Plan.Symbols {
		out = append(out, answers[symbol.Symbol])
	}
	return out
}

// String says what was fetched and what is still missing, of which part of the window. A summary
// says that nothing was missing only if there is an answer for every symbol.
func (s Summary) String() string {
	total := s.Total()
	text := total.String()
	withheld := int64(0)
	for _, symbol := range s.Plan.Symbols {
		withheld = idset.Sum(withheld, symbol.Withheld)
	}
	switch {
	case s.unanswered():
		return fmt.Sprintf("no answer %s", formatWindow(s.Plan.Window))
	case !total.hasWork() && withheld > 0:
		text = "nothing was fetched " + s.scope()
	case !total.hasWork() && s.Plan.Window == (window.Window{}):
		text = "no gaps " + s.scope()
	case !total.hasWork():
		text = "nothing was missing " + s.scope()
	default:
		text += " " + s.scope()
	}
	if total.Dropped > 0 {
		text += "; " + droppedText(total.Dropped)
	}
	if withheld > 0 {
		text += fmt.Sprintf("; %s not fetched, because files that this user may not read can have %s",
			wording.Count(withheld, "id was", "ids were"), wording.Noun(withheld, "it", "them"))
	}
	if len(s.Plan.Broken) > 0 {
		reason, _ := tape.BrokenReason(s.Plan.Broken)
		text += "; " + reason
	}
	return text
}

func droppedText(ids int64) string {
	return fmt.Sprintf("%s dropped on purpose and %s not fetched",
		wording.Count(ids, "id was", "ids were"), wording.Noun(ids, "is", "are"))
}

// unanswered reports whether there is a window, and no answer for any part of it.
func (s Summary) unanswered() bool {
	if s.Plan.Window == (window.Window{}) {
		return false
	}
	for _, answer := range s.answers() {
		if !answer.answered().IsEmpty() {
			return false
		}
	}
	return true
}

// formatTime returns a time for people: 2026-01-15 12:00:00.5 UTC.
func formatTime(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05.999999") + " UTC" }

// formatWindow returns a window for people: from 2026-01-15 12:00:00 to 2026-01-15 13:00:00 UTC.
func formatWindow(w window.Window) string {
	return fmt.Sprintf("from %s to %s", strings.TrimSuffix(formatTime(w.Start), " UTC"), formatTime(w.End))
}
