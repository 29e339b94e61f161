package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coder/websocket"
)

// RequestError is the exchange's refusal of a request on an open connection.
type RequestError struct {
	Method string
	Code   int64
	Text   string
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("%s refused: code %d, %q", e.Method, e.Code, excerpt([]byte(e.Text)))
}

type reply struct {
	result []byte
	err    error
}

// Subscribe subscribes to streams and returns when the exchange has confirmed all of them. Long
// lists are sent as several spaced frames. Another goroutine must be in Read.
func (c *Conn) Subscribe(ctx context.Context, streams []string) error {
	return c.change(ctx, "SUBSCRIBE", streams)
}

// Unsubscribe ends subscriptions, as Subscribe starts them.
func (c *Conn) Unsubscribe(ctx context.Context, streams []string) error {
	return c.change(ctx, "UNSUBSCRIBE", streams)
}

func (c *Conn) change(ctx context.Context, method string, streams []string) error {
	for len(streams) > 0 {
		n, size := 0, len(`{"method":"UNSUBSCRIBE","params":[],"id":}`)+20
		for n < len(streams) {
			quoted, err := json.Marshal(streams[n])
			if err != nil {
				return fmt.Errorf("stream name %q: %w", streams[n], err)
			}
			if size += len(quoted) + 1; size > maxFrame && n > 0 {
				break
			}
			n++
		}
		if _, err := c.request(ctx, method, streams[:n]); err != nil {
			return err
		}
		streams = streams[n:]
	}
	return nil
}

// Subscriptions returns the streams of this connection. Another goroutine must be in Read.
func (c *Conn) Subscriptions(ctx context.Context) ([]string, error) {
	result, err := c.request(ctx, "LIST_SUBSCRIPTIONS", nil)
	if err != nil {
		return nil, err
	}
	var streams []string
	if err := json.Unmarshal(result, &streams); err != nil {
		return nil, fmt.Errorf("LIST_SUBSCRIPTIONS: %w", err)
	}
	return streams, nil
}

// errUnanswered means that the connection ended before the response to a request.
var errUnanswered = errors.New("the connection ended before the response")

// request sends one request, as soon as the pace allows, and waits for the response.
func (c *Conn) request(ctx context.Context, method string, params []string) ([]byte, error) {
	if err := c.pace.Wait(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.lastID++
	id := c.lastID
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()

	frame, err := json.Marshal(struct {
		Method string   `json:"method"`
		Params []string `json:"params,omitempty"`
		ID     int64    `json:"id"`
	}{method, params, id})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	if err := c.ws.Write(ctx, websocket.MessageText, frame); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	select {
	case got := <-answer:
		var refusal *RequestError
		if errors.As(got.err, &refusal) {
			refusal.Method = method
		}
		return got.result, got.err
	case <-c.ended:
		return nil, fmt.Errorf("%s: %w", method, errUnanswered)
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: not answered: %w", method, ctx.Err())
	}
}

// deliver passes a response to its request. An error without an id belongs to the waiting request,
// because the exchange cannot name the id of a frame that it could not read.
func (c *Conn) deliver(m *Message) {
	got := reply{result: append([]byte(nil), m.Result...)}
	if m.Kind == KindError {
		got.err = &RequestError{Code: m.Code, Text: string(m.Text)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, answer := range c.waiting {
		if m.HasRequestID && m.RequestID == id || !m.HasRequestID && m.Kind == KindError {
			answer <- got
			delete(c.waiting, id)
		}
	}
}
