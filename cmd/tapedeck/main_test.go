package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"tapedeck/internal/recorded"
	"tapedeck/jobs/exchange"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tapedeck": main})
}

// TestScripts runs the scripts testdata/script/<command>_<scenario>.txtar. The first line of each says
// what it proves.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			repository, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			env.Setenv("REPOSITORY", repository)
			env.Values[standinKey] = &standin{}
			env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector would have each of two hundred commands sleep for a second at its end
			recordings, err := recorded.Dir()
			env.Setenv("RECORDED", recordings)
			return err
		},
		Condition: condition,
		Cmds:      scriptCommands(),
	})
}

func TestScriptsSayWhatTheyProve(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		if len(first) < 20 || !strings.HasPrefix(first, "# ") {
			t.Errorf("%s: the first line does not say what it proves", path)
		}
	}
}

// A function of DuckDB that works for minutes cannot be interrupted.
func TestReaderIsAbandonedAfterASignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		began := time.Now()
		time.AfterFunc(time.Minute, cancel)
		err := abandonAfter(ctx, signalGrace, func() error { <-release; return nil })
		if took := time.Since(began); !errors.Is(err, context.Canceled) || took != time.Minute+signalGrace {
			t.Errorf("%v after %v", err, took)
		}
		close(release)

		ctx, cancel = context.WithCancel(t.Context())
		failed := errors.New("failed")
		err = abandonAfter(ctx, signalGrace, func() error { cancel(); time.Sleep(signalGrace / 2); return failed })
		if err != failed {
			t.Errorf("the command's own error is lost: %v", err)
		}
	})
}

// call runs a command line in this process.
func call(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(args, nil, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

// commands returns the commands, in the order of the help.
func commands(t *testing.T) []*kong.Node {
	t.Helper()
	parser, err := newParser(&app{stdout: os.Stdout, stderr: os.Stderr}, &cli{}, &settings{config: &config{}})
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model.Children
}

func TestHelp(t *testing.T) {
	pages := map[string][]string{"tapedeck": {"--help"}}
	for _, command := range commands(t) {
		pages[command.Name] = []string{command.Name, "--help"}
	}
	for name, args := range pages {
		status, page, stderr := call(args...)
		if status != exitDone || stderr != "" {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
		for number, line := range strings.Split(page, "\n") {
			if n := utf8.RuneCountInString(line); n > helpWidth {
				t.Errorf("%s --help, line %d has %d characters: %s", name, number+1, n, line)
			}
			if strings.TrimRight(line, " ") != line {
				t.Errorf("%s --help, line %d ends in a space", name, number+1)
			}
		}
		for _, part := range []string{"\nUsage: tapedeck", "\nExamples:\n  tapedeck", "\nExit status:\n", "\n  80  "} {
			if !strings.Contains(page, part) && !strings.Contains(page, strings.Replace(part, "Examples:\n  tapedeck", "Examples:\n  # ", 1)) {
				t.Errorf("%s --help lacks %q", name, part)
			}
		}
		golden := filepath.Join("testdata", "help", name+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), page); diff != "" {
			t.Errorf("%s --help differs from %s; -update rewrites it:\n%s", name, golden, diff)
		}
	}
	files, err := filepath.Glob("testdata/help/*.txt")
	if err != nil || len(files) != len(pages) {
		t.Errorf("%d golden files for %d pages", len(files), len(pages))
	}
}

// TestExamplesFit checks every command line in a help page against the real flags.
func TestExamplesFit(t *testing.T) {
	a := &app{}
	for _, command := range commands(t) {
		text := manualOf(command.Name)
		if text.about == "" || text.examples[0] == "" || text.exits[0] == "" {
			t.Errorf("%s: its manual is incomplete", command.Name)
		}
		for _, example := range text.examples {
			line, _, _ := strings.Cut(example, "  # ")
			line, _, _ = strings.Cut(line, " > ")
			line, _, _ = strings.Cut(line, " < ")
			for line := range strings.SplitSeq(line, " | ") {
				args := strings.Fields(strings.ReplaceAll(line, "'", ""))[1:]
				if i := strings.Index(line, `"`); i > 0 {
					args = append(strings.Fields(line[:i])[1:], strings.Trim(line[i:], `"`))
				}
				if _, _, err := a.validateCommand(args); err != nil && !strings.Contains(err.Error(), "runs until it is stopped") {
					t.Errorf("%s: example %q: %v", command.Name, example, err)
				}
			}
		}
	}
}

func TestHelpExplainsEveryFault(t *testing.T) {
	about := manualOf("exchange").about
	for _, kind := range exchange.FaultKinds() {
		if !regexp.MustCompile(`\b` + kind + `\b`).MatchString(about) {
			t.Errorf("the help of exchange lacks the fault %s", kind)
		}
	}
}

func TestEveryFlagHasHelp(t *testing.T) {
	known := configKeys()
	onlyEnvironment := map[string]bool{"config": true, "now": true, "log_level": true}
	used := map[string]bool{"detectors": true, "lake": true, "sections": true, "telegram": true} // mappings
	for _, command := range commands(t) {
		for _, flag := range command.AllFlags(false) {
			for _, flag := range flag {
				if flag.Help == "" || !strings.HasSuffix(flag.Help, ".") {
					t.Errorf("%s --%s: help %q", command.Name, flag.Name, flag.Help)
				}
				if key := flag.Tag.Get("key"); key != "" {
					used[key] = true
					if !slices.Contains(known, key) && !onlyEnvironment[key] {
						t.Errorf("%s --%s has the key %q, which is not one of config.yaml", command.Name, flag.Name, key)
					}
				}
			}
		}
	}
	for _, key := range known {
		if !used[key] {
			t.Errorf("the key %q of config.yaml has no flag", key)
		}
	}
}
