package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// exchange is the stand-in exchange, a process of its own.
type exchange struct {
	args         []string
	url          string
	introduction []string // lines for a person
	injected     []incident
	client       *http.Client
}

// startTimeout bounds how long the stand-in may take to make a day of history; it takes a fraction of a second.
const startTimeout = 30 * time.Second

// startExchange starts the stand-in on a free port; stop ends it and waits.
func (d *demo) startExchange(ctx context.Context) (e *exchange, stop func(), err error) {
	e = &exchange{args: []string{"exchange", "--simulate", "--seed", fmt.Sprint(d.opt.Seed)}, client: &http.Client{Timeout: 10 * time.Second}}
	command := d.command(ctx, append(e.args, "--listen", "127.0.0.1:0", "--log-level", "error")...)
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	var complaint bytes.Buffer
	command.Stderr = &complaint
	if err := command.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the stand-in exchange: %w", err)
	}
	ended := make(chan struct{})
	stop = func() {
		_ = command.Cancel() // it is gone already, or goes
		<-ended
	}
	said := make(chan error, 1)
	go func() {
		defer close(ended)
		said <- e.listen(stdout)
		_, _ = io.Copy(io.Discard, stdout)
		_ = command.Wait() // how it ends when it is told to does not matter
	}()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case err = <-said:
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = fmt.Errorf("it said nothing for %s", startTimeout)
	}
	if err == nil {
		err = e.get(ctx, "injected", &e.injected)
	}
	if err != nil {
		stop()
		if text := strings.TrimSpace(complaint.String()); text != "" {
			err = errors.New(text)
		}
		return nil, nil, fmt.Errorf("start the stand-in exchange: %w", err)
	}
	return e, stop, nil
}

// listen reads where it listens.
func (e *exchange) listen(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			return nil
		}
		if _, url, ok := strings.Cut(line, " at "); ok && e.url == "" {
			e.url = url
		}
		e.introduction = append(e.introduction, line)
	}
	return errors.Join(lines.Err(), errors.New("it ended"))
}

func (e *exchange) get(ctx context.Context, name string, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/_tapedeck/"+name, nil)
	if err != nil {
		return err
	}
	return e.ask(request, v)
}

// inject makes something go wrong and gives how many connections it met.
func (e *exchange) inject(ctx context.Context, fault url.Values) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+"/_tapedeck/fault?"+fault.Encode(), nil)
	if err != nil {
		return 0, err
	}
	var met struct {
		Connections int `json:"connections"`
	}
	err = e.ask(request, &met)
	return met.Connections, err
}

func (e *exchange) ask(request *http.Request, v any) error {
	response, err := e.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the stand-in exchange: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return fmt.Errorf("ask the stand-in exchange: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(response.Body).Decode(v); err != nil {
		return fmt.Errorf("ask the stand-in exchange: %w", err)
	}
	return nil
}

func (e *exchange) offences(ctx context.Context) (map[string]int64, error) {
	var out map[string]int64
	return out, e.get(ctx, "offences", &out)
}

// served is what the stand-in has done.
type served struct {
	Connections     int64 `json:"connections"`
	OpenConnections int64 `json:"open_connections"`
	Messages        int64 `json:"messages"`
}

func (e *exchange) served(ctx context.Context) (served, error) {
	var out served
	err := e.get(ctx, "served", &out)
	return out, err
}
