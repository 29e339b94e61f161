package image_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// service is the part of a service in compose.yaml that the tests check.
type service struct {
	User        string   `json:"user"`
	ReadOnly    bool     `json:"read_only"`
	CapDrop     []string `json:"cap_drop"`
	SecurityOpt []string `json:"security_opt"`
	Tmpfs       []string `json:"tmpfs"`
	MemLimit    string   `json:"mem_limit"`
	CPUs        float64  `json:"cpus"`
	Ports       []any    `json:"ports"`
	Privileged  bool     `json:"privileged"`
	Restart     string   `json:"restart"`
	Profiles    []string `json:"profiles"`
	Networks    map[string]any
	Logging     struct {
		Options map[string]string `json:"options"`
	} `json:"logging"`
	Healthcheck struct {
		Test    []string `json:"test"`
		Disable bool     `json:"disable"`
	} `json:"healthcheck"`
	Volumes []struct {
		Type     string `json:"type"`
		Source   string `json:"source"`
		Target   string `json:"target"`
		ReadOnly bool   `json:"read_only"`
	} `json:"volumes"`
}

// stackServices returns the services of all profiles in compose.yaml as Compose parses them.
func stackServices(t *testing.T, dir string) map[string]service {
	t.Helper()
	p := shell{dir: dir, env: []string{"COMPOSE_FILE=compose.yaml"}}
	var parsed struct {
		Services map[string]service `json:"services"`
	}
	if err := json.Unmarshal([]byte(p.run(t, `docker compose --profile "*" config --format json`)), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed.Services
}

func TestComposeFile(t *testing.T) {
	needEngine(t)
	dir := projectCopy(t)
	services := stackServices(t, dir)
	if len(services) < 12 {
		t.Errorf("only %d services", len(services))
	}
	for name, s := range services {
		if s.User != "1000:1000" || !s.ReadOnly || fmt.Sprint(s.CapDrop) != "[ALL]" || fmt.Sprint(s.SecurityOpt) != "[no-new-privileges:true]" || s.Privileged || len(s.Tmpfs) != 1 {
			t.Errorf("%s is not hardened: %+v", name, s)
		}
		if s.MemLimit == "" || s.CPUs == 0 || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" {
			t.Errorf("%s has no limit for memory, CPU or log: %+v", name, s)
		}
		if len(s.Ports) > 0 {
			t.Errorf("%s publishes ports %v", name, s.Ports)
		}
		for _, volume := range s.Volumes {
			if volume.Type == "bind" && !volume.ReadOnly {
				t.Errorf("%s may write to %s", name, volume.Source)
			}
		}
		longRunning := name == "stream" || name == "schedule" || name == "demo-stream" || name == "demo-schedule"
		if longRunning != (s.Restart == "unless-stopped") || longRunning && (len(s.Healthcheck.Test) < 2 || s.Healthcheck.Disable) {
			t.Errorf("%s: restart %q, health check %v", name, s.Restart, s.Healthcheck.Test)
		}
		if strings.HasPrefix(name, "demo") {
			if _, ok := s.Networks["demo"]; !ok || len(s.Networks) != 1 {
				t.Errorf("%s is on the networks %v", name, s.Networks)
			}
		}
		if (name == "stream" || name == "schedule") != (len(s.Profiles) == 0) {
			t.Errorf("%s is in the profiles %v", name, s.Profiles)
		}
	}
	// A missing file is an error; Docker must not create a directory for it.
	if err := os.Remove(filepath.Join(dir, "crontab.yaml")); err != nil {
		t.Fatal(err)
	}
	p := shell{dir: dir, env: []string{"COMPOSE_PROJECT_NAME=" + prefix + "-missing", "TAPEDECK_IMAGE=" + imageName(t)}}
	if got := p.fails(t, 1, "docker compose run --rm tapedeck version"); !strings.Contains(got, "crontab.yaml") {
		t.Errorf("without a crontab.yaml: %s", got)
	}
	p.run(t, "docker compose down --volumes")
}

// stack is a running compose project.
type stack struct {
	shell
	project string
}

func (s stack) container(service string) string { return s.project + "-" + service + "-1" }

