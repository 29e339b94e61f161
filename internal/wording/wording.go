// Package wording formats numbers, counts, names and texts of strangers for people, and finds the
// name that a misspelled word was probably meant to be. It keeps no state and never returns an error.
package wording

import (
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
)

type integer interface {
	~int | ~int32 | ~int64 | ~uint | ~uint32
}

// Comma returns n in decimal with a comma between its thousands: "-1,204".
func Comma[N integer](n N) string { return humanize.Comma(int64(n)) }

// Count returns n with its noun: "1 trade", "1,204 trades". The plural follows the regular rules of
// English unless it is given.
func Count[N integer](n N, noun string, plural ...string) string {
	return Comma(n) + " " + Noun(n, noun, plural...)
}

// Noun returns the noun in the form that n needs, without the number: "trade" for 1, else "trades".
func Noun[N integer](n N, noun string, plural ...string) string {
	if n == 1 {
		return noun
	}
	return english.PluralWord(2, noun, strings.Join(plural, ""))
}

// List joins names with commas and counts those after the first most: "A, B, C and 5 more". It
// shows one name more than most instead of "and 1 more". It escapes each name as Name does.
func List(names []string, most int) string {
	if len(names) <= most+1 {
		return strings.Join(Names(names), ", ")
	}
	return strings.Join(Names(names[:most]), ", ") + " and " + Comma(len(names)-most) + " more"
}

// longestWord bounds, in bytes, the words that Nearest compares; no name is longer.
const longestWord = 100

// Nearest returns the candidate that word was probably meant to be, or "" if none is similar.
// Letter case, spaces, dashes, slashes and underscores do not count. Of equally similar candidates
// the first wins.
func Nearest(word string, candidates []string) string {
	if len(word) > longestWord {
		return ""
	}
	word = simplify(word)
	nearest, edits := "", utf8.RuneCountInString(word)/4+2
	for _, candidate := range candidates {
		if n := levenshtein.ComputeDistance(word, simplify(candidate)); n < edits {
			nearest, edits = candidate, n
		}
	}
	return nearest
}

func simplify(word string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", "/", "", " ", "").Replace(word))
}
