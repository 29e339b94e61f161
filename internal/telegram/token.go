package telegram

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
)

// The environment variables that a bot's token is read from.
const (
	TokenVariable     = "TAPEDECK_TELEGRAM_TOKEN"
	TokenFileVariable = "TAPEDECK_TELEGRAM_TOKEN_FILE"
)

// Token is a bot's password. It prints as ***, in logs, in JSON and with every verb of fmt; the zero value is none.
type Token struct{ secret string }

// tokenForm is what BotFather gives out: the bot's number, a colon, and letters, digits, dashes and underscores.
var tokenForm = regexp.MustCompile(`^[0-9]{1,20}:[A-Za-z0-9_-]{8,128}$`)

// tokenFileLimit bounds what is read of a token's file: one that is larger is another file.
const tokenFileLimit = 4096

// ReadToken takes the token from TAPEDECK_TELEGRAM_TOKEN, or from the file that TAPEDECK_TELEGRAM_TOKEN_FILE names; get looks a variable
// up and gives "" where it is not set. Neither set is no token and no error. No error shows what was read.
func ReadToken(get func(name string) string) (Token, error) {
	text, path := strings.TrimSpace(get(TokenVariable)), get(TokenFileVariable)
	source := TokenVariable
	switch {
	case text != "" && path != "":
		return Token{}, fmt.Errorf("%s and %s are both set; one of them is wanted", TokenVariable, TokenFileVariable)
	case text == "" && path == "":
		return Token{}, nil
	case path != "":
		source = fmt.Sprintf("the file %q of %s", path, TokenFileVariable)
		content, err := readSmall(path)
		if err != nil {
			return Token{}, fmt.Errorf("read the bot's token: %s: %w", TokenFileVariable, err)
		}
		if text = strings.TrimSpace(content); text == "" {
			return Token{}, fmt.Errorf("%s is empty", source)
		}
	}
	if !tokenForm.MatchString(text) {
		return Token{}, fmt.Errorf("%s holds no bot's token: it looks like 123456789:AA…, as BotFather gives it", source)
	}
	return Token{text}, nil
}

func readSmall(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, tokenFileLimit+1))
	if err == nil && len(content) > tokenFileLimit {
		err = errors.New("too large for a token")
	}
	return string(content), err
}

// Given says whether there is a token.
func (t Token) Given() bool { return t.secret != "" }

func (t Token) masked() string {
	if t.secret == "" {
		return ""
	}
	return "***"
}

// Format prints *** with every verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.masked()) }

func (t Token) String() string               { return t.masked() }
func (t Token) LogValue() slog.Value         { return slog.StringValue(t.masked()) }
func (t Token) MarshalText() ([]byte, error) { return []byte(t.masked()), nil }

// scrub takes the token out of text, whole or its secret half alone.
func (t Token) scrub(text string) string {
	if t.secret == "" {
		return text
	}
	text = strings.ReplaceAll(text, t.secret, "***")
	if _, half, ok := strings.Cut(t.secret, ":"); ok {
		text = strings.ReplaceAll(text, half, "***")
	}
	return text
}
