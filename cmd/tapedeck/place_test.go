package main

import (
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

func TestContainerIsDetected(t *testing.T) {
	file := &fstest.MapFile{}
	for name, c := range map[string]struct {
		env  map[string]string
		root fstest.MapFS
		want bool
	}{
		"a plain host":       {nil, fstest.MapFS{"proc/1/cgroup": {Data: []byte("0::/init.scope\n")}}, false},
		"no proc":            {nil, nil, false},
		"Docker":             {nil, fstest.MapFS{".dockerenv": file}, true},
		"Podman":             {nil, fstest.MapFS{"run/.containerenv": file}, true},
		"Podman, by its env": {map[string]string{"container": "podman"}, nil, true},
		"Kubernetes":         {map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, nil, true},
		"an old cgroup":      {nil, fstest.MapFS{"proc/1/cgroup": {Data: []byte("12:pids:/docker/0123\n")}}, true},
	} {
		if got := inContainer(c.env, c.root); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestPermissionHintFitsThePlace requires container words only where the data directory is mounted into
// a container, and no chown for root.
func TestPermissionHintFitsThePlace(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	denied := func(path string) error { return &fs.PathError{Op: "open", Path: path, Err: syscall.EACCES} }
	host := place{uid: 1000, gid: 100, mounted: func(string) bool { return false }}
	mounted, inside := host, host
	mounted.container, mounted.mounted = true, func(string) bool { return true }
	inside.container = true // a development container, with the data in it
	for name, c := range map[string]struct {
		place place
		err   error
		dir   string
		want  string
	}{
		"a plain host": {host, denied(filepath.Join(dir, "tape.json")), dir,
			"this process runs as user 1000:100; type: sudo chown -R 1000:100 " + dir + " (or name another directory with --data-dir)"},
		"a directory that does not exist": {host, denied(missing), missing, "type: sudo install -d -o 1000 -g 100 " + missing + " "},
		"a mounted directory": {mounted, denied(filepath.Join(dir, "x")), dir,
			"outside of the container, type: sudo chown -R 1000:100 DIR, where DIR is the directory mounted at " + dir},
		"a directory of the container itself": {inside, denied(filepath.Join(dir, "x")), dir, "type: sudo chown -R 1000:100 " + dir + " "},
		"another file":                        {host, denied("/etc/shadow"), dir, "this process runs as user 1000:100, which has no permission for /etc/shadow"},
		"root":                                {place{}, denied(filepath.Join(dir, "x")), dir, "even root may not write there"},
	} {
		got := c.place.permissionHint(c.err, c.dir)
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %q lacks %q", name, got, c.want)
		}
		if strings.Contains(got, "container") != (name == "a mounted directory") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestReadOnlyTapeHasAHint(t *testing.T) {
	a := &app{dataDir: "data"}
	if hint := a.hint(&fs.PathError{Op: "open", Path: "data/tape.json", Err: syscall.EROFS}); !strings.Contains(hint, "mounted read-only") {
		t.Errorf("hint %q", hint)
	}
}
