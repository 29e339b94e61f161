package state

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tapedeck/internal/durable"
)

const (
	answersFile = "answers.json"
	answersLock = "answers.lock"
	// keptAnswers is how many answers of a kind are kept per symbol. One is needed; the others serve
	// until the tape has what the newest one names.
	keptAnswers = 8
)

// Answers are the exchange's own answers about where trading stood at an instant, by symbol. They
// are facts about the exchange, whatever is on the tape. If the file is lost, less is known to be
// complete.
type Answers map[string]SymbolAnswers

// SymbolAnswers are the answers about one symbol, by time.
type SymbolAnswers struct {
	// LastBefore says: the last id that traded before At is ID.
	LastBefore []Answer `json:"last_before,omitempty"`
	// FirstFrom says: the first id that traded at or after At is ID.
	FirstFrom []Answer `json:"first_from,omitempty"`
	// Published are the ends of the symbol on the tape when the answers were recorded; nil if it had none, or
	// an earlier version recorded them.
	Published *Ends `json:"published,omitempty"`
}

// Answer names an id and the instant that it is the last one before, or the first one from. At is
// exchange time, and was past at the exchange when it answered.
type Answer struct {
	At time.Time `json:"at"`
	ID int64     `json:"id"`
}

// ReadAnswers returns the recorded answers. There are none if the file is missing or damaged.
func ReadAnswers(d *Dir) (Answers, error) {
	answers, err := ReadCache[SymbolAnswers](d, answersFile)
	if err != nil {
		return nil, fmt.Errorf("read the exchange's answers: %w", err)
	}
	return answers, nil
}

// RecordAnswers adds answers to the file. Of each kind, the latest per symbol are kept; of FirstFrom
// the earliest one too. Ends are united. Several processes may call it at the same time.
func RecordAnswers(d *Dir, added Answers) error {
	if len(added) == 0 {
		return nil
	}
	err := func() error {
		unlock, err := durable.Lock(d.Path(answersLock))
		if err != nil {
			return err
		}
		defer unlock()
		answers, err := ReadAnswers(d)
		if err != nil {
			return err
		}
		for symbol, more := range added {
			have := answers[symbol]
			have.LastBefore = addAnswers(have.LastBefore, more.LastBefore, false)
			have.FirstFrom = addAnswers(have.FirstFrom, more.FirstFrom, true)
			if have.Published != nil && more.Published != nil {
				united := have.Published.Union(*more.Published)
				have.Published = &united
			} else if more.Published != nil {
				have.Published = more.Published
			}
			answers[symbol] = have
		}
		return d.Write(answersFile, answers)
	}()
	if err != nil {
		return fmt.Errorf("record the exchange's answers: %w", err)
	}
	return nil
}

// addAnswers returns the union by time, cut to the latest ones. A newer answer about the same
// instant replaces the old one.
func addAnswers(have, added []Answer, keepFirst bool) []Answer {
	out := slices.Clone(added)
	for _, a := range have {
		if !slices.ContainsFunc(out, func(b Answer) bool { return b.At.Equal(a.At) }) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b Answer) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	if surplus := len(out) - keptAnswers; surplus > 0 {
		start := 0
		if keepFirst {
			start = 1
		}
		out = slices.Delete(out, start, start+surplus)
	}
	return out
}
