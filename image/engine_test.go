// Package image_test builds the image with the real Dockerfile and proves on a real engine what DOCKER.md promises of it
// and of the compose stack. `make image-test` runs it; without TAPEDECK_IMAGE_TEST=1, or where no engine is, it skips.
//
// Everything that it makes carries its own name and is removed at the end. The commands of the pages use the names that
// people use, so that they are run only where nobody has a tapedeck of his own.
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

// name is the prefix of all that the test makes.
var name = fmt.Sprintf("tapedeck-image-test-%d", os.Getpid())

// hardened are the flags that DOCKER.md promises to work.
const hardened = "--read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp"

// needEngine skips where the test was not asked for or no engine is.
func needEngine(t *testing.T) {
	t.Helper()
	if os.Getenv("TAPEDECK_IMAGE_TEST") != "1" {
		t.Skip("it builds the image and takes some minutes: `make image-test` runs it")
	}
	if why := noEngine(); why != "" {
		t.Skip("no container engine: " + why)
	}
}

var noEngine = sync.OnceValue(func() string {
	for _, ask := range []string{"docker info --format '{{.ServerVersion}}'", "docker buildx version", "docker compose version"} {
		if out, err := exec.Command("bash", "-c", ask).CombinedOutput(); err != nil {
			return fmt.Sprintf("`%s` says: %s", ask, strings.TrimSpace(string(out)))
		}
	}
	return ""
})

// place is a directory that commands are typed in, with additions to their environment.
type place struct {
	dir string
	env []string
}

// run runs a bash script and returns its standard output; both outputs and the error say what went wrong.
func (p place) try(script string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir = p.dir
	command.Env = append(os.Environ(), p.env...)
	command.WaitDelay = 10 * time.Second
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	err = command.Run()
	return out.String(), problems.String(), err
}

// run is try for a script that must succeed.
func (p place) run(t *testing.T, script string) string {
	t.Helper()
	stdout, stderr, err := p.try(script)
	if err != nil {
		t.Fatalf("$ %s\n%s%s%v", script, stdout, stderr, err)
	}
	return strings.TrimSpace(stdout)
}

// fails is try for a script that must exit with status, and returns what it wrote to standard error.
func (p place) fails(t *testing.T, status int, script string) string {
	t.Helper()
	stdout, stderr, err := p.try(script)
	exit, _ := err.(*exec.ExitError)
	if exit == nil || exit.ExitCode() != status {
		t.Fatalf("$ %s\n%s%s%v, want exit status %d", script, stdout, stderr, err, status)
	}
	return stderr
}

// here is where commands are typed that need no directory.
var here place

// figure prints a measurement; they are what a reader of the log looks for.
func figure(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("FIGURE "+format, args...)
}

// until waits for something in the engine, whose clock is not ours, and asks four times a second.
func until(t *testing.T, what string, patience time.Duration, holds func() (bool, string)) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		ok, state := holds()
		took := time.Since(began)
		if ok {
			return took
		}
		if took > patience {
			t.Fatalf("not within %s: %s; it is %s", patience, what, state)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// inspect reads one value of a container.
func inspect(t *testing.T, container, format string) string {
	t.Helper()
	return here.run(t, "docker inspect -f '"+format+"' "+container)
}

// bareBuildx is what Compose wants in the environment to build with a buildx that was compiled without a version, which it
// takes for one that is too old: then it is to build by itself.
func bareBuildx(t *testing.T) []string {
	t.Helper()
	if strings.Contains(here.run(t, "docker buildx version"), " v0.0.0") {
		return []string{"COMPOSE_BAKE=false"}
	}
	return nil
}

// tree is a copy of this project as git sees it, committed to a repository of its own, that the test may change.
func tree(t *testing.T) string {
	t.Helper()
	dir := scratch(t)
	root := place{dir: ".."}
	root.run(t, `git ls-files -z -c -o --exclude-standard | while IFS= read -r -d '' f; do if [ -e "$f" ]; then printf '%s\0' "$f"; fi; done | tar --create --null --files-from - | tar --extract --directory `+dir)
	place{dir: dir}.run(t, "git init -q && git add -A && git -c user.name=test -c user.email=test@localhost commit -qm tree && git tag v0.0.0-test")
	return dir
}

// scratch is a directory that containers of any user can read.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tapedeck-image-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil { // containers may have left what only root may delete
			t.Logf("left behind: %v", err)
		}
	})
	return dir
}

