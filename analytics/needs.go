package analytics

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Needs is what a detector must have on the tape to judge a minute of a symbol. The header states it in
// needs: lines; docs/SQL.md specifies them. Without such lines a detector needs its whole look-back.
type Needs struct {
	// Whole is the time up to the end of the minute in which no ids may be missing, at least a minute.
	Whole time.Duration
	// Step is the length of the clock's buckets in which the detector counts, at least a minute. A
	// bucket with missing ids does not count.
	Step time.Duration
	// Price is how long before the end of the minute a price must be known, with no ids missing since.
	// Zero: none is needed.
	Price time.Duration
	History
	// Quotes is the parameter with quote assets by which the detector compares three pairs. A pair is
	// judged if all pairs are with which it forms a triangle. Empty: it judges each symbol by itself.
	Quotes string
	// Lines are the lines of the header; without any, the other values follow from its reads: lines.
	Lines []string
}

// History is how much of the time before must be recorded.
type History struct {
	// Length is the time before; zero: none is needed.
	Length time.Duration
	// Required is the parameter with the number of minutes that must be recorded, and Times what to
	// multiply it with. Without a parameter it is the number itself.
	Required string
	Times    int64
	// End is where Length ends.
	End HistoryEnd
	// Step is the length of the clock's buckets in which minutes are counted, at least a minute.
	Step time.Duration
}

// HistoryEnd is where the time before ends: at the start of the time that must be whole (Whole), at the
// full hour before that start, or at the last trade before the minute.
type HistoryEnd string

// The ends of the time before.
const (
	BeforeThem    HistoryEnd = "them"
	BeforeHour    HistoryEnd = "the full hour"
	BeforeSilence HistoryEnd = "the silence"
)

var (
	wholePattern   = regexp.MustCompile(`^(\d+ [a-z]+)(?:, by (\d+ [a-z]+))?$`)
	pricePattern   = regexp.MustCompile(`^(\d+ [a-z]+) before$`)
	historyPattern = regexp.MustCompile(`^([a-z0-9_]+)(?: times (\d+))? of (\d+ [a-z]+) before (them|the full hour|the silence)(?:, by (\d+ [a-z]+))?$`)
)

// parseNeeds parses "whole 5 minutes", "whole 30 minutes, by 5 minutes", "price 5 minutes before",
// "history min_minutes of 24 hours before the full hour, by 5 minutes" or "triangles quotes".
func (p *headerParser) parseNeeds(rest string) error {
	if p.Kind != Detect {
		return p.fail("needs: is only for detectors")
	}
	if p.Needs == nil {
		p.Needs = &Needs{Whole: time.Minute, Step: time.Minute}
	}
	p.Needs.Lines = append(p.Needs.Lines, rest)
	kind, text, _ := strings.Cut(rest, " ")
	text = strings.TrimSpace(text)
	bad := func(example string) error {
		return p.fail("needs %q: write %q", rest, example)
	}
	switch kind {
	case "whole":
		match := wholePattern.FindStringSubmatch(text)
		if match == nil || !wholeMinutes(match[1], &p.Needs.Whole) || match[2] != "" && !wholeMinutes(match[2], &p.Needs.Step) {
			return bad("whole 5 minutes")
		}
	case "price":
		match := pricePattern.FindStringSubmatch(text)
		if match == nil || !wholeMinutes(match[1], &p.Needs.Price) {
			return bad("price 5 minutes before")
		}
	case "history":
		return p.parseHistory(text, bad)
	case "triangles":
		if param, ok := p.Param(text); !ok || param.Type != "VARCHAR" {
			return p.fail("needs %q: %q is not among the VARCHAR parameters above", rest, text)
		}
		p.Needs.Quotes = text
	default:
		return p.fail("needs %q: a detector can need whole, price, history or triangles", kind)
	}
	return nil
}

func (p *headerParser) parseHistory(text string, bad func(string) error) error {
	history := History{Times: 1, Step: time.Minute}
	match := historyPattern.FindStringSubmatch(text)
	if match == nil || !wholeMinutes(match[3], &history.Length) || match[5] != "" && !wholeMinutes(match[5], &history.Step) {
		return bad("history min_minutes of 24 hours before the full hour")
	}
	history.Required, history.End = match[1], HistoryEnd(match[4])
	if match[2] != "" {
		history.Times, _ = strconv.ParseInt(match[2], 10, 32)
	}
	if _, err := strconv.ParseInt(history.Required, 10, 64); err != nil {
		if param, ok := p.Param(history.Required); !ok || param.Type != "BIGINT" {
			return p.fail("needs: %q is not among the BIGINT parameters above", history.Required)
		}
	}
	p.Needs.History = history
	return nil
}

// wholeMinutes parses a duration of whole minutes, at least one.
func wholeMinutes(text string, into *time.Duration) bool {
	duration, err := parseInterval(text)
	*into = duration
	return err == nil && duration >= time.Minute && duration%time.Minute == 0
}

// defaultNeeds returns what a detector without needs: lines needs: all that it reads.
func (q Query) defaultNeeds() *Needs {
	before := (q.LookBack("trades", "minutes") + time.Minute - 1).Truncate(time.Minute)
	return &Needs{Whole: time.Minute + before, Step: time.Minute}
}

// Definition identifies the SQL of the query: a hash that comments and spaces do not change.
func (q Query) Definition() string {
	tokens, err := scan(q.Text)
	if err != nil {
		return "" // ParseQuery refuses such a text
	}
	sum := sha256.New()
	for _, t := range tokens {
		fmt.Fprintf(sum, "%d %s\n", t.kind, t.text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
