package history

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// line is one line of the table: an event, or several of a kind at one instant.
type line struct {
	at    time.Time
	event string
	text  string
}

// minText is the least width of the texts, in characters.
const minText = 30

// WriteTable writes the events below their date, oldest first, and a summary. Times are UTC. width
// is that of the terminal in characters, 0 if there is none; longer texts are broken.
func WriteTable(w io.Writer, h *History, width int) error {
	const indent = len("15:04:05  connected  ")
	room := 0
	if width > 0 {
		room = max(minText, width-indent-1)
	}
	var out strings.Builder
	date := ""
	for _, l := range lines(h.Events) {
		if d := l.at.Format(time.DateOnly); d != date {
			if date != "" {
				out.WriteString("\n")
			}
			date = d
			fmt.Fprintf(&out, "%s (UTC)\n", date)
		}
		texts := wording.Wrap(l.text, room)
		fmt.Fprintf(&out, "%s  %-9s  %s", l.at.Format("15:04:05"), wording.Name(l.event), texts[0])
		for _, text := range texts[1:] {
			fmt.Fprintf(&out, "\n%*s%s", indent, "", text)
		}
		out.WriteString("\n")
	}
	if len(h.Events) > 0 {
		out.WriteString("\n")
	}
	for _, text := range Summary(h) {
		for _, part := range wording.Wrap(text, max(0, width-1)) {
			out.WriteString(part + "\n")
		}
	}
	text := strings.ReplaceAll(out.String(), "  \n", "\n")
	_, err := io.WriteString(w, text)
	return err
}

// lines combines events of a kind that follow each other within a second.
func lines(events []Event) (out []line) {
	for start := 0; start < len(events); {
		first := events[start]
		end := start + 1
		for end < len(events) && events[end].Event == first.Event && combines(first, events[end]) {
			end++
		}
		out = append(out, line{first.Time, first.Event, textOf(events[start:end])})
		start = end
	}
	return out
}

// combines reports whether two events of a kind are one line.
func combines(a, b Event) bool {
	switch a.Event {
	case tape.EventConnected, tape.EventResumed, tape.EventLost:
		return b.Time.Sub(a.Time) < time.Second && a.RunID == b.RunID && (a.Message == b.Message || a.Event != tape.EventLost)
	case tape.EventGap, tape.EventHealed:
		return a.Message == b.Message && b.Time.Sub(a.Time) < time.Second
	}
	return false
}

// textOf describes events of a kind.
func textOf(events []Event) string {
	first := events[0]
	switch first.Event {
	case tape.EventGap:
		return gapText(events)
	case tape.EventHealed:
		return idsText(events, "fetched")
	case tape.EventConnected, tape.EventResumed, tape.EventLost:
		var names []string
		for _, e := range events {
			if e.Connection != "" && !slices.Contains(names, e.Connection) {
				names = append(names, e.Connection)
			}
		}
		message := oneLine(first.Message)
		if slices.ContainsFunc(events, func(e Event) bool { return e.Message != first.Message }) {
			message = "" // of one connection only
		}
		return joined(wording.List(names, 6), message)
	}
	text := oneLine(first.Message)
	if first.Event == tape.EventStarted && first.RunID != "" {
		text = strings.TrimSpace(text + " (run " + wording.Name(first.RunID) + ")")
	}
	return text
}

// joined joins texts that are not empty.
func joined(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(text string) bool { return text == "" }), ": ")
}

func oneLine(text string) string { return wording.Visible(strings.Join(strings.Fields(text), " ")) }

// idsText names the ids of events, with what became of them: "48 ids of BTCUSDT missing (1234 to
// 1281)", or "6 ids missing (ETHUSDT 4, BTCUSDT 2)".
func idsText(events []Event, became string) string {
	total := int64(0)
	count := map[string]int64{}
	for _, e := range events {
		total = idset.Sum(total, e.IDs)
		count[e.Symbol] = idset.Sum(count[e.Symbol], e.IDs)
	}
	text := wording.Count(total, "id")
	first := events[0]
	if len(count) == 1 && first.Symbol != "" {
		text += " of " + wording.Name(first.Symbol)
	}
	text += " " + became
	switch {
	case len(count) > 1:
		symbols := slices.Collect(maps.Keys(count))
		slices.SortFunc(symbols, func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b)) })
		for i, symbol := range symbols {
			symbols[i] = symbol + " " + wording.Comma(count[symbol])
		}
		text += " (" + wording.List(symbols, 4) + ")"
	case len(events) == 1 && first.FirstID != nil && first.LastID != nil && *first.LastID > *first.FirstID:
		text += fmt.Sprintf(" (%d to %d)", *first.FirstID, *first.LastID)
	case len(events) == 1 && first.FirstID != nil:
		text += fmt.Sprintf(" (%d)", *first.FirstID)
	}
	return text
}

