package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"tapedeck/internal/standin/market"
)

// alert is the part of a line of detect --format jsonl that the demo reads.
type alert struct {
	Detector string    `json:"detector"`
	Symbol   string    `json:"symbol"`
	At       time.Time `json:"at"`
}

func readAlerts(r io.Reader) ([]alert, error) {
	var out []alert
	for lines := json.NewDecoder(r); ; {
		var a alert
		switch err := lines.Decode(&a); {
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read the output of detect: %w", err)
		}
		out = append(out, a)
	}
}

type foundIncident struct {
	market.Event
	delay time.Duration // from the onset to the first alert
}

type judgement struct {
	found       []foundIncident
	missed      []market.Event // of promised kinds
	unexplained []alert
}

// promisedKinds lists the kinds of incident that the demo must find.
func promisedKinds() []string {
	return []string{market.PumpBurst, market.FlashCrash, market.WhaleOrder}
}

// aftermath is how long after an incident's end it explains alerts: it is still in their baselines.
const aftermath = 10 * time.Minute

// explains reports whether an alert of any detector is about an incident.
func explains(i market.Event, a alert) bool {
	return a.Symbol == i.Symbol && a.At.After(i.At) && !a.At.After(i.To.Add(aftermath))
}

// judge compares alerts with the incidents. An incident is found by an alert of its own kind.
func judge(incidents []market.Event, alerts []alert) judgement {
	var out judgement
	alerts = slices.SortedFunc(slices.Values(alerts), func(a, b alert) int { return a.At.Compare(b.At) })
	for _, i := range incidents {
		first := slices.IndexFunc(alerts, func(a alert) bool { return a.Detector == i.Kind && explains(i, a) })
		switch {
		case first >= 0:
			out.found = append(out.found, foundIncident{i, alerts[first].At.Sub(i.At)})
		case slices.Contains(promisedKinds(), i.Kind):
			out.missed = append(out.missed, i)
		}
	}
	for _, kind := range promisedKinds() {
		if !slices.ContainsFunc(incidents, func(i market.Event) bool { return i.Kind == kind }) {
			out.missed = append(out.missed, market.Event{Kind: kind, Symbol: "no symbol"})
		}
	}
	for _, a := range alerts {
		if !slices.ContainsFunc(incidents, func(i market.Event) bool { return explains(i, a) }) {
			out.unexplained = append(out.unexplained, a)
		}
	}
	return out
}
