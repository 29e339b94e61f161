package schedule

import (
	"errors"
	"fmt"
	"strings"
)

// splitCommand splits a command line into words as a shell would, and removes a leading "tapedeck".
// There is no shell, so a word with a special meaning to one is an error.
func splitCommand(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == '\'':
			word.WriteRune(r)
		case r == '\\' && i+1 < len(runes):
			i++
			word.WriteRune(runes[i])
			inWord = true
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case strings.ContainsRune("|&;<>`$", r):
			return nil, fmt.Errorf("%q needs a shell; write one tapedeck command, with special characters in quotes", string(r))
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("the quote %c is not closed", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) > 0 && words[0] == "tapedeck" {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, errors.New("no command")
	}
	return words, nil
}
