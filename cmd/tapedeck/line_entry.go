package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"tapedeck/internal/wording"
)

// entry is a record of the log: what happened, and its values by name.
type entry struct {
	at      time.Time
	level   slog.Level
	message string
	values  []slog.Attr
}

// parseEntry decodes a line of JSON that another tapedeck logged.
func parseEntry(text string) (entry, bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var fields map[string]any
	if decoder.Decode(&fields) != nil {
		return entry{}, false
	}
	var e entry
	word, _ := fields[slog.LevelKey].(string)
	if e.level.UnmarshalText([]byte(word)) != nil {
		return entry{}, false
	}
	e.message, _ = fields[slog.MessageKey].(string)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if key == slog.TimeKey || key == slog.LevelKey || key == slog.MessageKey {
			continue
		}
		e.values = append(e.values, slog.Attr{Key: key, Value: loggedValue(fields[key])})
	}
	return e, e.message != ""
}

// loggedValue returns a value of a JSON log as what was logged.
func loggedValue(field any) slog.Value {
	switch field := field.(type) {
	case json.Number:
		if n, err := field.Int64(); err == nil {
			return slog.Int64Value(n)
		}
		return slog.StringValue(field.String())
	case []any:
		names := make([]string, len(field))
		for i, name := range field {
			names[i] = fmt.Sprint(name)
		}
		return slog.AnyValue(names)
	case map[string]any:
		text, _ := json.Marshal(field) // it was decoded from JSON
		return slog.AnyValue(json.RawMessage(text))
	}
	return slog.AnyValue(field)
}

// value returns the value of that name, or the zero Value.
func (e entry) value(key string) slog.Value {
	for _, attr := range slices.Backward(e.values) {
		if attr.Key == key {
			return attr.Value
		}
	}
	return slog.Value{}
}

// text returns a value as it is, or "" if there is none.
func (e entry) text(key string) string {
	value := e.value(key)
	if value.Kind() == slog.KindAny && value.Any() == nil {
		return ""
	}
	switch value := value.Any().(type) {
	case []string:
		return wording.List(value, 5)
	case json.RawMessage:
		return string(value)
	}
	return value.String()
}

// int returns a value that is a whole number, or 0.
func (e entry) int(key string) int64 {
	switch value := e.value(key); value.Kind() {
	case slog.KindInt64:
		return value.Int64()
	case slog.KindUint64:
		return int64(value.Uint64())
	}
	return 0
}

// count returns a number with its noun: "3 streams".
func (e entry) count(key, noun string) string { return wording.Count(e.int(key), noun) }

// length returns a number of milliseconds for people.
func (e entry) length(key string) string {
	return wording.Duration(time.Duration(e.int(key)) * time.Millisecond)
}

// clock returns a time for people, local and with its date if that is not the entry's.
func (e entry) clock(key string, zone *time.Location) string {
	return clockText(e.value(key), e.at, zone)
}

func clockText(value slog.Value, now time.Time, zone *time.Location) string {
	at := time.Time{}
	if value.Kind() == slog.KindTime {
		at = value.Time()
	} else if parsed, err := time.Parse(time.RFC3339Nano, value.String()); err == nil {
		at = parsed // of a child's JSON
	}
	if zone == nil {
		zone = time.UTC
	}
	at, now = at.In(zone), now.In(zone)
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

// error returns the error without what people need not read.
func (e entry) error() string { return shortError(e.text("error")) }

var (
	// requestText matches the request in an error of net/http. Its address is known, and the
	// streams in it fill a screen.
	requestText = regexp.MustCompile(`(Get|Post|Head) \\?"[^"]*": `)
	// dialText matches where a connection that failed was going to. A name that could not be
	// resolved stays.
	dialText = regexp.MustCompile(`(dial|read|write) (tcp|udp)[46]?(| [^ ]+): `)
	// libraryText matches the steps that the websocket library names.
	libraryText = regexp.MustCompile(`connect to the stream: |failed to (get reader|read frame header|read|WebSocket dial|send handshake request): `)
	callText    = regexp.MustCompile(`\b(connect|read|write): (connection|no route|network|broken)`)
	endText     = regexp.MustCompile(`^(unexpected )?EOF$`)
)

// shortError shortens the text of an error of the network to what went wrong.
func shortError(text string) string {
	for _, noise := range []*regexp.Regexp{requestText, libraryText, dialText} {
		text = noise.ReplaceAllString(text, "")
	}
	text = callText.ReplaceAllString(text, "$2")
	text = endText.ReplaceAllString(text, "the other end closed it")
	return strings.Replace(text, "i/o timeout", "no answer in time", 1)
}

// plainText describes an entry for which there is no wording: message: error (name value, …).
func (e entry) plainText(zone *time.Location) string {
	text := e.message
	if cause := e.error(); cause != "" {
		text += ": " + cause
	}
	var details []string
	for _, attr := range e.values {
		switch attr.Key {
		case "error", "run_id", "pid", "job", "url":
			continue
		}
		if value := plainValue(attr, e.at, zone); value != "" {
			details = append(details, value)
		}
	}
	if len(details) > 0 {
		text += " (" + strings.Join(details, ", ") + ")"
	}
	return text
}

// plainValue returns an attribute as a name and a value with its unit, or "" if it says nothing.
func plainValue(attr slog.Attr, now time.Time, zone *time.Location) string {
	one := entry{at: now, values: []slog.Attr{attr}}
	name, text := attr.Key, one.text(attr.Key)
	switch {
	case text == "" || name == "attempt" && text == "1":
		return ""
	case attr.Value.Kind() == slog.KindTime:
		text = clockText(attr.Value, now, zone)
	case attr.Value.Kind() == slog.KindDuration:
		text = wording.Duration(attr.Value.Duration())
	case attr.Value.Kind() != slog.KindInt64:
		if strings.ContainsRune(text, ' ') {
			text = fmt.Sprintf("%q", text)
		}
	case strings.HasSuffix(name, "_ms"):
		name, text = strings.TrimSuffix(name, "_ms"), one.length(attr.Key)
	case strings.HasSuffix(name, "_s"):
		name, text = strings.TrimSuffix(name, "_s"), wording.Duration(time.Duration(attr.Value.Int64())*time.Second)
	case name == "bytes" || strings.HasSuffix(name, "_bytes"):
		text = humanize.Bytes(uint64(max(attr.Value.Int64(), 0)))
	case name != "id" && !strings.HasSuffix(name, "_id"): // ids are names, not quantities
		text = wording.Comma(attr.Value.Int64())
	}
	return strings.ReplaceAll(name, "_", " ") + " " + text
}
