package exchange

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// clientTimeout bounds one request of a Client.
const clientTimeout = 10 * time.Second

// Client controls a Server of another process.
type Client struct {
	// URL is the server's, as http://host:port.
	URL string
}

// Offences returns what Server.Offences does.
func (c Client) Offences(ctx context.Context) (offences map[Offence]int64, err error) {
	return offences, c.do(ctx, http.MethodGet, "offences", &offences)
}

// Served returns what Server.Served does.
func (c Client) Served(ctx context.Context) (served Served, err error) {
	return served, c.do(ctx, http.MethodGet, "served", &served)
}

// Injected decodes Options.Injected into v.
func (c Client) Injected(ctx context.Context, v any) error {
	return c.do(ctx, http.MethodGet, "injected", v)
}

// Inject does what Server.Inject does.
func (c Client) Inject(ctx context.Context, f Fault) (connections int, err error) {
	query := url.Values{"kind": {string(f.Kind)}, "match": {f.Match}}
	for name, n := range map[string]int{"count": f.Count, "code": f.Code, "times": f.Times} {
		query.Set(name, strconv.Itoa(n))
	}
	for name, d := range map[string]time.Duration{"retry_after": f.RetryAfter, "for": f.For} {
		query.Set(name, d.String())
	}
	var reply struct {
		Connections int `json:"connections"`
	}
	err = c.do(ctx, http.MethodPost, "fault?"+query.Encode(), &reply)
	return reply.Connections, err
}

func (c Client) do(ctx context.Context, method, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.URL+"/_tapedeck/"+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("query the stand-in exchange: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return fmt.Errorf("query the stand-in exchange: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(response.Body).Decode(v); err != nil {
		return fmt.Errorf("query the stand-in exchange: %w", err)
	}
	return nil
}
