// Package image_test builds the image with the real Dockerfile and tests the claims of DOCKER.md about
// the image and the compose stack on a real engine. `make image-test` runs it. It is skipped without
// TAPEDECK_IMAGE_TEST=1 and without an engine.
//
// All containers, volumes and images of the tests have a common prefix and are removed at the end. The
// commands of the documentation use their own names, so they are skipped on a machine that already
// has a volume or container named tapedeck.
package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// prefix begins the names of all containers, volumes and images of the tests.
var prefix = fmt.Sprintf("tapedeck-image-test-%d", os.Getpid())

// hardened lists the flags that DOCKER.md recommends.
const hardened = "--read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp"

// needEngine skips the test if it was not requested or there is no engine.
func needEngine(t *testing.T) {
	t.Helper()
	if os.Getenv("TAPEDECK_IMAGE_TEST") != "1" {
		t.Skip("takes several minutes: run `make image-test`")
	}
	if why := noEngine(); why != "" {
		t.Skip("no container engine: " + why)
	}
}

var noEngine = sync.OnceValue(func() string {
	for _, command := range []string{"docker info --format '{{.ServerVersion}}'", "docker buildx version", "docker compose version"} {
		if out, err := exec.Command("bash", "-c", command).CombinedOutput(); err != nil {
			return fmt.Sprintf("`%s`: %s", command, strings.TrimSpace(string(out)))
		}
	}
	return ""
})

// shell runs commands in a directory with additional environment variables.
type shell struct {
	dir string
	env []string
}

// try runs a bash script and returns its outputs.
func (s shell) try(script string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 35*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir = s.dir
	command.Env = append(os.Environ(), s.env...)
	command.WaitDelay = 10 * time.Second
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	err = command.Run()
	return out.String(), problems.String(), err
}

// run is try for a script that must succeed. It returns its trimmed standard output.
func (s shell) run(t *testing.T, script string) string {
	t.Helper()
	stdout, stderr, err := s.try(script)
	if err != nil {
		t.Fatalf("$ %s\n%s%s%v", script, stdout, stderr, err)
	}
	return strings.TrimSpace(stdout)
}

// fails is try for a script that must exit with a status. It returns its standard error.
func (s shell) fails(t *testing.T, status int, script string) string {
	t.Helper()
	stdout, stderr, err := s.try(script)
	exit, _ := err.(*exec.ExitError)
	if exit == nil || exit.ExitCode() != status {
		t.Fatalf("$ %s\n%s%s%v, want exit status %d", script, stdout, stderr, err, status)
	}
	return stderr
}

// host runs commands that need no directory.
var host shell

// logFigure logs a measurement with a mark that can be searched for.
func logFigure(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("FIGURE "+format, args...)
}

// waitUntil polls a condition of the engine four times a second, and returns how long it took.
func waitUntil(t *testing.T, what string, timeout time.Duration, condition func() (bool, string)) time.Duration {
	t.Helper()
	started := time.Now()
	for {
		ok, state := condition()
		took := time.Since(started)
		if ok {
			return took
		}
		if took > timeout {
			t.Fatalf("not within %s: %s; the state is %s", timeout, what, state)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// inspect returns a value of a container.
func inspect(t *testing.T, container, format string) string {
	t.Helper()
	return host.run(t, "docker inspect -f '"+format+"' "+container)
}

// buildxEnv returns the environment that Compose needs to build. It considers a buildx that was
// compiled without a version too old, and must then build by itself.
func buildxEnv(t *testing.T) []string {
	t.Helper()
	if strings.Contains(host.run(t, "docker buildx version"), " v0.0.0") {
		return []string{"COMPOSE_BAKE=false"}
	}
	return nil
}

// projectCopy returns a copy of the project's files in a git repository that the test may change.
func projectCopy(t *testing.T) string {
	t.Helper()
	dir := readableDir(t)
	root := shell{dir: ".."}
	root.run(t, `git ls-files -z -c -o --exclude-standard | while IFS= read -r -d '' f; do if [ -e "$f" ]; then printf '%s\0' "$f"; fi; done | tar --create --null --files-from - | tar --extract --directory `+dir)
	shell{dir: dir}.run(t, "git init -q && git add -A && git -c user.name=test -c user.email=test@localhost commit -qm tree && git tag v0.0.0-test")
	return dir
}

// readableDir returns a temporary directory that containers of any user can read.
func readableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tapedeck-image-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil { // containers may have created files that only root may delete
			t.Logf("not removed: %v", err)
		}
	})
	return dir
}

