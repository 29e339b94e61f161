package main

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/lake"
	"tapedeck/internal/lake/request"
	"tapedeck/internal/tape"
)

// TestKilledShipmentsAndRestores kills both at random instants, and compares the lake, at the end and meanwhile, and
// the restored tape with the truth.
func TestKilledShipmentsAndRestores(t *testing.T) {
	s := startServer(t)
	const days, kills = 8, 25
	trades := history(days, "BTCUSDT", "ETHUSDT")
	dirs := []string{newTape(t, trades).Path(), newTape(t, trades).Path()} // of two recorders
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	// kill runs what is asked for until it is killed or done, and reports whether it was done.
	kill := func(asked request.Request, most time.Duration) bool {
		command, _, stderr := s.command(t, asked)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(rnd.Int64N(int64(most))), func() { command.Process.Kill() })
		err := command.Wait()
		if timer.Stop() && err != nil {
			t.Fatalf("not killed: %v\n%s", err, stderr)
		}
		return err == nil
	}
	killed := 0
	for i := 0; killed < kills; i++ {
		if kill(request.Request{Command: request.Ship, DataDir: dirs[i%2], Now: after}, time.Second) {
			break
		}
		killed++
		// What a reader sees is each id once, although coverage may follow.
		if i%5 == 0 {
			s.neverDoubled(t)
		}
	}
	t.Logf("killed %d shipments", killed)
	for _, dir := range dirs {
		s.must(t, request.Request{Command: request.Ship, DataDir: dir, Now: after})
	}
	contains(t, s.must(t, request.Request{Command: request.Verify}), "Proven: 60,480 trades of 14 symbol-days on 7 days")

	to := filepath.Join(t.TempDir(), "restored")
	restore := request.Request{Command: request.Restore, DataDir: to, Now: after}
	for killed = 0; killed < kills; killed++ {
		if kill(restore, 500*time.Millisecond) {
			break
		}
	}
	t.Logf("killed %d restores", killed)
	s.must(t, restore)
	restored, err := tape.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	original, err := tape.Open(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rowsOf(t, original, "2026-01-16", "2026-01-22"), rowsOf(t, restored, "", "")); diff != "" {
		t.Error(diff)
	}
	certificate, err := restored.Certify(t.Context(), after, true)
	if err != nil || !certificate.Complete() {
		t.Errorf("%+v (%v)", certificate, err)
	}

	// Nothing is left that no snapshot has.
	l := s.open(t)
	for _, name := range []tape.Table{tape.Trades, tape.Coverage} {
		if removed, err := l.Expire(t.Context(), name, 0); err != nil {
			t.Error(err)
		} else {
			t.Logf("%+v", removed)
		}
		if removed, err := l.Expire(t.Context(), name, 0); err != nil || removed.Files > 0 {
			t.Errorf("again: %+v (%v)", removed, err)
		}
	}
	contains(t, s.must(t, request.Request{Command: request.Verify}), "Proven: 60,480 trades of 14 symbol-days on 7 days")
}