func (s stack) up(t *testing.T) time.Duration {
	t.Helper()
	started := time.Now()
	s.run(t, "docker compose up -d --wait --no-build")
	return time.Since(started)
}

// state returns the health of a container and how often it was restarted.
func (s stack) state(t *testing.T, service string) (health string, restarts int) {
	t.Helper()
	var err error
	fields := strings.Fields(inspect(t, s.container(service), "{{.State.Health.Status}} {{.RestartCount}}"))
	if restarts, err = strconv.Atoi(fields[1]); err != nil {
		t.Fatal(err)
	}
	return fields[0], restarts
}

func TestStack(t *testing.T) {
	image := imageName(t)
	market, address := startExchange(t, image)
	dir := projectCopy(t)
	writeEnv(t, dir, address, "TAPEDECK_GIVE_UP_AFTER=90s", "TAPEDECK_TELEGRAM_TOKEN_FILE=./token")
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("123456789:AAthistokenbelongstonobodyatallxxxx\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	project, healthChecks := prefix+"-stack", frequentHealthChecks(t)
	s := stack{shell{dir: dir, env: []string{"TAPEDECK_IMAGE=" + image, "COMPOSE_PROJECT_NAME=" + project, "COMPOSE_FILE=" + withBridgeNetwork(t, dir)}}, project}
	t.Cleanup(func() {
		if t.Failed() {
			out, _, _ := s.try("docker compose ps -a; docker compose logs --tail 40")
			t.Log(out)
		}
		s.run(t, "docker compose down --volumes --timeout 5")
	})

	took := s.up(t)
	logFigure(t, "the stack is healthy %.0f s after `docker compose up`", took.Seconds())
	if took > time.Minute {
		t.Errorf("healthy after %s", took)
	}
	const token = "123456789:AAthistokenbelongstonobodyatallxxxx"
	if got := s.run(t, "docker compose exec -T schedule cat /run/secrets/telegram_token"); got != token {
		t.Errorf("the secret is %q", got)
	}
	if got := s.run(t, "docker compose exec -T stream sh -c 'cat /run/secrets/telegram_token || echo none'"); !strings.HasSuffix(got, "none") {
		t.Errorf("stream, which sends nothing, has the secret: %q", got)
	}
	for _, service := range []string{"stream", "schedule"} {
		if got := inspect(t, s.container(service), "{{json .Config.Env}}"); strings.Contains(got, token) {
			t.Errorf("the secret is in the environment of %s: %s", service, got)
		}
	}

	t.Run("report while both run", func(t *testing.T) {
		s.run(t, "docker compose run --rm -T backfill --since 25h")
		s.run(t, "docker compose run --rm -T report --since 24h --format xlsx --out /app/data/r.xlsx")
		out := filepath.Join(readableDir(t), "r.xlsx")
		s.run(t, "docker compose cp stream:/app/data/r.xlsx "+out)
		book, err := os.ReadFile(out)
		if err != nil || len(book) < 5000 || string(book[:2]) != "PK" {
			t.Errorf("a workbook of %d bytes, %v", len(book), err)
		}
		logFigure(t, "a report's workbook is %d bytes", len(book))
	})

	t.Run("restart after a kill", func(t *testing.T) {
		for _, service := range []string{"stream", "schedule"} {
			_, before := s.state(t, service)
			// Docker does not restart a container after `docker kill`, so kill the process directly.
			pid := inspect(t, s.container(service), "{{.State.Pid}}")
			host.run(t, "docker run --rm --pid host --user 0 --entrypoint bash "+image+" -c 'kill -9 "+pid+"'")
			took := waitUntil(t, service+" is restarted and healthy", 2*time.Minute, func() (bool, string) {
				health, restarts := s.state(t, service)
				return health == "healthy" && restarts > before, fmt.Sprint(health, restarts)
			})
			logFigure(t, "%s is healthy %.0f s after SIGKILL", service, took.Seconds())
		}
	})

	t.Run("stop without loss", func(t *testing.T) {
		started := time.Now()
		s.run(t, "docker compose stop")
		took := time.Since(started)
		logFigure(t, "the stack stops in %.1f s", took.Seconds())
		if took > 10*time.Second {
			t.Errorf("stopped in %s", took)
		}
		for _, service := range []string{"stream", "schedule"} {
			if code := inspect(t, s.container(service), "{{.State.ExitCode}}"); code != "0" {
				t.Errorf("%s ended with exit status %s", service, code)
			}
		}
		var state struct {
			Symbols map[string]struct {
				LastID int64 `json:"last_id"`
			} `json:"symbols"`
			Counters struct{ Trades, Rows, Dropped int64 } `json:"counters"`
		}
		text := s.run(t, "docker compose run --rm -T --entrypoint cat tapedeck /app/data/.state/stream.json")
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatal(err)
		}
		if len(state.Symbols) != 2 || state.Counters.Trades == 0 || state.Counters.Trades != state.Counters.Rows+state.Counters.Dropped {
			t.Errorf("received and written trades differ: %s", text)
		}
		for symbol, received := range state.Symbols {
			got := s.run(t, `docker compose run --rm -T query --format csv "SELECT max(id) AS id FROM trades WHERE symbol = '`+symbol+`'"`)
			if want := fmt.Sprintf("id\n%d", received.LastID); got != want {
				t.Errorf("%s: the last received trade is %d, the last on the tape is %q", symbol, received.LastID, got)
			}
		}
		logFigure(t, "all %d trades that the stopped stream received are on the tape", state.Counters.Trades)
	})

	t.Run("complete tape after down and up", func(t *testing.T) {
		s.run(t, "docker compose down")
		for i, set := range s.env {
			if strings.HasPrefix(set, "COMPOSE_FILE=") {
				s.env[i] = set + ":" + healthChecks
			}
		}
		took := s.up(t)
		logFigure(t, "the stack is healthy %.0f s after down and up", took.Seconds())
		s.run(t, "docker compose run --rm -T backfill --since 3h")
		t.Log(s.run(t, "docker compose run --rm -T verify"))
	})

	t.Run("frozen exchange", func(t *testing.T) {
		// A new stream tolerates 5 minutes of silence, until it has measured what is usual.
		waitUntil(t, "stream has measured its connection's usual silence", 3*time.Minute, func() (bool, string) {
			state := s.run(t, "docker compose exec -T stream cat data/.state/stream.json")
			return regexp.MustCompile(`(?s)"connections":.*"usual_silence_ms": *[1-9].*"symbols":`).MatchString(state), state
		})
		_, before := s.state(t, "stream")
		host.run(t, "docker pause "+market)
		took := waitUntil(t, "stream is unhealthy", 4*time.Minute, func() (bool, string) {
			state := inspect(t, s.container("stream"), "{{.State.Health.Status}} {{.State.Status}}")
			return state == "unhealthy running", state
		})
		probes := strings.Split(inspect(t, s.container("stream"), "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}"), "\n")
		reason := probes[len(probes)-1]
		logFigure(t, "a frozen exchange makes stream unhealthy after %.0f s", took.Seconds())
		t.Log(reason)
		if !strings.HasPrefix(reason, "1 ") || !strings.Contains(reason, "connection 1.1") {
			t.Errorf("the reason does not name the connection: %s", reason)
		}
		_, problems, err := s.try("docker compose exec -T stream tapedeck health stream")
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || strings.Count(strings.TrimSpace(problems), "\n") != 0 {
			t.Errorf("health: %v, %s", err, problems)
		}
		took = waitUntil(t, "stream is restarted", 5*time.Minute, func() (bool, string) {
			health, restarts := s.state(t, "stream")
			return restarts > before, fmt.Sprint(health, restarts)
		})
		logFigure(t, "and it is restarted %.0f s later", took.Seconds())
		host.run(t, "docker unpause "+market)
		took = waitUntil(t, "stream is healthy again", 3*time.Minute, func() (bool, string) {
			health, restarts := s.state(t, "stream")
			return health == "healthy", fmt.Sprint(health, restarts)
		})
		logFigure(t, "stream is healthy %.0f s after the exchange continues", took.Seconds())
		s.run(t, "docker compose run --rm -T backfill --since 3h")
		s.run(t, "docker compose run --rm -T verify")
	})
}

