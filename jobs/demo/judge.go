package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// incident is something that lies in the simulated market; Kind is the detector that should find it.
type incident struct {
	Kind   string    `json:"kind"`
	Symbol string    `json:"symbol"`
	At     time.Time `json:"at"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Note   string    `json:"note"`
}

// alert is a line of detect --format jsonl.
type alert struct {
	Detector string    `json:"detector"`
	Symbol   string    `json:"symbol"`
	At       time.Time `json:"at"`
}

func readAlerts(r io.Reader) ([]alert, error) {
	var out []alert
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a alert
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			return nil, fmt.Errorf("read what detect found: %w", err)
		}
		out = append(out, a)
	}
	return out, lines.Err()
}

type found struct {
	incident
	after time.Duration
}

type verdict struct {
	found  []found
	missed []incident // of promised kinds
	others []alert
}

// promised are the kinds that the demo must find.
func promised() []string { return []string{"pump_burst", "flash_crash", "whale_order"} }

// slack is how long after an incident's end an alert still belongs to it: until then a baseline holds it and not what follows.
const slack = 10 * time.Minute

// judge holds alerts against what was put in. An alert belongs to an incident of its symbol, whatever its detector, from the onset until slack after its
// end, and an incident is found by an alert of its own kind.
func judge(injected []incident, alerts []alert) verdict {
	var out verdict
	mine := func(a alert, i incident) bool {
		return a.Symbol == i.Symbol && a.At.After(i.At) && !a.At.After(i.To.Add(slack))
	}
	for _, i := range injected {
		first := slices.IndexFunc(alerts, func(a alert) bool { return a.Detector == i.Kind && mine(a, i) })
		for n, a := range alerts {
			if first >= 0 && a.Detector == i.Kind && mine(a, i) && a.At.Before(alerts[first].At) {
				first = n
			}
		}
		switch {
		case first >= 0:
			out.found = append(out.found, found{i, alerts[first].At.Sub(i.At)})
		case slices.Contains(promised(), i.Kind):
			out.missed = append(out.missed, i)
		}
	}
	for _, kind := range promised() {
		if !slices.ContainsFunc(injected, func(i incident) bool { return i.Kind == kind }) {
			out.missed = append(out.missed, incident{Kind: kind, Symbol: "no symbol"})
		}
	}
	for _, a := range alerts {
		if !slices.ContainsFunc(injected, func(i incident) bool { return mine(a, i) }) {
			out.others = append(out.others, a)
		}
	}
	return out
}