// gapText describes gaps and what became of them.
func gapText(events []Event) string {
	var open, absent, dropped int64
	var healed time.Time
	allHealed := true
	for _, e := range events {
		open, absent, dropped = open+e.Open, absent+e.Absent, dropped+e.Dropped
		allHealed = allHealed && !e.HealedAt.IsZero()
		if e.HealedAt.After(healed) {
			healed = e.HealedAt
		}
	}
	became := "missing"
	if events[0].Message == tape.GapBeforeStart {
		became = "missing before the start"
	}
	text := idsText(events, became)
	var fates []string
	switch {
	case open > 0:
		fates = append(fates, wording.Comma(open)+" still missing")
	case allHealed && absent+dropped == 0:
		at := healed.Format("15:04:05")
		if healed.Format(time.DateOnly) != events[0].Time.Format(time.DateOnly) {
			at = healed.Format("2006-01-02 15:04:05")
		}
		fates = append(fates, fmt.Sprintf("healed at %s, %s later", at, duration(max(0, healed.Sub(events[0].Time)))))
	case absent+dropped == 0:
		fates = append(fates, "on the tape by now")
	}
	if absent > 0 {
		fates = append(fates, wording.Comma(absent)+" not at the exchange either")
	}
	if dropped > 0 {
		fates = append(fates, wording.Comma(dropped)+" dropped on purpose")
	}
	return text + "; " + strings.Join(fates, ", ")
}

// duration returns a duration to the second, or with two digits if it is shorter than ten seconds.
func duration(d time.Duration) string {
	precision := time.Second
	if d < 10*time.Second {
		precision = 10 * time.Millisecond
	}
	return d.Round(precision).String()
}

// Summary says in a few lines what the window was like.
func Summary(h *History) []string {
	var out []string
	length := h.Window.Duration()
	switch {
	case !h.Known:
		out = append(out, "No recorder has left a trace up to the end of this window.")
	case h.Recorded >= length:
		out = append(out, fmt.Sprintf("The recorder ran all of the %s.", duration(length)))
	default:
		out = append(out, fmt.Sprintf("The recorder ran %s of %s.", duration(h.Recorded), duration(length)))
	}
	lost, missing, before := 0, int64(0), int64(0)
	for _, e := range h.Events {
		switch e.Event {
		case tape.EventLost:
			lost++
		case tape.EventGap:
			if e.Message == tape.GapBeforeStart {
				before = idset.Sum(before, e.IDs)
			} else {
				missing = idset.Sum(missing, e.IDs)
			}
		}
	}
	down := stillDown(h)
	switch {
	case h.Known && lost > 0 && missing == 0 && len(down) > 0:
		out[0] += fmt.Sprintf(" It lost %s.", wording.Count(lost, "connection"))
	case h.Known && lost+int(missing) > 0:
		out[0] += fmt.Sprintf(" It lost %s and missed %s.", wording.Count(lost, "connection"), wording.Count(missing, "id"))
	}
	if before > 0 {
		out[0] += fmt.Sprintf(" %s missing before a start.", wording.Count(before, "id was", "ids were"))
	}
	if len(down) > 0 {
		out = append(out, fmt.Sprintf("Still down: connection %s. What it misses is known when it is back.", wording.List(down, 4)))
	}
	open := int64(0)
	var symbols []string
	for _, gap := range h.Open {
		open = idset.Sum(open, gap.Count())
		if !slices.Contains(symbols, gap.Symbol) {
			symbols = append(symbols, gap.Symbol)
		}
	}
	if open > 0 {
		out = append(out, fmt.Sprintf("Missing now, between trades of this time: %s of %s; tapedeck backfill fetches them.",
			wording.Count(open, "id"), wording.List(symbols, 6)))
	}
	if h.Known && h.RunningSince.IsZero() {
		out = append(out, "No recorder runs at the end of this time.")
	} else if h.Known {
		out = append(out, fmt.Sprintf("It has run since %s (UTC).", h.RunningSince.Format("2006-01-02 15:04:05")))
	}
	return out
}