// TestMain removes what is left when all is done, whatever happened.
func TestMain(m *testing.M) {
	status := m.Run()
	if os.Getenv("TAPEDECK_IMAGE_TEST") == "1" && noEngine() == "" {
		for _, clean := range []string{
			"docker ps -aq --filter name=" + name + " | xargs -r docker rm -fv",
			"docker volume ls -q --filter name=" + name + " | xargs -r docker volume rm -f",
			"docker network ls -q --filter name=" + name + " | xargs -r docker network rm",
			// By name: by its number an image would go with all names that it has, also a base image's own.
			"docker images --format '{{.Repository}}:{{.Tag}}' " + name + " | xargs -r docker rmi -f",
		} {
			if _, problems, err := here.try(clean); err != nil {
				fmt.Fprintf(os.Stderr, "$ %s\n%s%v\n", clean, problems, err)
			}
		}
	}
	os.Exit(status)
}

// exchange starts the stand-in in a container on the engine's ordinary network, and returns its name and address.
func exchange(t *testing.T, image string) (container, address string) {
	t.Helper()
	container = fmt.Sprintf("%s-exchange-%d", name, time.Now().UnixNano())
	here.run(t, "docker run -d --name "+container+" "+hardened+" --no-healthcheck "+image+" exchange --simulate --listen 0.0.0.0:9800 --history 4h --rate 5")
	t.Cleanup(func() {
		out, problems, _ := here.try("docker unpause " + container + " >/dev/null 2>&1 || true; docker stop -t 5 " + container + " >/dev/null; docker inspect -f '{{.State.ExitCode}}' " + container)
		if code := strings.TrimSpace(out); code != "0" {
			_, log, _ := here.try("docker logs --tail 20 " + container)
			t.Errorf("the stand-in exchange ended with %q, so that a client broke its rules or it failed\n%s%s", code, problems, log)
		}
		here.try("docker rm -fv " + container)
	})
	until(t, "the exchange listens", 60*time.Second, func() (bool, string) {
		_, problems, err := here.try("docker exec " + container + " bash -c 'exec 3<>/dev/tcp/127.0.0.1/9800'")
		return err == nil, problems
	})
	return container, inspect(t, container, "{{.NetworkSettings.Networks.bridge.IPAddress}}") + ":9800"
}

// pointAt writes the .env of a tree, which points everything in it at the exchange.
func pointAt(t *testing.T, dir, address string, more ...string) {
	t.Helper()
	lines := append([]string{
		"TAPEDECK_STREAM_URL=ws://" + address, "TAPEDECK_REST_URL=http://" + address, "TAPEDECK_ARCHIVE_URL=http://" + address,
	}, more...)
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// configure does the same in the config.yaml of a tree, which is where one who follows the pages says it.
func configure(t *testing.T, dir, address string) {
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

// onTheBridge writes an addition to compose.yaml that puts its services on the network that the exchange is on.
func onTheBridge(t *testing.T, dir string) string {
	t.Helper()
	services := map[string]any{}
	for service := range stackServices(t, dir) {
		if !strings.HasPrefix(service, "demo") {
			services[service] = map[string]string{"network_mode": "bridge"}
		}
	}
	return "compose.yaml:" + addition(t, "bridge.yaml", services)
}

// quickly writes an addition to compose.yaml that has the health of stream checked more often, so that a test waits for less.
func quickly(t *testing.T) string {
	t.Helper()
	return addition(t, "quickly.yaml", map[string]any{"stream": map[string]any{"healthcheck": map[string]string{"interval": "5s"}}})
}

func addition(t *testing.T, file string, services map[string]any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"services": services}) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(scratch(t), file)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
