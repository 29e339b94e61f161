package schedule

import (
	"errors"
	"fmt"
	"strings"
)

// splitCommand takes a command line apart as a shell would, but there is no shell: what only a shell could do is an error.
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
			return nil, fmt.Errorf("%q is for a shell, and there is none here; one tapedeck command is wanted, special characters in quotes", string(r))
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
		return nil, errors.New("there is no command in it")
	}
	return words, nil
}
