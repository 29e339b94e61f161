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
)

// recording gives a demo whose stream is a shell script, and whose stand-in tells of ten more messages each time it is asked and of a new connection a while
// after it was cut.
func recording(t *testing.T, script string) (d *demo, said string) {
	binary := filepath.Join(t.TempDir(), "tapedeck")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var asked, cut atomic.Int64
	stand := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
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
	file, err := os.Create(filepath.Join(t.TempDir(), "said")) // a file, as the stream's own output is one too
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	d = &demo{opt: Options{Binary: binary, Dir: t.TempDir(), Live: 500 * time.Millisecond, Now: time.Now, Stdout: file, Stderr: io.Discard}}
	d.exchange = &exchange{url: stand.URL, client: stand.Client()}
	return d, file.Name()
}

func TestRecord(t *testing.T) {
	for name, tc := range map[string]struct{ script, want string }{
		"ends when it is told":    {`trap 'exit 0' TERM; while :; do sleep 0.05; done`, ""},
		"ends of itself":          {`exit 0`, "the stream ended of itself"},
		"fails":                   {`echo "tapedeck: no room" >&2; exit 4`, "stream --flush-interval 2s --log-level error: exit status 4"},
		"fails when it is to end": {`trap 'exit 5' TERM; while :; do sleep 0.05; done`, "exit status 5"},
	} {
		t.Run(name, func(t *testing.T) {
			d, said := recording(t, tc.script)
			err := d.record(t.Context())
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v instead of %q", err, tc.want)
			}
			text, readErr := os.ReadFile(said)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if tc.want == "" && !strings.Contains(string(text), "connected again") {
				t.Errorf("it was not cut off: %s", text)
			}
		})
	}
}
