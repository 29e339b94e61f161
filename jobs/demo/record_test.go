package demo

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
)

// newScriptedDemo returns a demo whose stream is a shell script, and the path of its output. Its
// stand-in reports ten times as many messages with each request, and a new connection some requests
// after the cut.
func newScriptedDemo(t *testing.T, script string) (d *demo, output string) {
	binary := filepath.Join(t.TempDir(), "tapedeck")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var requests, cut atomic.Int64
	stand := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		switch {
		case r.URL.Query().Get("kind") == "cut":
			cut.Store(n)
			_, _ = w.Write([]byte(`{"connections": 1}`))
		case r.Method == http.MethodPost:
			_, _ = w.Write([]byte(`{}`))
		case cut.Load() > 0 && n > cut.Load()+2:
			_, _ = w.Write([]byte(`{"connections": 2, "messages": 1000}`))
		default:
			_, _ = w.Write([]byte(`{"connections": 1, "messages": ` + strings.Repeat("1", int(min(n, 9))) + `}`))
		}
	}))
	t.Cleanup(stand.Close)
	file, err := os.Create(filepath.Join(t.TempDir(), "output")) // a file, like the output of a real stream
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	d = &demo{opt: Options{Binary: binary, Dir: t.TempDir(), Live: 500 * time.Millisecond, Now: time.Now, Stdout: file, Stderr: io.Discard}}
	d.exchange = exchange.Client{URL: stand.URL}
	return d, file.Name()
}

func TestRecord(t *testing.T) {
	for name, tc := range map[string]struct{ script, want string }{
		"ends when stopped":  {`trap 'exit 0' TERM; while :; do sleep 0.05; done`, ""},
		"ends unexpectedly":  {`exit 0`, "the stream ended unexpectedly"},
		"fails":              {`echo "tapedeck: no room" >&2; exit 4`, "stream --flush-interval 2s --log-level error: exit status 4"},
		"fails when stopped": {`trap 'exit 5' TERM; while :; do sleep 0.05; done`, "exit status 5"},
	} {
		t.Run(name, func(t *testing.T) {
			d, output := newScriptedDemo(t, tc.script)
			err := d.record(t.Context())
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			text, readErr := os.ReadFile(output)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if tc.want == "" && !strings.Contains(string(text), "reconnected") {
				t.Errorf("the connection was not cut: %s", text)
			}
		})
	}
}
