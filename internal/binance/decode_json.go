package binance

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"tapedeck/internal/wording"
)

// decodeSlowly decodes what the scanner refuses. If both can decode a message, the results are
// equal.
func decodeSlowly(data []byte, m *Message) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return malformed(data, err)
	}
	if fields == nil {
		return malformed(data, errors.New("not an object"))
	}
	if name, ok := fields["stream"]; ok && fields["data"] != nil {
		stream, err := text(name)
		if err != nil {
			return malformed(data, fmt.Errorf("stream: %w", err))
		}
		inner := fields["data"]
		fields = nil
		if err := json.Unmarshal(inner, &fields); err != nil || fields == nil {
			// An array of events (!ticker@arr) is another stream, not damage.
			*m = Message{Stream: stream}
			return nil
		}
		m.Stream = stream
	}

	if _, ok := fields["e"]; !ok {
		return decodeAnswer(data, fields, m)
	}
	event, err := text(fields["e"])
	if err != nil {
		return malformed(data, fmt.Errorf("e: %w", err))
	}
	read := fieldReader{fields: fields}
	switch string(event) {
	case "trade":
		m.Kind = KindTrade
		m.ID = read.int("t")
		m.FirstTradeID, m.LastTradeID = m.ID, m.ID
	case "aggTrade":
		m.Kind = KindAggTrade
		m.ID = read.int("a")
		m.FirstTradeID, m.LastTradeID = read.int("f"), read.int("l")
	case "serverShutdown":
		m.Kind = KindServerShutdown
		if at, err := strconv.ParseInt(string(fields["E"]), 10, 64); err == nil {
			m.EventTime, _ = toMicros(max(at, 0))
		}
		return nil
	default:
		return nil
	}
	m.Symbol, m.Price, m.Qty = read.text("s"), read.text("p"), read.text("q")
	m.Time, m.BuyerMaker = read.int("T"), read.bool("m")
	if _, ok := fields["E"]; ok {
		m.EventTime = read.int("E")
	}
	if _, ok := fields["M"]; ok {
		read.bool("M")
	}
	if read.err != nil {
		return malformed(data, read.err)
	}
	if !finish(m) {
		return malformed(data, errors.New("the symbol, price or quantity is empty, or a time is out of range"))
	}
	return nil
}

// decodeAnswer decodes an object without an event type. Besides {"result":…,"id":…} and
// {"code":…,"msg":…} the exchange sometimes sends {"error":{"code":…,"msg":…},"id":…}.
func decodeAnswer(data []byte, fields map[string]json.RawMessage, m *Message) error {
	if raw, ok := fields["id"]; ok {
		if id, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			m.RequestID, m.HasRequestID = id, true
		}
	}
	refusal := fields
	if raw, ok := fields["error"]; ok {
		refusal = nil
		if err := json.Unmarshal(raw, &refusal); err != nil {
			return malformed(data, fmt.Errorf("error: %w", err))
		}
	}
	_, hasCode := refusal["code"]
	_, hasText := refusal["msg"]
	if hasCode && hasText {
		read := fieldReader{fields: refusal}
		m.Kind, m.Code, m.Text = KindError, read.int("code"), read.text("msg")
		if read.err != nil {
			return malformed(data, fmt.Errorf("its error: %w", read.err))
		}
		return nil
	}
	if result, ok := fields["result"]; ok {
		m.Kind, m.Result = KindAnswer, result
		return nil
	}
	m.RequestID, m.HasRequestID = 0, false
	return nil
}

// fieldReader reads typed fields by exact name and keeps the first error.
type fieldReader struct {
	fields map[string]json.RawMessage
	err    error
}

func (r *fieldReader) fail(name string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, err)
	}
}

func (r *fieldReader) raw(name string) json.RawMessage {
	raw, ok := r.fields[name]
	if !ok {
		r.fail(name, errors.New("missing"))
	}
	return raw
}

// int returns an integer of at most 18 digits, like scanInt: no id is longer, and the number of ids between
// two of them never overflows.
func (r *fieldReader) int(name string) int64 {
	raw := r.raw(name)
	value, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || value < -maxInt || value > maxInt:
		r.fail(name, errors.New("more than 18 digits"))
	case err != nil:
		r.fail(name, errors.New("not an integer"))
	}
	return value
}

// maxInt is the largest integer that a message may have.
const maxInt = 999_999_999_999_999_999

func (r *fieldReader) text(name string) []byte {
	value, err := text(r.raw(name))
	if err != nil {
		r.fail(name, err)
	}
	return value
}

func (r *fieldReader) bool(name string) bool {
	switch raw := r.raw(name); string(raw) {
	case "true":
		return true
	case "false":
	default:
		r.fail(name, errors.New("not true or false"))
	}
	return false
}

// text unquotes a JSON string. null is an error.
func text(raw json.RawMessage) ([]byte, error) {
	if len(raw) == 0 || raw[0] != '"' {
		return nil, errors.New("not a string")
	}
	var value string
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, err
	}
	return []byte(value), nil
}

// malformed returns an error with the length of the message. Its content may be another server's.
func malformed(data []byte, err error) error {
	return fmt.Errorf("%w of %s: %w", ErrMalformed, wording.Count(len(data), "byte"), err)
}