// TestMain removes everything with the prefix after the tests.
func TestMain(m *testing.M) {
	status := m.Run()
	if os.Getenv("TAPEDECK_IMAGE_TEST") == "1" && noEngine() == "" {
		for _, clean := range []string{
			"docker ps -aq --filter name=" + prefix + " | xargs -r docker rm -fv",
			"docker volume ls -q --filter name=" + prefix + " | xargs -r docker volume rm -f",
			"docker network ls -q --filter name=" + prefix + " | xargs -r docker network rm",
			// Removing an image by its id would also remove other names of it, such as a base image's.
			"docker images --format '{{.Repository}}:{{.Tag}}' " + prefix + " | xargs -r docker rmi -f",
		} {
			if _, problems, err := host.try(clean); err != nil {
				fmt.Fprintf(os.Stderr, "$ %s\n%s%v\n", clean, problems, err)
			}
		}
	}
	os.Exit(status)
}

// startExchange starts the stand-in in a container on the engine's default network, and returns its
// name and address.
func startExchange(t *testing.T, image string) (container, address string) {
	t.Helper()
	container = fmt.Sprintf("%s-exchange-%d", prefix, time.Now().UnixNano())
	host.run(t, "docker run -d --name "+container+" "+hardened+" --no-healthcheck "+image+" exchange --simulate --listen 0.0.0.0:9800 --history 40h --rate 5")
	t.Cleanup(func() {
		out, problems, _ := host.try("docker unpause " + container + " >/dev/null 2>&1 || true; docker stop -t 5 " + container + " >/dev/null; docker inspect -f '{{.State.ExitCode}}' " + container)
		if code := strings.TrimSpace(out); code != "0" {
			_, log, _ := host.try("docker logs --tail 20 " + container)
			t.Errorf("the stand-in exchange ended with %q: it failed or a client committed offences\n%s%s", code, problems, log)
		}
		host.try("docker rm -fv " + container)
	})
	waitUntil(t, "the exchange listens", 60*time.Second, func() (bool, string) {
		_, problems, err := host.try("docker exec " + container + " bash -c 'exec 3<>/dev/tcp/127.0.0.1/9800'")
		return err == nil, problems
	})
	return container, inspect(t, container, "{{.NetworkSettings.Networks.bridge.IPAddress}}") + ":9800"
}

// writeEnv writes the .env of a project copy, which points its services at the exchange.
func writeEnv(t *testing.T, dir, address string, more ...string) {
	t.Helper()
	lines := append([]string{
		"TAPEDECK_STREAM_URL=ws://" + address, "TAPEDECK_REST_URL=http://" + address, "TAPEDECK_ARCHIVE_URL=http://" + address,
	}, more...)
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// appendConfig does the same in the config.yaml of a project copy, as the documentation recommends.
func appendConfig(t *testing.T, dir, address string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, "config.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(file, "\nstream_url: ws://%s\nrest_url: http://%[1]s\narchive_url: http://%[1]s\n", address)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

// withBridgeNetwork writes an override of compose.yaml that puts its services on the network of the
// exchange, and returns the value of COMPOSE_FILE.
func withBridgeNetwork(t *testing.T, dir string) string {
	t.Helper()
	services := map[string]any{}
	for service := range stackServices(t, dir) {
		if !strings.HasPrefix(service, "demo") {
			services[service] = map[string]string{"network_mode": "bridge"}
		}
	}
	return "compose.yaml:" + writeOverride(t, "bridge.yaml", services)
}

// frequentHealthChecks writes an override of compose.yaml that checks the health of stream more often,
// so that a test waits less.
func frequentHealthChecks(t *testing.T) string {
	t.Helper()
	return writeOverride(t, "health.yaml", map[string]any{"stream": map[string]any{"healthcheck": map[string]string{"interval": "5s"}}})
}

func writeOverride(t *testing.T, file string, services map[string]any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"services": services}) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(readableDir(t), file)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
