package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go/catalog/rest"

	"tapedeck/internal/lake"
	"tapedeck/internal/lake/request"
	"tapedeck/internal/tape"
	"tapedeck/jobs/compact"
)

// componentsVariable names the directory in which scripts/lake installed the servers. Without it the tests against
// them are skipped; with it, what is missing fails.
const componentsVariable = "TAPEDECK_LAKE_COMPONENTS"

// The keys of the object storage and the catalog.
const accessKey, secretKey = "tapedeck", "tapedeck-secret"

// server is an object storage with an Iceberg REST catalog: SeaweedFS.
type server struct {
	lake request.Lake
	env  []string
}

func component(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv(componentsVariable)
	if dir == "" {
		t.Skip("needs servers: make lake-test")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// freePort returns a port of this machine that is free, as is the one 10,000 above it, which SeaweedFS uses too.
func freePort(t *testing.T, taken map[int]bool) int {
	t.Helper()
	for port := 20000 + os.Getpid()%5000; port < 30000; port++ {
		free := true
		for _, p := range []int{port, port + 10000} {
			listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if err != nil {
				free = false
				continue
			}
			listener.Close()
		}
		if free && !taken[port] {
			taken[port] = true
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// start starts a program that ends with the test, and waits until an address answers.
func start(t *testing.T, address string, env []string, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr, command.Dir = log, log, t.TempDir()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { command.Wait(); close(exited) }()
	t.Cleanup(func() {
		command.Process.Kill()
		<-exited
		log.Close()
	})
	for range 600 {
		response, err := http.Get(address)
		if err == nil {
			response.Body.Close()
			return
		}
		select {
		case <-exited:
		case <-time.After(100 * time.Millisecond):
			continue
		}
		break
	}
	text, _ := os.ReadFile(log.Name())
	t.Fatalf("%s does not answer:\n%s", program, text)
}

// startServer starts SeaweedFS with a bucket for tables.
func startServer(t *testing.T) *server {
	t.Helper()
	weed, taken := component(t, "weed"), map[int]bool{}
	port := func() int { return freePort(t, taken) }
	s3, catalog := port(), port()
	env := []string{"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey}
	start(t, fmt.Sprintf("http://127.0.0.1:%d/v1/config", catalog), env, weed, "mini", "-dir="+t.TempDir(), "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
		fmt.Sprintf("-s3.port=%d", s3), fmt.Sprintf("-s3.port.iceberg=%d", catalog), "-s3.port.lance=0",
		fmt.Sprintf("-master.port=%d", port()), fmt.Sprintf("-filer.port=%d", port()), fmt.Sprintf("-volume.port=%d", port()),
		fmt.Sprintf("-admin.port=%d", port()), "-webdav=false", "-master.telemetry=false", "-tableBucket=lake")
	s := &server{
		lake: request.Lake{
			Catalog: fmt.Sprintf("http://127.0.0.1:%d", catalog), Warehouse: "s3://lake", Endpoint: fmt.Sprintf("http://127.0.0.1:%d", s3),
		},
		env: append(env, request.CredentialVariable+"="+accessKey+":"+secretKey, "AWS_EC2_METADATA_DISABLED=true"),
	}
	s.awaitBucket(t)
	return s
}

// awaitBucket waits until the bucket for tables exists, which is created after the catalog answers.
func (s *server) awaitBucket(t *testing.T) {
	t.Helper()
	catalog, err := rest.NewCatalog(t.Context(), "test", s.lake.Catalog, rest.WithWarehouseLocation(s.lake.Warehouse),
		rest.WithCredential(accessKey+":"+secretKey))
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if err = catalog.CreateNamespace(t.Context(), []string{"ready"}, nil); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal(err)
}

// programVariable makes the test's binary the program tapedeck-lake.
const programVariable = "TAPEDECK_LAKE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command returns a process that does what is asked for.
func (s *server) command(t *testing.T, asked request.Request) (command *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	if asked.Lake == (request.Lake{}) {
		asked.Lake = s.lake
	}
	text, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	command = exec.Command(os.Args[0], string(text))
	command.Env = append(append(os.Environ(), s.env...), programVariable+"=1")
	command.Stdout, command.Stderr = stdout, stderr
	return command, stdout, stderr
}

// ask runs a request in a process and returns the exit status and both outputs.
func (s *server) ask(t *testing.T, asked request.Request) (status int, stdout, stderr string) {
	t.Helper()
	command, out, problems := s.command(t, asked)
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	status = command.ProcessState.ExitCode()
	t.Logf("%s: exit %d\n%s%s", asked.Command, status, out, problems)
	return status, out.String(), problems.String()
}

// must is ask for a request that succeeds.
func (s *server) must(t *testing.T, asked request.Request) string {
	t.Helper()
	status, stdout, stderr := s.ask(t, asked)
	if status != exitDone {
		t.Fatalf("%s: exit %d\n%s%s", asked.Command, status, stdout, stderr)
	}
	return stdout + stderr
}

// open connects to the lake.
func (s *server) open(t *testing.T) *lake.Lake {
	t.Helper()
	for _, line := range s.env {
		key, value, _ := strings.Cut(line, "=")
		t.Setenv(key, value)
	}
	l, err := lake.Open(t.Context(), lake.Config(s.lake), lake.Secrets{Credential: accessKey + ":" + secretKey}, "")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var day0 = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)

// after is long after the days of the tests.
var after = day0.AddDate(0, 0, 30)

// history returns the trades of a market: a trade of each symbol every 20 seconds from noon of day0, over days.
func history(days int, symbols ...string) (out []tape.Trade) {
	for n, name := range symbols {
		for i := range days * 24 * 180 {
			id := int64(1000*(n+1) + i)
			out = append(out, tape.Trade{
				Symbol: name, ID: id, Price: 100 + float64(id%7)/100, Qty: float64(id%11+1) / 1000, FirstTradeID: 2 * id, LastTradeID: 2*id + 1,
				TradedAt:     day0.Add(12*time.Hour + time.Duration(i)*20*time.Second + time.Duration(n)*time.Millisecond).UnixMicro(),
				IsBuyerMaker: id%2 == 0,
			})
		}
	}
	return out
}

// newTape returns a tape with trades, compacted.
func newTape(t *testing.T, trades []tape.Trade) *tape.Dir {
	t.Helper()
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), tape.AggTrade, day0)
	if err != nil {
		t.Fatal(err)
	}
	add(t, dir, trades)
	return dir
}

// add publishes trades in several segments and compacts.
func add(t *testing.T, dir *tape.Dir, trades []tape.Trade) {
	t.Helper()
	for part := range slices.Chunk(slices.Clone(trades), 3000) {
		if _, err := dir.Publish(context.Background(), part, tape.Origin{Source: tape.FromStream}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := compact.Run(context.Background(), dir, compact.Options{Now: after, Clock: after, Force: true}); err != nil {
		t.Fatal(err)
	}
}

// rowsOf returns all trades on a tape between two dates, sorted.
func rowsOf(t *testing.T, dir *tape.Dir, from, to string) (out []tape.Trade) {
	t.Helper()
	segments, broken, err := dir.Segments(tape.Trades, from, to)
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	for _, s := range segments {
		rows, err := dir.ReadTrades(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rows...)
	}
	slices.SortFunc(out, func(a, b tape.Trade) int {
		if c := strings.Compare(a.Symbol, b.Symbol); c != 0 {
			return c
		}
		return int(a.ID - b.ID)
	})
	return out
}

// proxyTo returns a handler that passes requests on. For each that was answered, answer may give another answer and
// return true.
func proxyTo(target string, answer func(*http.Request, http.ResponseWriter) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), r.Method, target+r.URL.RequestURI(), r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		request.Header, request.ContentLength = r.Header.Clone(), r.ContentLength
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || answer(r, w) {
			return
		}
		for key, values := range response.Header {
			w.Header()[key] = values
		}
		w.WriteHeader(response.StatusCode)
		_, _ = w.Write(body)
	})
}

// uploadOf returns a segment as it is uploaded.
func uploadOf(t *testing.T, s tape.OpenSegment) lake.Upload {
	t.Helper()
	content, err := io.ReadAll(io.NewSectionReader(s.File, 0, s.Bytes))
	if err != nil {
		t.Fatal(err)
	}
	return lake.Upload{Name: filepath.Base(s.Path), File: s.File, Size: s.Bytes, Sum: sha256.Sum256(content)}
}
