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
	"slices"
	"strings"
	"testing"
)

const module = "tapedeck/"

// kong is the command line's library; nothing but cmd knows it.
const kong = "github.com/alecthomas/kong"

// mayImport is the direction of imports: cmd → jobs/* → analytics → {analytics/tape, sql}. jobs/internal and
// internal know none of those. Jobs do not know one another.
func mayImport(from, to string) bool {
	layer := func(path string) string {
		switch {
		case strings.HasPrefix(path, "cmd/"):
			return "cmd"
		case strings.HasPrefix(path, "jobs/internal/"):
			return "jobs/internal"
		case strings.HasPrefix(path, "jobs/"):
			return "jobs"
		case strings.HasPrefix(path, "internal/"):
			return "internal"
		}
		return path
	}
	allowed := map[string][]string{
		"cmd":           {"jobs", "analytics", "analytics/tape", "sql", "internal"},
		"jobs":          {"jobs/internal", "analytics", "analytics/tape", "sql", "internal"},
		"analytics":     {"analytics/tape", "sql"},
		"jobs/internal": {"internal"},
		"internal":      {},
		"sql":           {},
	}
	return slices.Contains(allowed[layer(from)], layer(to))
}

func TestImportsGoOneWay(t *testing.T) {
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
				t.Errorf("%s imports %s, against the one way of imports", from, to)
			}
		}
	}
	if packages < 5 {
		t.Errorf("only %d packages were looked at", packages)
	}
}

func TestMayImport(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/tapedeck", "jobs/stream", true},
		{"cmd/tapedeck", "analytics/tape", true},
		{"cmd/tapedeck", "jobs/internal/binance", false},
		{"jobs/stream", "analytics/tape", true},
		{"jobs/stream", "jobs/internal/binance", true},
		{"jobs/stream", "jobs/backfill", false},
		{"jobs/stream", "cmd/tapedeck", false},
		{"jobs/internal/binance", "jobs/internal/market", false},
		{"jobs/internal/binance", "analytics/tape", false},
		{"analytics", "analytics/tape", true},
		{"analytics", "jobs/detect", false},
		{"analytics/tape", "analytics", false},
		{"analytics/tape", "sql", false},
		{"sql", "analytics", false},
		{"internal/strictyaml", "analytics", false},
	} {
		if got := mayImport(c.from, c.to); got != c.want {
			t.Errorf("may %s import %s: %v", c.from, c.to, got)
		}
	}
}
