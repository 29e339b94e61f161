// Package redact removes secrets from what people and files get to see: logs, errors, state files and the
// history of a tape.
//
// Its one guarantee: the text that Text returns has no password of a URL, no value of a query parameter
// whose name says that it is secret, and no token of a Telegram bot. It cannot know a secret that is
// part of a path, as in the addresses of services that expect pings; those are never shown.
package redact

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
)

const hidden = "***"

var (
	// userinfo matches what is before the @ of a URL's host. A path, query or fragment ends it, because
	// the names of streams have an @, too.
	userinfo = regexp.MustCompile(`(://)[^/?#\s"'<>]*@`)
	// password matches user:password@host without a scheme, as in a URL that is misspelled.
	password = regexp.MustCompile(`[^\s/:@"'<>=?&]+:[^\s/:@"'<>]+@`)
	// parameter matches the value of a query parameter with a secret.
	parameter = regexp.MustCompile(`(?i)([?&;][\w.~%-]*(?:token|key|secret|passw|pwd|auth|sig|credential|session|jwt)[\w.~%-]*=)[^&;#\s"'<>]+`)
	// botToken matches a token of BotFather, alone or in a path of the Bot API.
	botToken = regexp.MustCompile(`\b(bot)?[0-9]{5,20}:[A-Za-z0-9_-]{25,}`)
)

// Text replaces the secrets in a text by ***. A text without any is returned as it is.
func Text(text string) string {
	if strings.Contains(text, "@") {
		text = userinfo.ReplaceAllString(text, "${1}"+hidden+"@")
		text = password.ReplaceAllString(text, hidden+"@")
	}
	if strings.Contains(text, "=") {
		text = parameter.ReplaceAllString(text, "${1}"+hidden)
	}
	if strings.Contains(text, ":") {
		text = botToken.ReplaceAllString(text, "${1}"+hidden)
	}
	return text
}

// Handler returns a handler that passes records to another one without secrets in their attributes.
// Messages are constant and have none.
func Handler(next slog.Handler) slog.Handler { return handler{next} }

type handler struct{ next slog.Handler }

func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h handler) Handle(ctx context.Context, record slog.Record) error {
	out := slog.NewRecord(record.Time, record.Level, record.Message, record.PC)
	record.Attrs(func(attr slog.Attr) bool {
		out.AddAttrs(withoutSecrets(attr))
		return true
	})
	return h.next.Handle(ctx, out)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, attr := range attrs {
		out[i] = withoutSecrets(attr)
	}
	return handler{h.next.WithAttrs(out)}
}

func (h handler) WithGroup(name string) slog.Handler { return handler{h.next.WithGroup(name)} }

// withoutSecrets returns an attribute without secrets: the attribute itself if it has none.
func withoutSecrets(attr slog.Attr) slog.Attr {
	value := attr.Value.Resolve()
	switch value.Kind() {
	case slog.KindString:
		attr.Value = slog.StringValue(Text(value.String()))
	case slog.KindGroup:
		members := make([]slog.Attr, len(value.Group()))
		for i, member := range value.Group() {
			members[i] = withoutSecrets(member)
		}
		attr.Value = slog.GroupValue(members...)
	case slog.KindAny:
		switch of := value.Any().(type) {
		case error:
			if text := of.Error(); Text(text) != text {
				attr.Value = slog.StringValue(Text(text))
			}
		case []string:
			texts := make([]string, len(of))
			for i, text := range of {
				texts[i] = Text(text)
			}
			attr.Value = slog.AnyValue(texts)
		}
	}
	return attr
}
