package exchange

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// The requests of a websocket client and their answers: "Live Subscribing/Unsubscribing to streams" in
// binance-spot-api-docs/web-socket-streams.md.

type request struct {
	Method *string         `json:"method"`
	Params json.RawMessage `json:"params"`
	ID     json.RawMessage `json:"id"`
}

func invalid(format string, args ...any) *failure {
	return &failure{2, "Invalid request: " + fmt.Sprintf(format, args...)}
}

const variants = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"

// tooManyStreams ends the connection instead of being answered.
var tooManyStreams = &failure{message: "Too many streams"}

var textID = regexp.MustCompile(`^"[A-Za-z0-9_-]{1,36}"$`)

// answer executes a request and queues its answer. It returns an error if the connection must end.
func (c *conn) answer(message []byte) error {
	result, id, refused := c.do(message)
	if refused == tooManyStreams {
		return c.closeForOffence(TooManyStreams, refused.message)
	}
	if c.silent.Load() || c.closeSent.Load() {
		return nil
	}
	reply := append([]byte(`{"result":`), result...)
	if refused != nil {
		c.server.counters.offence(BadRequest)
		reply = refused.append(nil)
	}
	if id != nil {
		reply = append(append(reply, `,"id":`...), id...)
	}
	c.out.append(appendFrame(nil, append(reply, '}')))
	c.out.flush()
	return nil
}

func (c *conn) do(message []byte) (result, id []byte, refused *failure) {
	var q request
	if err := json.Unmarshal(message, &q); err != nil {
		if syntax, ok := err.(*json.SyntaxError); ok {
			return nil, nil, &failure{3, fmt.Sprintf("Invalid JSON: expected value at line %d column %d", 1+bytes.Count(message, []byte("\n")), syntax.Offset)}
		}
		return nil, nil, invalid("unknown format")
	}
	if !validID(q.ID) {
		return nil, nil, invalid("request ID must be an unsigned integer")
	}
	id = q.ID
	if q.Method == nil {
		return nil, id, invalid("missing field `method` at line 1 column %d", len(message))
	}
	switch *q.Method {
	case "SUBSCRIBE", "UNSUBSCRIBE":
		var names []string
		if err := json.Unmarshal(q.Params, &names); err != nil || len(names) == 0 {
			return nil, id, invalid("params must be an array of stream names")
		}
		for _, name := range names {
			if !isStreamName(name) {
				return nil, id, invalid("invalid stream")
			}
		}
		if *q.Method == "UNSUBSCRIBE" {
			c.server.hub.unsubscribe(c, names)
		} else if c.server.hub.subscribe(c, names, c.server.opt.MaxStreams) != nil {
			return nil, id, tooManyStreams
		}
		return []byte("null"), id, nil
	case "LIST_SUBSCRIPTIONS":
		if len(q.Params) > 0 && string(q.Params) != "null" && string(q.Params) != "[]" {
			return nil, id, invalid("too many parameters")
		}
		list := appendList(nil, c.server.hub.streamsOf(c), func(dst []byte, name *string) []byte { return appendString(dst, *name) })
		return list, id, nil
	case "SET_PROPERTY", "GET_PROPERTY":
		result, refused = c.property(*q.Method == "SET_PROPERTY", q.Params)
		return result, id, refused
	}
	return nil, id, invalid("unknown variant `%s`, expected one of %s at line 1 column %d", *q.Method, variants, bytes.Index(message, []byte(*q.Method))+len(*q.Method)+1)
}

func (c *conn) property(set bool, params json.RawMessage) ([]byte, *failure) {
	var args []json.RawMessage
	var name string
	if json.Unmarshal(params, &args) != nil || len(args) == 0 || json.Unmarshal(args[0], &name) != nil {
		return nil, invalid("property name must be a string")
	}
	if len(args) > 2 || len(args) == 2 && !set {
		return nil, invalid("too many parameters")
	}
	if name != "combined" {
		return nil, &failure{0, "Unknown property"}
	}
	c.server.hub.mu.Lock()
	defer c.server.hub.mu.Unlock()
	if !set {
		return strconv.AppendBool(nil, c.combined), nil
	}
	if len(args) < 2 || string(args[1]) != "true" && string(args[1]) != "false" {
		return nil, &failure{1, "Invalid value type: expected Boolean"}
	}
	c.combined = string(args[1]) == "true"
	return []byte("null"), nil
}

// validID reports whether an id is a 64-bit integer, up to 36 letters and digits, or null. It is
// required.
func validID(id json.RawMessage) bool {
	if string(id) == "null" || textID.Match(id) {
		return true
	}
	_, err := strconv.ParseInt(string(id), 10, 64)
	return err == nil
}

// shutdownEvent returns the frame that a server sends before it shuts down.
func shutdownEvent(now time.Time, combined, micro bool) []byte {
	payload := append(appendTime([]byte(`{"e":"serverShutdown","E":`), now.UnixMicro(), micro), '}')
	return appendFrame(nil, appendCombinedIf(combined, "!serverShutdown", payload))
}
