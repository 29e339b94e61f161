package image_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// sizeLimit is the maximum size of the image in bytes, as `docker image inspect` counts them.
const sizeLimit = 240e6

var (
	buildOnce sync.Once
	builtName string
)

// imageName returns the name of the image. The first call builds it from scratch, without cached
// layers, modules and packages. TAPEDECK_IMAGE_TEST_IMAGE names an existing image instead, for work on
// the other tests.
func imageName(t *testing.T) string {
	t.Helper()
	needEngine(t)
	buildOnce.Do(func() {
		if builtName = os.Getenv("TAPEDECK_IMAGE_TEST_IMAGE"); builtName == "" {
			builtName = build(t)
		}
	})
	if builtName == "" {
		t.Fatal("the image could not be built")
	}
	return builtName
}

// The version of the test's images.
const testVersion, testCommit = "v1.2.3-test", "0123456789ab"

// secret is a text that must not get into the image.
const secret = "hunter2-correct-horse-battery-staple"

func build(t *testing.T) string {
	dir := projectCopy(t)
	// The Dockerfile with separate caches, which are emptied before and after, so that the first build
	// starts from scratch and other caches stay as they are.
	text, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	mounts := regexp.MustCompile(`type=cache,target=`)
	if got := len(mounts.FindAll(text, -1)); got != 3 {
		t.Fatalf("%d cache mounts in the Dockerfile, want 3", got)
	}
	separate := mounts.ReplaceAllString(string(text), "type=cache,id=tapedeck-image-test,target=")
	separate = strings.ReplaceAll(separate, "id=tapedeck-image-test,target=/go/pkg/mod", "id=tapedeck-image-test-mod,target=/go/pkg/mod")
	file := filepath.Join(readableDir(t), "Dockerfile")
	if err := os.WriteFile(file, []byte(separate), 0o644); err != nil {
		t.Fatal(err)
	}
	emptyCaches := func() {
		host.run(t, `docker build -q --no-cache -t `+prefix+`:empty -f - `+readableDir(t)+` <<'END' >/dev/null
FROM `+fromArg(t, string(text), "BUILDER_IMAGE")+`
RUN --mount=type=cache,id=tapedeck-image-test-mod,target=/a --mount=type=cache,id=tapedeck-image-test,target=/b find /a /b -mindepth 1 -delete
END
docker rmi `+prefix+`:empty >/dev/null`)
	}
	emptyCaches()
	t.Cleanup(emptyCaches)

	// Files that must not get into the image.
	for _, path := range []string{".env", "secret.txt", "data/tape.json", "cmd/tapedeck/testdata/secret"} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(secret), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command := func(flags, tag string) string {
		return "docker build --progress=plain " + flags + " -f " + file + " -t " + tag +
			" --build-arg GOPROXY --build-arg GOSUMDB --build-arg GONOSUMDB --build-arg GOPRIVATE --build-arg GOFLAGS" +
			" --build-arg VERSION=" + testVersion + " --build-arg COMMIT=" + testCommit + " " + dir + " 2>&1"
	}
	started := time.Now()
	host.run(t, command("--no-cache", prefix+":first"))
	first := time.Since(started)

	// A file of a package that most others import.
	changed := filepath.Join(dir, "internal/tape/tape.go")
	code, err := os.ReadFile(changed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(changed, append(code, "\n// Changed is new.\nvar Changed = \"changed\"\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	started = time.Now()
	log := host.run(t, command("", prefix+":second"))
	second := time.Since(started)
	logFigure(t, "first build %.0f s, rebuild after a change of one Go file %.0f s: %.2f of it", first.Seconds(), second.Seconds(), second.Seconds()/first.Seconds())
	if second > first/3 {
		t.Errorf("the rebuild took %s, more than a third of the first build's %s", second, first)
	}
	if strings.Contains(log, "go: downloading") || !regexp.MustCompile(`(?s)go mod download.*?\n#\d+ CACHED`).MatchString(log) {
		t.Errorf("the rebuild downloaded modules again:\n%s", log)
	}
	if host.run(t, "docker image inspect -f '{{.Id}}' "+prefix+":first") == host.run(t, "docker image inspect -f '{{.Id}}' "+prefix+":second") {
		t.Error("the change of a Go file did not change the image")
	}

	// Other base images, as for pinning by digest. Here they are the same images with another name.
	for _, arg := range []string{"BUILDER_IMAGE", "RUNTIME_IMAGE"} {
		host.run(t, "docker tag "+fromArg(t, string(text), arg)+" "+prefix+":"+strings.ToLower(arg))
	}
	host.run(t, command("--build-arg BUILDER_IMAGE="+prefix+":builder_image --build-arg RUNTIME_IMAGE="+prefix+":runtime_image", prefix+":pinned"))
	if got := host.run(t, `docker image inspect -f '{{index .Config.Labels "org.opencontainers.image.base.name"}}' `+prefix+":pinned"); got != prefix+":runtime_image" {
		t.Errorf("the label of an image with another base is %q", got)
	}
	return prefix + ":first"
}

// fromArg returns the default of a build argument.
func fromArg(t *testing.T, dockerfile, arg string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ARG ` + arg + `=(.+)$`).FindStringSubmatch(dockerfile)
	if found == nil {
		t.Fatalf("the Dockerfile has no ARG %s", arg)
	}
	return found[1]
}

func TestImageConfiguration(t *testing.T) {
	image := imageName(t)
	var config struct {
		User, StopSignal, WorkingDir string
		Entrypoint, Cmd              []string
		Volumes, ExposedPorts        map[string]any
		Labels                       map[string]string
		Env                          []string
		Healthcheck                  struct{ Test []string }
	}
	if err := json.Unmarshal([]byte(host.run(t, "docker image inspect -f '{{json .Config}}' "+image)), &config); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(config.User, config.StopSignal, config.WorkingDir, config.Entrypoint, config.Cmd, config.Volumes, config.ExposedPorts, config.Healthcheck.Test)
	want := fmt.Sprint("1000:1000", "SIGTERM", "/app", []string{"/usr/local/bin/tapedeck"}, []string{"run"}, map[string]any{"/app/data": map[string]any{}}, map[string]any{},
		[]string{"CMD", "tapedeck", "health"})
	if got != want {
		t.Errorf("the configuration is\n%s, want\n%s", got, want)
	}
	for label, want := range map[string]string{"title": "tapedeck", "version": testVersion, "revision": testCommit, "base.name": "debian:trixie-slim"} {
		if got := config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	version := host.run(t, "docker run --rm "+hardened+" "+image+" version")
	if !strings.Contains(version, testVersion) || !strings.Contains(version, testCommit) {
		t.Errorf("version prints %s", version)
	}

	size, err := strconv.ParseFloat(host.run(t, "docker image inspect -f '{{.Size}}' "+image), 64)
	if err != nil {
		t.Fatal(err)
	}
	base, err := strconv.ParseFloat(host.run(t, "docker image inspect -f '{{.Size}}' debian:trixie-slim"), 64)
	if err != nil {
		t.Fatal(err)
	}
	logFigure(t, "the image has %.1f MB, %.1f MB of them in the base image", size/1e6, base/1e6)
	if size >= sizeLimit {
		t.Errorf("the image has %.1f MB; the limit is %.0f MB", size/1e6, sizeLimit/1e6)
	}
}

func TestImageContents(t *testing.T) {
	image := imageName(t)
	inside := func(flags, script string) string {
		return host.run(t, "docker run --rm "+flags+" --entrypoint sh "+image+" -c '"+script+"'")
	}
	if got := inside(hardened, "whoami; id -u; id -g"); got != "appuser\n1000\n1000" {
		t.Errorf("the user is %q", got)
	}
	if got := inside(hardened, `for d in / /app /etc /usr /var; do if touch $d/probe 2>/dev/null; then echo "$d is writable"; fi; done; touch /tmp/probe /app/data/probe`); got != "" {
		t.Error(got)
	}
	// As root and without --read-only, to see all files.
	all := "--user 0 --network none"
	if got := inside(all, "command -v gcc cc g++ c++ ld as go gofmt make git; find / -xdev \\( -name \"*.go\" -o -name go.mod -o -name \"*.a\" -o -name \"*_test*\" -o -name testdata \\) -not -path \"/proc/*\" -not -path \"/usr/share/perl*\" -not -path \"/usr/lib/*/perl*\"; ls -d /src /go /usr/local/go 2>/dev/null || true"); got != "" {
		t.Errorf("tools and sources in the image:\n%s", got)
	}
	const setuid = `find / -xdev -perm /6000 -type f | sort`
	if base, got := host.run(t, "docker run --rm --entrypoint sh debian:trixie-slim -c '"+setuid+"'"), inside(all, setuid); got != base {
		t.Errorf("setuid and setgid files:\n%s\nin the base image:\n%s", got, base)
	}
	if got := inside(all, "! grep -rlF "+secret+" / --exclude-dir=proc --exclude-dir=sys 2>/dev/null"); got != "" {
		t.Errorf("these files contain a secret of the build directory: %s", got)
	}
	if history := host.run(t, "docker history --no-trunc "+image); strings.Contains(history, secret) || strings.Contains(history, "GOPROXY") {
		t.Errorf("the history contains a secret or the module proxy:\n%s", history)
	}
	if got := inside(all, "ldd /usr/local/bin/tapedeck"); strings.Contains(got, "stdc++") || strings.Contains(got, "not found") {
		t.Errorf("the binary needs libraries:\n%s", got)
	}
	if got := inside(all, "test -s /etc/ssl/certs/ca-certificates.crt && grep -c BEGIN /etc/ssl/certs/ca-certificates.crt"); got == "0" {
		t.Error("the image has no CA certificates")
	}
}

// TestDemoHardened runs the demo with the strictest flags and without network.
func TestDemoHardened(t *testing.T) {
	image := imageName(t)
	started := time.Now()
	out := host.run(t, "docker run --rm --network none "+hardened+" "+image+" demo --dir /tmp/demo")
	logFigure(t, "the demo in a container without network, read-only and without capabilities: %.0f s", time.Since(started).Seconds())
	if !strings.Contains(out, "Done in ") {
		t.Errorf("the demo printed\n%s", out)
	}
}

// TestUsers runs commands as users who can and cannot write to the volume. Those who cannot get a hint.
func TestUsers(t *testing.T) {
	image := imageName(t)
	dir := readableDir(t)
	for _, c := range []struct {
		name, flags, user string
		owner             int
		hint              string
	}{
		{"the default user", "", "1000:1000", 1000, ""},
		{"another user", "--user 4321:77", "4321:77", 4321, ""},
		{"a user without write permission", "", "1000:1000", 0, "hint: this process runs as user 1000:1000; outside of the container, type: sudo chown -R 1000:1000 DIR, where DIR is the directory mounted at /app/data"},
		{"another user without write permission", "--user 4321:77", "4321:77", 1000, "hint: this process runs as user 4321:77; outside of the container, type: sudo chown -R 4321:77 DIR, where DIR is the directory mounted at /app/data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "_"))
			host.run(t, fmt.Sprintf("docker run --rm --user 0 --entrypoint sh -v %s:/parent %s -c 'mkdir /parent/%s && chown %d:%d /parent/%[3]s'", dir, image, filepath.Base(data), c.owner, c.owner))
			t.Cleanup(func() {
				host.try("docker run --rm --user 0 --entrypoint rm -v " + dir + ":/parent " + image + " -rf /parent/" + filepath.Base(data))
			})
			script := "docker run --rm --network none " + hardened + " " + c.flags + " -v " + data + ":/app/data " + image
			if c.hint == "" {
				host.run(t, script+" db-migrate")
				if got := host.run(t, script+` query --format csv "SELECT count(*) AS n FROM trades"`); got != "n\n0" {
					t.Errorf("query prints %q", got)
				}
				return
			}
			for _, command := range []string{"stream", "schedule", "run", "db-migrate", "backfill --since 1h"} {
				lines := strings.Split(strings.TrimSpace(host.fails(t, 1, script+" "+command)), "\n")
				lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "{") }) // log lines
				if len(lines) != 2 || !strings.Contains(lines[0], "permission denied") || lines[1] != c.hint {
					t.Errorf("%s prints\n%s\nwant one line and\n%s", command, strings.Join(lines, "\n"), c.hint)
				}
			}
		})
	}
}

// TestNewerDirectoryIsRefused expects that every writing command refuses a data directory of a newer
// version and does not change it. Before, two processes initialize the directory at the same time.
func TestNewerDirectoryIsRefused(t *testing.T) {
	image := imageName(t)
	volume := prefix + "-versions"
	script := "docker run --rm --network none " + hardened + " -v " + volume + ":/app/data "
	host.run(t, script+image+" db-migrate & one=$!; "+script+image+" db-migrate & two=$!; wait $one && wait $two")
	if got := host.run(t, script+image+` query --format csv "SELECT count(*) AS n FROM trades"`); got != "n\n0" {
		t.Errorf("query prints %q", got)
	}
	host.run(t, script+`--entrypoint bash `+image+` -c 'sed -i "s/\"format\": *[0-9]*/\"format\": 99/" data/tape.json && grep -q 99 data/tape.json'`)
	sum := script + "--entrypoint sh " + image + " -c 'find data -type f | sort | xargs sha256sum'"
	before := host.run(t, sum)
	for _, command := range []string{"stream", "schedule", "run", "db-migrate", "backfill --since 1h", "verify"} {
		if got := host.fails(t, 1, script+image+" "+command); !strings.Contains(got, "made by a newer tapedeck") {
			t.Errorf("%s prints %s", command, got)
		}
	}
	if after := host.run(t, sum); after != before {
		t.Errorf("a refused directory was changed:\n%s\nafter\n%s", before, after)
	}
}

// TestOlderDirectoryIsMigrated expects that the services, two at the same time, create what an older
// data directory lacks and rebuild market.duckdb.
func TestOlderDirectoryIsMigrated(t *testing.T) {
	image := imageName(t)
	_, address := startExchange(t, image)
	volume := prefix + "-older"
	script := "docker run --rm --network none " + hardened + " -v " + volume + ":/app/data "
	host.run(t, script+image+" db-migrate")
	host.run(t, script+"--entrypoint bash "+image+` -c 'rm -r data/coverage data/alerts data/.staging && echo old > data/market.duckdb && echo "{\"made_of\": \"older\"}" > data/.state/market.json'`)
	services := map[string]string{"stream": prefix + "-older-stream", "schedule": prefix + "-older-schedule"}
	for service, container := range services {
		host.run(t, "docker run -d --name "+container+" "+hardened+" --health-interval 2s -v "+volume+":/app/data -e TAPEDECK_STREAM_URL=ws://"+address+
			" -e TAPEDECK_REST_URL=http://"+address+" -e TAPEDECK_ARCHIVE_URL=http://"+address+" "+image+" "+service)
	}
	for service, container := range services {
		waitUntil(t, service+" is healthy", time.Minute, func() (bool, string) {
			_, problems, err := host.try("docker exec " + container + " tapedeck health " + service)
			return err == nil, problems
		})
	}
	host.run(t, "docker exec "+services["stream"]+" tapedeck verify")
	if log := host.run(t, "docker logs "+services["stream"]+" 2>&1; docker logs "+services["schedule"]+" 2>&1"); !strings.Contains(log, "market.duckdb created") || strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the logs are\n%s", log)
	}
	host.run(t, script+"--entrypoint bash "+image+" -c 'test -d data/coverage && test -d data/alerts && test -d data/.staging && ! grep -q older data/.state/market.json && test $(stat -c %s data/market.duckdb) -gt 1000'")
	host.run(t, "docker stop "+services["stream"]+" "+services["schedule"])
}

// TestNoExchange expects that a stream without exchange is unhealthy from the start, reports why, and
// ends with an error.
func TestNoExchange(t *testing.T) {
	image := imageName(t)
	_, address := startExchange(t, image)
	container := prefix + "-alone"
	host.run(t, "docker run -d --name "+container+" "+hardened+" --health-interval 1s --health-start-period 2s --health-retries 2 -e TAPEDECK_STREAM_URL=ws://127.0.0.1:9 -e TAPEDECK_REST_URL=http://"+address+
		" -e TAPEDECK_GIVE_UP_AFTER=30s "+image+" stream")
	waitUntil(t, "stream is unhealthy", 30*time.Second, func() (bool, string) {
		state := inspect(t, container, "{{.State.Health.Status}} {{.State.Status}}")
		return state == "unhealthy running", state
	})
	if probes := inspect(t, container, "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}"); strings.Contains(probes, "0 healthy") {
		t.Errorf("it was healthy without a trade: %s", probes)
	}
	waitUntil(t, "health reports the reason", 30*time.Second, func() (bool, string) {
		_, problems, _ := host.try("docker exec " + container + " tapedeck health stream")
		return strings.Contains(problems, "has not received a trade yet: connection 1.1 is down: "), problems
	})
	waitUntil(t, "stream has ended", time.Minute, func() (bool, string) {
		state := inspect(t, container, "{{.State.Status}} {{.State.ExitCode}}")
		return state == "exited 1", state
	})
	if log := host.run(t, "docker logs --tail 2 "+container+" 2>&1"); !strings.Contains(log, "the exchange could not be reached for 30s") {
		t.Errorf("the last lines of the log are %s", log)
	}
}

// TestOneOffCommands runs one-off commands as a person types them.
func TestOneOffCommands(t *testing.T) {
	image := imageName(t)
	if got := host.fails(t, 1, "docker run --rm "+image+" report --since 24h"); !strings.HasPrefix(got, "tapedeck: no tape at \"data\"\nhint: ") || !strings.Contains(got, "-v ") {
		t.Errorf("a report without a volume prints %s", got)
	}
	_, address := startExchange(t, image)
	script := "docker run --rm -v " + prefix + "-promised:/app/data -e TAPEDECK_REST_URL=http://" + address + " -e TAPEDECK_ARCHIVE_URL=http://" + address + " " + image
	host.run(t, script+" db-migrate")
	to := time.Now().UTC().Add(-time.Second).Format(time.RFC3339)
	host.run(t, script+" backfill --hours 13")
	if got := host.run(t, script+" report --since 12h --to "+to); !strings.Contains(got, "Complete: ") {
		t.Errorf("the report is %s", got)
	}
	// The record begins 13 hours ago.
	if got := host.fails(t, 3, script+" report --since 24h"); !strings.Contains(got, "is not complete") {
		t.Errorf("a report about more than the record prints %s", got)
	}
	host.run(t, script+" verify")
}

// TestDefaultCommand runs the image without arguments: it records, runs its schedule and is healthy.
func TestDefaultCommand(t *testing.T) {
	image := imageName(t)
	_, address := startExchange(t, image)
	container := prefix + "-run"
	host.run(t, "docker run -d --name "+container+" "+hardened+" -e TAPEDECK_STREAM_URL=ws://"+address+" -e TAPEDECK_REST_URL=http://"+address+
		" -e TAPEDECK_ARCHIVE_URL=http://"+address+" "+image)
	health := func() (bool, string) {
		state := inspect(t, container, "{{.State.Health.Status}} {{.State.Status}}")
		return state == "healthy running", state
	}
	took := waitUntil(t, "run is healthy", 60*time.Second, health)
	logFigure(t, "`run` is healthy after %.0f s", took.Seconds())
	if got := host.run(t, "docker exec "+container+" tapedeck health stream && docker exec "+container+" tapedeck health schedule"); strings.Count(got, "healthy: ") != 2 {
		t.Errorf("health prints %s", got)
	}
	started := time.Now()
	host.run(t, "docker stop "+container)
	took = time.Since(started)
	logFigure(t, "`run` stops in %.1f s", took.Seconds())
	if code := inspect(t, container, "{{.State.ExitCode}}"); code != "0" || took > 10*time.Second {
		t.Errorf("stopped in %s with exit status %s\n%s", took, code, host.run(t, "docker logs "+container+" 2>&1"))
	}
}