// neverDoubled fails if the lake has an id twice.
func (s *server) neverDoubled(t *testing.T) {
	t.Helper()
	found, err := s.open(t).Read(t.Context(), tape.Trades)
	if err != nil {
		t.Fatal(err)
	}
	for date := range found.Days() {
		content, err := found.Content(t.Context(), date, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range content.Symbols() {
			if len(c.Doubled) > 0 || c.Rows != 4320 {
				t.Errorf("%s %s: %d rows, %v twice", date, name, c.Rows, c.Doubled)
			}
		}
	}
}

// TestLostAnswers lets the catalog commit and loses its answer.
func TestLostAnswers(t *testing.T) {
	s := startServer(t)
	dir := newTape(t, history(3, "BTCUSDT"))
	for name, answer := range map[string]func(http.ResponseWriter){
		"cut":                 func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"service unavailable": func(w http.ResponseWriter) { http.Error(w, "{}", http.StatusServiceUnavailable) },
		"error":               func(w http.ResponseWriter) { http.Error(w, "<html>", http.StatusInternalServerError) },
	} {
		t.Run(name, func(t *testing.T) {
			lost := 0
			proxy := httptest.NewServer(proxyTo(s.lake.Catalog, func(r *http.Request, w http.ResponseWriter) bool {
				commit := r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/tables/")
				if !commit || lost >= 3 {
					return false
				}
				lost++
				answer(w)
				return true
			}))
			defer proxy.Close()
			where := s.lake
			where.Catalog, where.Namespace = proxy.URL, strings.ReplaceAll(name, " ", "_")
			contains(t, s.must(t, request.Request{Command: request.Ship, DataDir: dir.Path(), Now: after, Lake: where}), "shipped 2 days (8,640 trades")
			if lost != 3 {
				t.Errorf("%d answers were lost", lost)
			}
			contains(t, s.must(t, request.Request{Command: request.Verify, Lake: where}), "Proven: 8,640 trades of 2 symbol-days on 2 days")
		})
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	s := startServer(t)
	dir := newTape(t, history(3, "BTCUSDT"))
	s.must(t, request.Request{Command: request.Ship, DataDir: dir.Path(), Now: after})
	other, err := tape.Create(filepath.Join(t.TempDir(), "data"), tape.RawTrade, day0)
	if err != nil {
		t.Fatal(err)
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer page.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, c := range map[string]struct {
		change func(*server, *request.Request)
		want   string
	}{
		"wrong secret of the catalog": {func(s *server, _ *request.Request) {
			s.env = append(s.env, request.CredentialVariable+"="+accessKey+":wrong")
		}, "tapedeck: the catalog at " + s.lake.Catalog + " does not accept these credentials\nhint: "},
		"wrong secret of the object storage": {func(s *server, r *request.Request) {
			s.env = append(s.env, "AWS_SECRET_ACCESS_KEY=wrong")
			r.DataDir = newTape(t, history(4, "BTCUSDT", "ETHUSDT")).Path()
		}, "tapedeck: ship 2026-01-16: object storage does not accept these credentials (SignatureDoesNotMatch)\nhint: "},
		"no catalog": {func(_ *server, r *request.Request) { r.Lake.Catalog = page.URL },
			"tapedeck: there is no Iceberg REST catalog at " + page.URL + "\nhint: "},
		"connection refused": {func(_ *server, r *request.Request) { r.Lake.Catalog = closed.URL },
			"tapedeck: the catalog at " + closed.URL + " does not answer: "},
		"another feed": {func(_ *server, r *request.Request) { r.DataDir = other.Path() },
			"tapedeck: the table tapedeck.trades holds the feed aggTrade, and the tape has the feed trade; name another namespace\n"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := &server{s.lake, append([]string(nil), s.env...)}
			asked := request.Request{Command: request.Ship, DataDir: dir.Path(), Now: after, Lake: s.lake}
			c.change(changed, &asked)
			status, _, stderr := changed.ask(t, asked)
			if status != exitFailed || !strings.Contains(stderr, c.want) {
				t.Errorf("exit %d\n%s\nwant %s", status, stderr, c.want)
			}
			if strings.Contains(stderr, secretKey) {
				t.Error("the secret is shown")
			}
		})
	}
	contains(t, s.must(t, request.Request{Command: request.Verify}), "Proven: 8,640 trades")
}

// TestVerifyFindsWhatOthersChanged changes the tables as another program could.
func TestVerifyFindsWhatOthersChanged(t *testing.T) {
	s := startServer(t)
	trades := history(3, "BTCUSDT", "ETHUSDT")
	s.must(t, request.Request{Command: request.Ship, DataDir: newTape(t, trades).Path(), Now: after})
	l := s.open(t)
	// Rows of 2026-01-17 that were not there, of which one has an id that was.
	var wrong []tape.Trade
	for _, row := range trades {
		if tape.DateOf(row.TradedAt) == "2026-01-17" && row.Symbol == "ETHUSDT" {
			wrong = append(wrong, row)
			break
		}
	}
	extra := newTape(t, wrong)
	segments, _, err := extra.OpenTrades("2026-01-17")
	if err != nil {
		t.Fatal(err)
	}
	defer tape.CloseSegments(segments)
	_, err = l.Commit(t.Context(), lake.Change{
		Table: tape.Trades, Date: "2026-01-17", Certificate: lake.Certificate{Hash: "x"}, Adds: true,
		Files: []lake.Upload{uploadOf(t, segments[0])},
	}, func(*lake.Table) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	status, stdout, _ := s.ask(t, request.Request{Command: request.Verify})
	if status != exitPartial {
		t.Errorf("exit %d", status)
	}
	id, _ := json.Marshal(wrong[0].ID)
	contains(t, stdout, "2026-01-17 ETHUSDT: 1 id more than once: "+string(id)+"\n", "Not proven: 1 finding on 2 days.\n")
}
