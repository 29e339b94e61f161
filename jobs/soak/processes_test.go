package soak

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// run runs tapedeck and returns its exit status. If end is not 0 and the process still runs after that
// time, it is killed; if end is below 0, it is interrupted instead.
func (s *soak) run(ctx context.Context, end time.Duration, args ...string) int {
	command := args[0]
	s.mu.Lock()
	s.processes++
	name := filepath.Join(s.logs, fmt.Sprintf("%04d-%s.log", s.processes, command))
	s.mu.Unlock()
	log, err := os.Create(name)
	if err != nil {
		s.problem("%v", err)
		return killed
	}
	defer log.Close()
	fmt.Fprintf(log, "tapedeck %s\n", strings.Join(args, " "))
	p := exec.Command(s.binary, append([]string{"--data-dir", s.data}, args...)...)
	p.Stdout, p.Stderr, p.Dir = log, log, s.logs
	p.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "TAPEDECK_") }),
		"TAPEDECK_STREAM_URL="+s.server.StreamURL(), "TAPEDECK_REST_URL="+s.server.URL(), "TAPEDECK_ARCHIVE_URL="+s.server.URL(), "TAPEDECK_LOG_LEVEL=info")
	if err := p.Start(); err != nil {
		s.problem("start tapedeck: %v", err)
		return killed
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	var timer <-chan time.Time
	if end != 0 {
		timer = time.After(end.Abs())
	}
	stopping := ctx.Done()
	for {
		select {
		case err = <-ended:
			return s.recordExit(command, p, err, name, stopping == nil || end < 0 && timer == nil)
		case <-timer:
			timer = nil
			if s.isFilling() && command == "stream" {
				continue // it must fail because of the full volume
			}
			if end < 0 {
				_ = p.Process.Signal(os.Interrupt)
				continue
			}
			_ = p.Process.Kill()
			<-ended
			s.mu.Lock()
			s.kills[command]++
			s.mu.Unlock()
			return killed
		case <-stopping:
			stopping = nil
			_ = p.Process.Signal(os.Interrupt)
		}
	}
}

// recordExit counts the exit of a process that was not killed, and returns its status.
func (s *soak) recordExit(command string, p *exec.Cmd, err error, log string, interrupted bool) int {
	status := p.ProcessState.ExitCode()
	text, readErr := os.ReadFile(log)
	if readErr != nil {
		s.problem("%v", readErr)
	}
	if *verbose {
		fmt.Printf("%s\n", text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status == 0 || status == 3:
	case strings.Contains(string(text), "no space left on device"):
		s.noSpace[command]++
		if status != 1 || s.filled == 0 {
			s.problems = append(s.problems, fmt.Sprintf("%s ended with %v because the volume is full", command, err))
		}
	case interrupted && (status < 0 || command != "stream" && strings.Contains(string(text), "interrupt signal received")):
		// A signal ends a process that does not handle signals yet.
	default:
		s.problems = append(s.problems, fmt.Sprintf("%s ended with %v:\n%s", command, err, tail(string(text), 8)))
	}
	s.exits[fmt.Sprintf("%s %d", command, status)]++
	return status
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (s *soak) isFilling() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filling
}

// fillVolume fills the volume until a stream has failed because of it.
func (s *soak) fillVolume(ctx context.Context) {
	ballast := filepath.Join(filepath.Dir(s.data), "ballast")
	s.mu.Lock()
	s.filling = s.filled == 0 && s.limited
	if s.filling {
		s.filled++
	}
	filling := s.filling
	s.mu.Unlock()
	if !filling {
		return
	}
	defer func() {
		if err := os.Remove(ballast); err != nil {
			s.problem("%v", err)
		}
		s.mu.Lock()
		s.filling = false
		s.mu.Unlock()
	}()
	file, err := os.Create(ballast)
	if err != nil {
		s.problem("%v", err)
		return
	}
	defer file.Close()
	block := make([]byte, 64<<10)
	for started := time.Now(); ; {
		// Also fill the space that other processes free.
		if _, err := file.Write(block); err == nil {
			continue
		}
		s.mu.Lock()
		noticed := s.noSpace["stream"] > 0
		s.mu.Unlock()
		if noticed {
			return
		}
		if time.Since(started) > 2*time.Minute {
			s.problem("no stream failed within two minutes on a full volume")
			return
		}
		if !pause(ctx, 20*time.Millisecond) {
			return
		}
	}
}
