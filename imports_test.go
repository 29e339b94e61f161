// Package tapedeck_test holds what is true of the module as a whole.
package tapedeck_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "tapedeck/"

// kong is the command line's library; nothing but cmd knows it.
const kong = "github.com/alecthomas/kong"

// floor lists the packages of internal from the lowest to the highest: each may import only those before it.
var floor = []string{
	"recorded", "benchtest", "progress", "wording", "redact", "outbound", "strictyaml", "durable", "idset", "window", "symbol", "state", "tape", "binance", "ingest", "lake",
	"telegram", "workbook", "chart", "standin",
}

// mayImport is the direction of imports: cmd → jobs/* → analytics → internal/*. Everything may import sql, which
// imports nothing, except internal. Jobs never import each other.
func mayImport(from, to string) bool {
	level := func(path string) (layer string, room int) {
		first, rest, _ := strings.Cut(path, "/")
		if first == "internal" {
			name, _, _ := strings.Cut(rest, "/")
			return first, slices.Index(floor, name)
		}
		return first, 0
	}
	fromLayer, fromRoom := level(from)
	toLayer, toRoom := level(to)
	switch fromLayer {
	case "cmd":
		return slices.Contains([]string{"jobs", "analytics", "sql", "internal"}, toLayer)
	case "jobs":
		return slices.Contains([]string{"analytics", "sql", "internal"}, toLayer)
	case "analytics":
		return slices.Contains([]string{"sql", "internal"}, toLayer)
	case "internal":
		return toLayer == "internal" && fromRoom >= 0 && toRoom >= 0 && (toRoom < fromRoom || toRoom == fromRoom && sameRoom(from, to))
	}
	return false
}

// sameRoom reports whether two packages of internal share their first directory, as a package and its test data do.
func sameRoom(a, b string) bool {
	first := func(path string) string { return strings.Split(path, "/")[1] }
	return first(a) == first(b)
}

func TestImportsPointDown(t *testing.T) {
	// The go command remembers test results by the files that the test itself looked at.
	if err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	packages := 0
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; packages++ {
		var p struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if path == kong && !strings.HasPrefix(from, "cmd/") {
				t.Errorf("%s imports kong, which only cmd may", from)
			}
			to, ours := strings.CutPrefix(path, module)
			if ours && to != from && !mayImport(from, to) {
				t.Errorf("%s imports %s, but imports only point down: cmd, jobs, analytics, internal", from, to)
			}
		}
	}
	if packages < 5 {
		t.Errorf("only %d packages were looked at", packages)
	}
}

// Iceberg's library makes a program start a tenth of a second later, and DuckDB's makes it large. Each is in one
// program only.
func TestProgramsLinkOnlyWhatTheyNeed(t *testing.T) {
	for program, foreign := range map[string]string{
		"./cmd/tapedeck":      "github.com/apache/iceberg-go",
		"./cmd/tapedeck-lake": "github.com/duckdb/",
	} {
		output, err := exec.Command("go", "list", "-deps", program).Output()
		if err != nil {
			t.Fatal(err)
		}
		for path := range strings.FieldsSeq(string(output)) {
			if strings.HasPrefix(path, foreign) {
				t.Errorf("%s links %s", program, path)
			}
		}
	}
}

func TestMayImport(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/tapedeck", "jobs/stream", true},
		{"cmd/tapedeck", "internal/tape", true},
		{"jobs/stream", "internal/tape", true},
		{"jobs/stream", "internal/binance", true},
		{"jobs/stream", "jobs/backfill", false},
		{"jobs/stream", "cmd/tapedeck", false},
		{"analytics", "internal/tape", true},
		{"analytics", "sql", true},
		{"analytics", "jobs/detect", false},
		{"internal/binance", "internal/tape", true},
		{"internal/tape", "internal/binance", false},
		{"internal/tape", "analytics", false},
		{"internal/tape", "sql", false},
		{"internal/standin/exchange", "internal/standin/market", true},
		{"internal/standin/exchange", "internal/binance", true},
		{"internal/binance", "internal/standin/exchange", false},
		{"internal/unlisted", "internal/tape", false},
		{"internal/tape", "internal/unlisted", false},
		{"sql", "analytics", false},
	} {
		if got := mayImport(c.from, c.to); got != c.want {
			t.Errorf("may %s import %s: %v", c.from, c.to, got)
		}
	}
}

// TestOnlyDurableWritesFiles finds calls that create, write, sync, rename or lock files outside of
// internal/durable. The stand-ins write temporary files that nobody keeps, and are left out.
func TestOnlyDurableWritesFiles(t *testing.T) {
	writes := regexp.MustCompile(`\b(os\.(Rename|WriteFile|Create|CreateTemp|OpenFile|Link|Symlink)|syscall\.Flock|unix\.Flock)\(`)
	allowed := map[string]bool{
		"jobs/schedule/child_linux.go": true, // a setting of the kernel below /proc
		"jobs/importer/parquet.go":     true, // a link in a scratch directory
	}
	found := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for i, line := range strings.Split(string(text), "\n") {
			switch call := writes.FindString(line); {
			case call == "":
			case strings.HasPrefix(path, "internal/durable/"):
				found++
			case strings.HasPrefix(path, "internal/standin/"), strings.HasPrefix(path, "internal/binance/archivetest/"), allowed[path]:
			default:
				t.Errorf("%s:%d calls %s…), which only internal/durable may", path, i+1, call)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("found no call in internal/durable either: the pattern is wrong")
	}
}

// TestOnlyOutboundMakesClients finds HTTP clients and transports that are made outside of internal/outbound,
// and so may follow a redirect or quote an answer. The client of the stand-ins talks to a stand-in only.
func TestOnlyOutboundMakesClients(t *testing.T) {
	makes := regexp.MustCompile(`\bhttp\.(Client\{|Transport\{|DefaultClient|DefaultTransport|Get\(|Post\(|Head\(|PostForm\()`)
	found := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || path == "internal/standin/exchange/client.go" {
			return err
		}
		text, err := os.ReadFile(path)
		for i, line := range strings.Split(string(text), "\n") {
			switch call := makes.FindString(line); {
			case call == "":
			case strings.HasPrefix(path, "internal/outbound/"):
				found++
			case strings.Contains(line, "CloseIdleConnections()"): // it sends nothing
			default:
				t.Errorf("%s:%d has %s…, which only internal/outbound may", path, i+1, call)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("found nothing in internal/outbound either: the pattern is wrong")
	}
}