// stillDown names the connections that were lost in the window and had not come back at its end, of
// recorders that had not ended.
func stillDown(h *History) (names []string) {
	type connection struct{ run, name string }
	down := map[connection]time.Time{}
	for _, e := range h.Events {
		c := connection{e.RunID, e.Connection}
		switch e.Event {
		case tape.EventLost:
			down[c] = e.Time
		case tape.EventConnected, tape.EventResumed:
			delete(down, c)
		case tape.EventStopped, tape.EventKilled:
			maps.DeleteFunc(down, func(c connection, _ time.Time) bool { return c.run == e.RunID })
		}
	}
	for c, since := range down {
		names = append(names, c.name+" since "+since.Format("15:04:05"))
	}
	slices.Sort(names)
	return names
}

// eventJSON is an event as JSON.
type eventJSON struct {
	At         time.Time `json:"at"`
	Event      string    `json:"event"`
	Connection string    `json:"connection,omitempty"`
	Symbol     string    `json:"symbol,omitempty"`
	FirstID    *int64    `json:"first_id,omitempty"`
	LastID     *int64    `json:"last_id,omitempty"`
	IDs        int64     `json:"ids,omitempty"`
	// MissingNow is set for gaps.
	MissingNow *int64    `json:"missing_now,omitempty"`
	HealedAt   time.Time `json:"healed_at,omitzero"`
	Message    string    `json:"message,omitempty"`
	RunID      string    `json:"run_id,omitempty"`
}

func asJSON(e Event) eventJSON {
	out := eventJSON{
		At: e.Time, Event: e.Event, Connection: e.Connection, Symbol: e.Symbol, FirstID: e.FirstID, LastID: e.LastID,
		IDs: e.IDs, HealedAt: e.HealedAt, Message: e.Message, RunID: e.RunID,
	}
	if e.Event == tape.EventGap {
		out.MissingNow = &e.Open
	}
	return out
}

// WriteJSON writes the history as one object.
func WriteJSON(w io.Writer, h *History) error {
	type gap struct {
		Symbol  string    `json:"symbol"`
		FirstID int64     `json:"first_id"`
		LastID  int64     `json:"last_id"`
		After   time.Time `json:"after"`
		Before  time.Time `json:"before"`
	}
	out := struct {
		WindowStart     time.Time   `json:"window_start"`
		WindowEnd       time.Time   `json:"window_end"`
		RecordedSeconds float64     `json:"recorded_seconds"`
		RunningSince    time.Time   `json:"running_since,omitzero"`
		Events          []eventJSON `json:"events"`
		MissingNow      []gap       `json:"missing_now"`
	}{
		WindowStart: h.Window.Start, WindowEnd: h.Window.End, RecordedSeconds: h.Recorded.Seconds(), RunningSince: h.RunningSince,
		Events: []eventJSON{}, MissingNow: []gap{},
	}
	for _, e := range h.Events {
		out.Events = append(out.Events, asJSON(e))
	}
	for _, g := range h.Open {
		out.MissingNow = append(out.MissingNow, gap{g.Symbol, g.First, g.Last, g.After, g.Before})
	}
	encoder := json.NewEncoder(wording.JSON(w))
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

// WriteCSV writes one row for each event.
func WriteCSV(w io.Writer, h *History) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{
		"at", "event", "connection", "symbol", "first_id", "last_id", "ids", "missing_now", "healed_at", "message", "run_id",
	})
	number := func(n *int64) string {
		if n == nil {
			return ""
		}
		return strconv.FormatInt(*n, 10)
	}
	for _, e := range h.Events {
		j := asJSON(e)
		healed := ""
		if !j.HealedAt.IsZero() {
			healed = j.HealedAt.Format(time.RFC3339Nano)
		}
		_ = out.Write([]string{
			j.At.Format(time.RFC3339Nano), wording.Formula(j.Event), wording.Formula(j.Connection), wording.Formula(j.Symbol), number(j.FirstID), number(j.LastID),
			strconv.FormatInt(j.IDs, 10), number(j.MissingNow), healed, wording.Formula(j.Message), wording.Formula(j.RunID),
		})
	}
	out.Flush()
	return out.Error()
}