// sumOf returns the checksum of an image's binary.
func sumOf(t *testing.T, image string) string {
	t.Helper()
	return host.run(t, "docker run --rm --entrypoint sha256sum "+image+" /usr/local/bin/tapedeck")
}

// TestPages runs the commands of the pages unchanged and in order.
func TestPages(t *testing.T) {
	image := imageName(t)
	for _, command := range []string{"docker volume inspect tapedeck", "docker container inspect tapedeck"} {
		_, _, err := host.try(command)
		if err != nil {
			continue
		}
		if os.Getenv("CI") != "true" {
			t.Skipf("`%s` finds a tapedeck, which the commands of the pages would use", command)
		}
	}
	// Building `tapedeck` repeatedly leaves images without a name.
	unnamedImages := func() []string {
		return strings.Fields(host.run(t, "docker images -q --no-trunc --filter dangling=true --filter label=org.opencontainers.image.title=tapedeck"))
	}
	before := unnamedImages()
	removeTapedeck := "docker rm -fv tapedeck 2>/dev/null; docker volume rm -f tapedeck >/dev/null"
	host.run(t, removeTapedeck+"; docker compose -p tapedeck-demo down --volumes 2>/dev/null || true")
	_, address := startExchange(t, image)
	dir := projectCopy(t)
	appendConfig(t, dir, address)
	first := prefix + "-pages"
	composeFile := withBridgeNetwork(t, dir)
	env := func(project string) []string {
		return append(buildxEnv(t), "COMPOSE_PROJECT_NAME="+project, "COMPOSE_FILE="+composeFile)
	}
	p := shell{dir: dir, env: append(env(first), "VERSION="+testVersion, "COMMIT="+testCommit)}
	projects := []string{first}
	// The pages build the image `tapedeck`; keep an existing one.
	kept, _, _ := host.try("docker image inspect -f '{{.Id}}' tapedeck 2>/dev/null")
	if kept = strings.TrimSpace(kept); kept != "" {
		host.run(t, "docker tag "+kept+" "+prefix+":kept && docker rmi tapedeck")
	}
	t.Cleanup(func() {
		for _, project := range projects {
			out, problems, err := shell{dir: dir, env: env(project)}.try("docker compose down --volumes --timeout 5")
			if err != nil {
				t.Errorf("%s%s%v", out, problems, err)
			}
		}
		host.run(t, removeTapedeck)
		host.run(t, "docker rmi -f tapedeck")
		for _, id := range unnamedImages() {
			if !slices.Contains(before, id) {
				host.run(t, "docker rmi "+id)
			}
		}
		if kept != "" {
			host.run(t, "docker tag "+kept+" tapedeck")
		}
	})
	lines, compared := 0, false
	for _, b := range pages(t, dir) {
		if b.directive == "another machine" {
			p.run(t, "docker compose stop")
			project := fmt.Sprintf("%s-%d", first, len(projects)+1)
			projects = append(projects, project)
			p.env = env(project)
		}
		t.Logf("%s:%d\n%s", b.page, b.line, b.script)
		started := time.Now()
		out, problems, err := p.try(b.script)
		if err != nil {
			logs, _, _ := p.try("docker compose ps -a; docker compose logs --tail 20")
			t.Fatalf("%s:%d: %v\n%s%s%s", b.page, b.line, err, out, problems, logs)
		}
		if !compared {
			// The image was now built a second time, in another directory and with other caches.
			compared = true
			if one, other := sumOf(t, image), sumOf(t, "tapedeck"); one != other && image == prefix+":first" {
				t.Errorf("two builds of the same source differ:\n%s\n%s", one, other)
			}
		}
		if b.directive == "another machine" {
			if got := p.run(t, "tar -tf tapedeck-backup.tar | grep -c 'trades/.*parquet'"); got == "0" {
				t.Error("the backup has no trades")
			}
			if was, is := p.run(t, "tar -xOf tapedeck-backup.tar ./tape.json"), p.run(t, "docker compose exec -T stream cat data/tape.json"); was != is {
				t.Errorf("the restored tape.json is %s, the backup has %s", is, was)
			}
		}
		lines += strings.Count(b.script, "\n")
		t.Logf("done in %.1f s", time.Since(started).Seconds())
	}
	logFigure(t, "%d lines of commands in the pages run unchanged", lines)
}
