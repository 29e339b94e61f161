package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tapedeck/internal/recorded"

	"github.com/rogpeppe/go-internal/testscript"
)

// condition implements the conditions [recorded] and [root].
func condition(name string) (bool, error) {
	switch name {
	case "recorded":
		dir, err := recorded.Dir()
		return dir != "", err
	case "root":
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// waitTimeout is how long waitfor waits: far longer than necessary even on a busy machine.
const waitTimeout = 3 * time.Minute

// scriptCommands returns the commands of scripts in addition to testscript's own.
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits":     exits,
		"exchange":  startExchange,
		"waitfor":   waitFor,
		"removeone": removeOne,
		"remember":  remember,
		"same":      same,
		"sigterm":   sigterm,
		"sighup":    sighup,
		"sigkill":   sigkill,
	}
}

// exits runs a command that must have the given exit status: exits 3 exec tapedeck verify.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "exec" {
		ts.Fatalf("usage: exits status exec command…")
	}
	got := "0"
	if err := ts.Exec(args[2], args[3:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = strconv.Itoa(exit.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("%q exited with status %s, want %s", args[2:], got, args[0])
	}
}

// standin is a script's stand-in exchange.
type standin struct {
	command *exec.Cmd
	stderr  bytes.Buffer
}

// standinKey is the key of a script's *standin.
const standinKey = "exchange"

// stop ends the exchange, if one runs. It fails if clients broke rules.
func (s *standin) stop() error {
	if s.command == nil {
		return nil
	}
	_ = s.command.Process.Signal(syscall.SIGTERM)
	err := s.command.Wait()
	s.command = nil
	if err != nil { // status 3: it lists the rules that clients broke
		return fmt.Errorf("the exchange exited with %v:\n%s", err, s.stderr.String())
	}
	return nil
}

// freeAddress returns an address on which nothing listens. Its port is below those that the system
// gives to clients (32768 and above), so that none of them takes it while an exchange is restarted.
func freeAddress() (string, error) {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		listener, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err == nil {
			err = listener.Close()
		}
		return address, err
	}
}

// startExchange runs `tapedeck exchange` with the arguments on a free port until the script ends,
// and points the script's environment at it. If one runs, it is stopped first, and the new one has its
// address. What it prints from then on, such as the messages that Telegram's stand-in receives, is in
// exchange.out.
func startExchange(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("exchange cannot be negated")
	}
	binary := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, "tapedeck"); binary == "" {
			if _, err := os.Stat(path); err == nil {
				binary = path
			}
		}
	}
	server, listen := ts.Value(standinKey).(*standin), ts.Getenv("ADDRESS")
	if server.command != nil {
		ts.Check(server.stop())
	} else {
		free, err := freeAddress()
		ts.Check(err)
		listen = free
		ts.Defer(func() { ts.Check(server.stop()) })
	}
	command := exec.Command(binary, append([]string{"exchange", "--listen", listen, "--log-level", "warn"}, args...)...)
	command.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	command.Dir = ts.Getenv("WORK")
	command.Stderr = &server.stderr
	output, err := command.StdoutPipe()
	ts.Check(err)
	ts.Check(command.Start())
	server.command = command
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		setting, ok := strings.CutPrefix(lines.Text(), "export ")
		if !ok {
			continue
		}
		key, value, _ := strings.Cut(setting, "=")
		ts.Setenv(key, value)
		if key == "TAPEDECK_ARCHIVE_URL" { // the last one
			ts.Setenv("ADDRESS", strings.TrimPrefix(value, "http://"))
			log, err := os.Create(filepath.Join(ts.Getenv("WORK"), "exchange.out"))
			ts.Check(err)
			go func() { // drain the pipe so that the exchange never blocks
				defer log.Close()
				for lines.Scan() {
					fmt.Fprintln(log, lines.Text())
				}
			}()
			return
		}
	}
	ts.Fatalf("the exchange did not print its address: %v", lines.Err())
}

// waitFor waits until a file matches the pattern and, with a second argument, contains that text.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: waitfor pattern [text]")
	}
	for deadline := time.Now().Add(waitTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		paths, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		for _, path := range paths {
			if len(args) == 1 {
				return
			}
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), args[1]) {
				return
			}
		}
	}
	ts.Fatalf("no file matches %q in time", args)
}

// removeOne deletes the middle one of the files that match the pattern.
func removeOne(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: removeone pattern")
	}
	paths, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(paths) == 0 {
		ts.Fatalf("nothing matches %q", args[0])
	}
	ts.Check(os.Remove(paths[len(paths)/2]))
}

// remember sets a variable to what a group of an expression matches in the last command's output.
func remember(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: remember variable stdout|stderr expression")
	}
	expression, err := regexp.Compile("(?m)" + args[2])
	ts.Check(err)
	match := expression.FindStringSubmatch(ts.ReadFile(args[1]))
	if len(match) != 2 {
		ts.Fatalf("%q matches nothing in %s", args[2], args[1])
	}
	ts.Setenv(args[0], match[1])
}

// same fails unless two files are equal.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same file file")
	}
	if (ts.ReadFile(args[0]) == ts.ReadFile(args[1])) == neg {
		ts.Fatalf("%s and %s: same is %v", args[0], args[1], neg)
	}
}

// sigterm stops all background commands of the script, as docker stop does.
func sigterm(ts *testscript.TestScript, neg bool, args []string) { signalAll(ts, syscall.SIGTERM) }

// sighup signals all background commands of the script, as a closed terminal does.
func sighup(ts *testscript.TestScript, neg bool, args []string) { signalAll(ts, syscall.SIGHUP) }

// sigkill kills all background commands of the script.
func sigkill(ts *testscript.TestScript, neg bool, args []string) { signalAll(ts, syscall.SIGKILL) }

func signalAll(ts *testscript.TestScript, signal os.Signal) {
	for _, command := range ts.BackgroundCmds() {
		ts.Check(command.Process.Signal(signal))
	}
}
