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

// sizeLimit is what the image may weigh, in bytes as `docker image inspect` counts them.
const sizeLimit = 160e6

var (
	buildOnce sync.Once
	builtName string
)

// built gives the name of the image, which the first test to ask builds from nothing: no layer, no module and no compiled
// package is there from before. TAPEDECK_IMAGE_TEST_IMAGE names one that is there already, for work on the other tests.
func built(t *testing.T) string {
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

// What the images of the test say that they are.
const testVersion, testCommit = "v1.2.3-test", "0123456789ab"

// secret is what must not get into the image.
const secret = "hunter2-correct-horse-battery-staple"

func build(t *testing.T) string {
	dir := tree(t)
	// The Dockerfile with caches of its own, which are emptied before and after, so that the first build really is one
	// and nobody else's cache is.
	text, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	mounts := regexp.MustCompile(`type=cache,target=`)
	if got := len(mounts.FindAll(text, -1)); got != 3 {
		t.Fatalf("%d cache mounts in the Dockerfile, want 3", got)
	}
	own := mounts.ReplaceAllString(string(text), "type=cache,id=tapedeck-image-test,target=")
	own = strings.ReplaceAll(own, "id=tapedeck-image-test,target=/go/pkg/mod", "id=tapedeck-image-test-mod,target=/go/pkg/mod")
	file := filepath.Join(scratch(t), "Dockerfile")
	if err := os.WriteFile(file, []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	empty := func() {
		here.run(t, `docker build -q --no-cache -t `+name+`:empty -f - `+scratch(t)+` <<'END' >/dev/null
FROM `+fromArg(t, string(text), "BUILDER_IMAGE")+`
RUN --mount=type=cache,id=tapedeck-image-test-mod,target=/a --mount=type=cache,id=tapedeck-image-test,target=/b find /a /b -mindepth 1 -delete
END
docker rmi `+name+`:empty >/dev/null`)
	}
	empty()
	t.Cleanup(empty)

	// What must not find its way in.
	for _, path := range []string{".env", "secret.txt", "data/tape.json", "cmd/tapedeck/testdata/secret"} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(secret), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command := func(more, tag string) string {
		return "docker build --progress=plain " + more + " -f " + file + " -t " + tag +
			" --build-arg GOPROXY --build-arg GOSUMDB --build-arg GONOSUMDB --build-arg GOPRIVATE --build-arg GOFLAGS" +
			" --build-arg VERSION=" + testVersion + " --build-arg COMMIT=" + testCommit + " " + dir + " 2>&1"
	}
	began := time.Now()
	here.run(t, command("--no-cache", name+":first"))
	first := time.Since(began)

	// One file of a package that everything stands on.
	changed := filepath.Join(dir, "internal/tape/tape.go")
	code, err := os.ReadFile(changed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(changed, append(code, "\n// Changed is what a rebuild finds changed.\nvar Changed = \"changed\"\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	log := here.run(t, command("", name+":second"))
	again := time.Since(began)
	figure(t, "first build %.0f s, rebuild after a change of one Go file %.0f s, %.2f of it", first.Seconds(), again.Seconds(), again.Seconds()/first.Seconds())
	if again > first/3 {
		t.Errorf("the rebuild took %s, more than a third of the first build's %s", again, first)
	}
	if strings.Contains(log, "go: downloading") || !regexp.MustCompile(`(?s)go mod download.*?\n#\d+ CACHED`).MatchString(log) {
		t.Errorf("the rebuild downloaded modules again:\n%s", log)
	}
	if here.run(t, "docker image inspect -f '{{.Id}}' "+name+":first") == here.run(t, "docker image inspect -f '{{.Id}}' "+name+":second") {
		t.Error("the change of a Go file did not change the image")
	}

	// Other base images, as one who pins them by digest names them. Here they are the same ones under another name.
	for _, arg := range []string{"BUILDER_IMAGE", "RUNTIME_IMAGE"} {
		here.run(t, "docker tag "+fromArg(t, string(text), arg)+" "+name+":"+strings.ToLower(arg))
	}
	here.run(t, command("--build-arg BUILDER_IMAGE="+name+":builder_image --build-arg RUNTIME_IMAGE="+name+":runtime_image", name+":pinned"))
	if got := here.run(t, `docker image inspect -f '{{index .Config.Labels "org.opencontainers.image.base.name"}}' `+name+":pinned"); got != name+":runtime_image" {
		t.Errorf("the image with another base says that it stands on %q", got)
	}
	return name + ":first"
}

// fromArg is the default of a build argument.
func fromArg(t *testing.T, dockerfile, arg string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ARG ` + arg + `=(.+)$`).FindStringSubmatch(dockerfile)
	if found == nil {
		t.Fatalf("the Dockerfile has no ARG %s", arg)
	}
	return found[1]
}

func TestWhatTheImageIs(t *testing.T) {
	image := built(t)
	var config struct {
		User, StopSignal, WorkingDir string
		Entrypoint, Cmd              []string
		Volumes, ExposedPorts        map[string]any
		Labels                       map[string]string
		Env                          []string
		Healthcheck                  struct{ Test []string }
	}
	if err := json.Unmarshal([]byte(here.run(t, "docker image inspect -f '{{json .Config}}' "+image)), &config); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(config.User, config.StopSignal, config.WorkingDir, config.Entrypoint, config.Cmd, config.Volumes, config.ExposedPorts, config.Healthcheck.Test)
	want := fmt.Sprint("1000:1000", "SIGTERM", "/app", []string{"/usr/local/bin/tapedeck"}, []string{"run"}, map[string]any{"/app/data": map[string]any{}}, map[string]any{},
		[]string{"CMD", "tapedeck", "health"})
	if got != want {
		t.Errorf("the image is\n%s, want\n%s", got, want)
	}
	for label, want := range map[string]string{"title": "tapedeck", "version": testVersion, "revision": testCommit, "base.name": "debian:trixie-slim"} {
		if got := config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	version := here.run(t, "docker run --rm "+hardened+" "+image+" version")
	if !strings.Contains(version, testVersion) || !strings.Contains(version, testCommit) {
		t.Errorf("version says %s", version)
	}

	size, err := strconv.ParseFloat(here.run(t, "docker image inspect -f '{{.Size}}' "+image), 64)
	if err != nil {
		t.Fatal(err)
	}
	base, err := strconv.ParseFloat(here.run(t, "docker image inspect -f '{{.Size}}' debian:trixie-slim"), 64)
	if err != nil {
		t.Fatal(err)
	}
	figure(t, "the image is %.1f MB, %.1f MB of it the base image", size/1e6, base/1e6)
	if size >= sizeLimit {
		t.Errorf("the image is %.1f MB, and %.0f MB is the limit", size/1e6, sizeLimit/1e6)
	}
}

func TestWhatIsInTheImage(t *testing.T) {
	image := built(t)
	inside := func(flags, script string) string {
		return here.run(t, "docker run --rm "+flags+" --entrypoint sh "+image+" -c '"+script+"'")
	}
	if got := inside(hardened, "whoami; id -u; id -g"); got != "appuser\n1000\n1000" {
		t.Errorf("it runs as %q", got)
	}
	if got := inside(hardened, `for d in / /app /etc /usr /var; do if touch $d/probe 2>/dev/null; then echo "$d can be written"; fi; done; touch /tmp/probe /app/data/probe`); got != "" {
		t.Error(got)
	}
	// As root, and without read-only, so that nothing hides.
	all := "--user 0 --network none"
	if got := inside(all, "command -v gcc cc g++ c++ ld as go gofmt make git; find / -xdev \\( -name \"*.go\" -o -name go.mod -o -name \"*.a\" -o -name \"*_test*\" -o -name testdata \\) -not -path \"/proc/*\" -not -path \"/usr/share/perl*\" -not -path \"/usr/lib/*/perl*\"; ls -d /src /go /usr/local/go 2>/dev/null || true"); got != "" {
		t.Errorf("tools and sources in the image:\n%s", got)
	}
	const setuid = `find / -xdev -perm /6000 -type f | sort`
	if base, got := here.run(t, "docker run --rm --entrypoint sh debian:trixie-slim -c '"+setuid+"'"), inside(all, setuid); got != base {
		t.Errorf("setuid and setgid files:\n%s\nin the base image:\n%s", got, base)
	}
	if got := inside(all, "! grep -rlF "+secret+" / --exclude-dir=proc --exclude-dir=sys 2>/dev/null"); got != "" {
		t.Errorf("a secret of the build directory got into %s", got)
	}
	if history := here.run(t, "docker history --no-trunc "+image); strings.Contains(history, secret) || strings.Contains(history, "GOPROXY") {
		t.Errorf("the history tells where modules came from:\n%s", history)
	}
	if got := inside(all, "ldd /usr/local/bin/tapedeck"); strings.Contains(got, "stdc++") || strings.Contains(got, "not found") {
		t.Errorf("the binary wants libraries:\n%s", got)
	}
	if got := inside(all, "test -s /etc/ssl/certs/ca-certificates.crt && grep -c BEGIN /etc/ssl/certs/ca-certificates.crt"); got == "0" {
		t.Error("there are no certificates to check TLS connections against")
	}
}

// All of tapedeck runs under the strictest flags, without a network.
func TestDemoHardened(t *testing.T) {
	image := built(t)
	began := time.Now()
	out := here.run(t, "docker run --rm --network none "+hardened+" "+image+" demo --dir /tmp/demo")
	figure(t, "the demo in a container without network, read-only and without capabilities: %.0f s", time.Since(began).Seconds())
	if !strings.Contains(out, "Done in ") {
		t.Errorf("the demo ended with\n%s", out)
	}
}

// Any user that can write the volume will do, and one that cannot is told in one line what to type.
func TestUsers(t *testing.T) {
	image := built(t)
	dir := scratch(t)
	for _, c := range []struct {
		what, flags, user string
		owner             int
		hint              string
	}{
		{"its own user", "", "1000:1000", 1000, ""},
		{"another user", "--user 4321:77", "4321:77", 4321, ""},
		{"a user without write permission", "", "1000:1000", 0, "hint: this process runs as user 1000:1000; outside of the container type: sudo chown -R 1000:1000 DIR, where DIR is what is mounted at /app/data"},
		{"another user without write permission", "--user 4321:77", "4321:77", 1000, "hint: this process runs as user 4321:77; outside of the container type: sudo chown -R 4321:77 DIR, where DIR is what is mounted at /app/data"},
	} {
		t.Run(c.what, func(t *testing.T) {
			data := filepath.Join(dir, strings.ReplaceAll(c.what, " ", "_"))
			here.run(t, fmt.Sprintf("docker run --rm --user 0 --entrypoint sh -v %s:/parent %s -c 'mkdir /parent/%s && chown %d:%d /parent/%[3]s'", dir, image, filepath.Base(data), c.owner, c.owner))
			t.Cleanup(func() {
				here.try("docker run --rm --user 0 --entrypoint rm -v " + dir + ":/parent " + image + " -rf /parent/" + filepath.Base(data))
			})
			script := "docker run --rm --network none " + hardened + " " + c.flags + " -v " + data + ":/app/data " + image
			if c.hint == "" {
				here.run(t, script+" db-migrate")
				if got := here.run(t, script+` query --format csv "SELECT count(*) AS n FROM trades"`); got != "n\n0" {
					t.Errorf("query says %q", got)
				}
				return
			}
			for _, command := range []string{"stream", "schedule", "run", "db-migrate", "backfill --since 1h"} {
				lines := strings.Split(strings.TrimSpace(here.fails(t, 1, script+" "+command)), "\n")
				lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "{") }) // log lines
				if len(lines) != 2 || !strings.Contains(lines[0], "permission denied") || lines[1] != c.hint {
					t.Errorf("%s says\n%s\nwant a line and\n%s", command, strings.Join(lines, "\n"), c.hint)
				}
			}
		})
	}
}

// A directory that a newer tapedeck made is refused by everything that would write, and left as it is; two that come to a
// new one at once share it.
func TestVersionsOfADirectory(t *testing.T) {
	image := built(t)
	volume := name + "-versions"
	script := "docker run --rm --network none " + hardened + " -v " + volume + ":/app/data "
	here.run(t, script+image+" db-migrate & one=$!; "+script+image+" db-migrate & two=$!; wait $one && wait $two")
	if got := here.run(t, script+image+` query --format csv "SELECT count(*) AS n FROM trades"`); got != "n\n0" {
		t.Errorf("query says %q", got)
	}
	here.run(t, script+`--entrypoint bash `+image+` -c 'sed -i "s/\"format\": *[0-9]*/\"format\": 99/" data/tape.json && grep -q 99 data/tape.json'`)
	sum := script + "--entrypoint sh " + image + " -c 'find data -type f | sort | xargs sha256sum'"
	before := here.run(t, sum)
	for _, command := range []string{"stream", "schedule", "run", "db-migrate", "backfill --since 1h", "verify"} {
		if got := here.fails(t, 1, script+image+" "+command); !strings.Contains(got, "made by a newer tapedeck") {
			t.Errorf("%s says %s", command, got)
		}
	}
	if after := here.run(t, sum); after != before {
		t.Errorf("a refused directory was changed:\n%s\nafter\n%s", before, after)
	}
}

// A directory of before is brought to this version by the services themselves, two of them at once: what is missing is made
// and market.duckdb made anew.
func TestOlderDirectory(t *testing.T) {
	image := built(t)
	_, address := exchange(t, image)
	volume := name + "-older"
	script := "docker run --rm --network none " + hardened + " -v " + volume + ":/app/data "
	here.run(t, script+image+" db-migrate")
	here.run(t, script+"--entrypoint bash "+image+` -c 'rm -r data/coverage data/alerts data/.staging && echo old > data/market.duckdb && echo "{\"made_of\": \"older\"}" > data/.state/market.json'`)
	services := map[string]string{"stream": name + "-older-stream", "schedule": name + "-older-schedule"}
	for service, container := range services {
		here.run(t, "docker run -d --name "+container+" "+hardened+" --health-interval 2s -v "+volume+":/app/data -e TAPEDECK_STREAM_URL=ws://"+address+
			" -e TAPEDECK_REST_URL=http://"+address+" -e TAPEDECK_ARCHIVE_URL=http://"+address+" "+image+" "+service)
	}
	for service, container := range services {
		until(t, service+" is well", time.Minute, func() (bool, string) {
			_, problems, err := here.try("docker exec " + container + " tapedeck health " + service)
			return err == nil, problems
		})
	}
	here.run(t, "docker exec "+services["stream"]+" tapedeck verify")
	if log := here.run(t, "docker logs "+services["stream"]+" 2>&1; docker logs "+services["schedule"]+" 2>&1"); !strings.Contains(log, "views for other tools made") || strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the logs say\n%s", log)
	}
	here.run(t, script+"--entrypoint bash "+image+" -c 'test -d data/coverage && test -d data/alerts && test -d data/.staging && ! grep -q older data/.state/market.json && test $(stat -c %s data/market.duckdb) -gt 1000'")
	here.run(t, "docker stop "+services["stream"]+" "+services["schedule"])
}

// Without an exchange a stream is unhealthy from the start, says why, and ends with an error.
func TestNoExchange(t *testing.T) {
	image := built(t)
	_, address := exchange(t, image)
	container := name + "-alone"
	here.run(t, "docker run -d --name "+container+" "+hardened+" --health-interval 1s --health-start-period 2s --health-retries 2 -e TAPEDECK_STREAM_URL=ws://127.0.0.1:9 -e TAPEDECK_REST_URL=http://"+address+
		" -e TAPEDECK_GIVE_UP_AFTER=30s "+image+" stream")
	until(t, "stream is unhealthy", 30*time.Second, func() (bool, string) {
		state := inspect(t, container, "{{.State.Health.Status}} {{.State.Status}}")
		return state == "unhealthy running", state
	})
	if probes := inspect(t, container, "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}"); strings.Contains(probes, "0 healthy") {
		t.Errorf("it was healthy without a trade: %s", probes)
	}
	until(t, "health says why", 30*time.Second, func() (bool, string) {
		_, problems, _ := here.try("docker exec " + container + " tapedeck health stream")
		return strings.Contains(problems, "no trade has come yet: connection 1.1 is down: "), problems
	})
	until(t, "stream has ended", time.Minute, func() (bool, string) {
		state := inspect(t, container, "{{.State.Status}} {{.State.ExitCode}}")
		return state == "exited 1", state
	})
	if log := here.run(t, "docker logs --tail 1 "+container+" 2>&1"); !strings.Contains(log, "the exchange could not be reached for 30s") {
		t.Errorf("it ended with %s", log)
	}
}

// The commands that the project promises of the image, as one types them.
func TestPromisedCommands(t *testing.T) {
	image := built(t)
	if got := here.fails(t, 1, "docker run --rm "+image+" report --since 24h"); !strings.HasPrefix(got, "tapedeck: no tape at \"data\"\nhint: ") || !strings.Contains(got, "-v ") {
		t.Errorf("a report without a volume says %s", got)
	}
	_, address := exchange(t, image)
	script := "docker run --rm -v " + name + "-promised:/app/data -e TAPEDECK_REST_URL=http://" + address + " -e TAPEDECK_ARCHIVE_URL=http://" + address + " " + image
	here.run(t, script+" db-migrate")
	here.run(t, script+" backfill --hours 13")
	if got := here.run(t, script+" report --since 24h"); !strings.Contains(got, "BTCUSDT") {
		t.Errorf("the report says %s", got)
	}
	here.run(t, script+" verify")
}

// What the image does if nothing else is said: it records and runs its own schedule, and its own health check sees it.
func TestDefaultCommand(t *testing.T) {
	image := built(t)
	_, address := exchange(t, image)
	container := name + "-run"
	here.run(t, "docker run -d --name "+container+" "+hardened+" -e TAPEDECK_STREAM_URL=ws://"+address+" -e TAPEDECK_REST_URL=http://"+address+
		" -e TAPEDECK_ARCHIVE_URL=http://"+address+" "+image)
	health := func() (bool, string) {
		state := inspect(t, container, "{{.State.Health.Status}} {{.State.Status}}")
		return state == "healthy running", state
	}
	took := until(t, "run is healthy", 60*time.Second, health)
	figure(t, "`run` is healthy after %.0f s", took.Seconds())
	if got := here.run(t, "docker exec "+container+" tapedeck health stream && docker exec "+container+" tapedeck health schedule"); strings.Count(got, "healthy: ") != 2 {
		t.Errorf("health says %s", got)
	}
	began := time.Now()
	here.run(t, "docker stop "+container)
	took = time.Since(began)
	figure(t, "`run` is stopped in %.1f s", took.Seconds())
	if code := inspect(t, container, "{{.State.ExitCode}}"); code != "0" || took > 10*time.Second {
		t.Errorf("stopped in %s with exit status %s\n%s", took, code, here.run(t, "docker logs "+container+" 2>&1"))
	}
}
