package telegram

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"

	"tapedeck/internal/durable"
)

// The environment variables from which the bot's token is read.
const (
	TokenVariable     = "TAPEDECK_TELEGRAM_TOKEN"
	TokenFileVariable = "TAPEDECK_TELEGRAM_TOKEN_FILE"
)

// Token is a bot's password. It prints as *** in logs, in JSON and with every verb of fmt. The zero
// value is no token.
type Token struct{ secret string }

// tokenPattern matches the tokens of BotFather: the bot's number, a colon, and letters, digits,
// dashes and underscores.
var tokenPattern = regexp.MustCompile(`^[0-9]{1,20}:[A-Za-z0-9_-]{8,128}$`)

// maxTokenFile is the largest size of a token's file in bytes. A larger file is not a token.
const maxTokenFile = 4096

// ReadToken reads the token from TAPEDECK_TELEGRAM_TOKEN, or from the file that
// TAPEDECK_TELEGRAM_TOKEN_FILE names. get returns the value of a variable, or "" if it is not set.
// If neither is set, there is no token and no error. Errors do not contain what was read.
func ReadToken(get func(name string) string) (Token, error) {
	text, path := strings.TrimSpace(get(TokenVariable)), get(TokenFileVariable)
	source := TokenVariable
	switch {
	case text != "" && path != "":
		return Token{}, fmt.Errorf("%s and %s are both set; set only one", TokenVariable, TokenFileVariable)
	case text == "" && path == "":
		return Token{}, nil
	case path != "":
		source = fmt.Sprintf("the file %q of %s", path, TokenFileVariable)
		content, err := durable.ReadFile(path, maxTokenFile)
		if err != nil {
			return Token{}, fmt.Errorf("read the bot's token: %s: %w", TokenFileVariable, err)
		}
		if text = strings.TrimSpace(string(content)); text == "" {
			return Token{}, fmt.Errorf("%s is empty", source)
		}
	}
	if !tokenPattern.MatchString(text) {
		return Token{}, fmt.Errorf("%s is not a bot token: BotFather's tokens look like 123456789:AA…", source)
	}
	return Token{text}, nil
}

// Given reports whether there is a token.
func (t Token) Given() bool { return t.secret != "" }

// String returns ***.
func (t Token) String() string {
	if t.secret == "" {
		return ""
	}
	return "***"
}

// Format prints *** with every verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

func (t Token) LogValue() slog.Value         { return slog.StringValue(t.String()) }
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// scrub replaces the token in text, and its secret half.
func (t Token) scrub(text string) string {
	if t.secret == "" {
		return text
	}
	_, half, _ := strings.Cut(t.secret, ":")
	return strings.NewReplacer(t.secret, "***", half, "***").Replace(text)
}
