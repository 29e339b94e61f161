package detect

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// Result returns the result of the run in one sentence.
func (s Summary) Result() string {
	if s.Judged.IsEmpty() {
		return "nothing new to judge"
	}
	if s.nothingJudged() {
		return "no minute could be judged"
	}
	text := fmt.Sprintf("%s, %s of them new", wording.Count(len(s.Alerts), "alert"), wording.Comma(len(s.New)))
	if len(s.Incidents) > 0 {
		text += ", in " + wording.Count(len(s.Incidents), "incident")
	}
	return text
}

// Lines describes the run for people: the result, market-wide incidents, and what was not judged and why.
func (s Summary) Lines() (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch {
	case s.Judged.IsEmpty():
		add("%s", s.Result())
	case s.nothingJudged():
		add("looked at %s from %s to %s UTC: %s", wording.Count(s.Symbols, "symbol"), minuteText(s.Judged.Start), minuteText(s.Judged.End), s.Result())
	default:
		add("judged %s from %s to %s UTC: %s", wording.Count(s.Symbols, "symbol"), minuteText(s.Judged.Start), minuteText(s.Judged.End), s.Result())
	}
	for _, incident := range s.Incidents {
		if incident.Symbol == analytics.AllSymbols {
			add("market-wide, %s to %s UTC: %s, %s (%s)", minuteText(incident.StartedAt), minuteText(incident.LastAt), incident.Message,
				incident.Severity, strings.Join(incident.Detectors, ", "))
		}
	}
	if reasons := unjudgedReasons(s.Unjudged); len(reasons) > 0 {
		by := "every"
		if s.JudgedMinutes == 0 {
			by = "any"
		}
		none := s.Minutes - s.JudgedMinutes
		if none > 0 && s.JudgedMinutes > 0 {
			reasons = append(reasons, wording.Count(none, "minute")+" by none")
		}
		add("not judged by %s detector: %s", by, strings.Join(reasons, "; "))
	}
	for _, waiting := range s.Waiting {
		add("%s waits since %s UTC: %s", waiting.Symbol, minuteText(waiting.Since), waiting.Reason)
	}
	lines = append(lines, s.Unmatched...)
	for _, line := range tape.BrokenLines(s.Broken) {
		add("%s", line)
	}
	for _, problem := range s.Problems {
		add("%v", problem)
	}
	return lines
}

// nothingJudged reports whether the run looked at minutes and no detector could judge any of them.
func (s Summary) nothingJudged() bool {
	return s.Minutes > 0 && s.JudgedMinutes == 0 && len(s.Alerts) == 0
}

// Incomplete returns why the run is not complete, and what to do about it if that is known. The reason is
// empty if the run is complete.
func (s Summary) Incomplete() (reason, hint string) {
	switch {
	case s.failedDetectors() > 0:
		return wording.Count(s.failedDetectors(), "detector") + " failed", ""
	case len(s.Problems) > 0:
		return wording.Count(len(s.Problems), "file") + " in the directory of queries cannot be used", ""
	case len(s.Broken) > 0:
		return tape.BrokenReason(s.Broken)
	case len(s.Waiting) > 0:
		return wording.Count(len(s.Waiting), "symbol") + " waiting for missing trades", "tapedeck backfill fetches them, and the next run judges them"
	}
	return "", ""
}

// failedDetectors counts the detectors that ran and failed; the other problems are about files that were not
// loaded.
func (s Summary) failedDetectors() (failed int) {
	for _, problem := range s.Problems {
		var file *analytics.FileError
		if !errors.As(problem, &file) {
			failed++
		}
	}
	return failed
}

// unjudgedReasons returns, for each reason, how many minutes of which symbols were not judged.
func unjudgedReasons(all []Unjudged) (reasons []string) {
	for _, reason := range []struct {
		text    string
		minutes func(Unjudged) int64
	}{
		{"too little of the time before is recorded", func(u Unjudged) int64 { return u.History }},
		{"the exchange does not have all ids", func(u Unjudged) int64 { return u.Gap }},
		{"ids were dropped on purpose", func(u Unjudged) int64 { return u.Dropped }},
		{"ids are missing that may still arrive", func(u Unjudged) int64 { return u.Waiting }},
	} {
		total, symbols := int64(0), []string{}
		for _, u := range all {
			if n := reason.minutes(u); n > 0 {
				total += n
				symbols = append(symbols, u.Symbol)
			}
		}
		if len(symbols) > 0 {
			reasons = append(reasons, fmt.Sprintf("%s of %s, because %s", wording.Count(total, "minute"), wording.List(symbols, 3), reason.text))
		}
	}
	return reasons
}

func minuteText(at time.Time) string { return at.UTC().Format("2006-01-02 15:04") }
