package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tapedeck/internal/tape"
)

// place is where this process runs, as far as the remedy for a missing permission depends on it.
type place struct {
	uid, gid int
	// container means that the process runs in one.
	container bool
	// mounted reports whether a path is on another file system than the container itself, so that
	// its owner is set outside.
	mounted func(path string) bool
}

// thisPlace returns the place of this process.
func thisPlace(env map[string]string) place {
	return place{
		uid: os.Getuid(), gid: os.Getgid(), container: inContainer(env, os.DirFS("/")),
		mounted: func(path string) bool { return device(existing(path)) != device("/") },
	}
}

// inContainer reports whether a process with this environment and root directory runs in a
// container.
func inContainer(env map[string]string, root fs.FS) bool {
	if env["container"] != "" || env["KUBERNETES_SERVICE_HOST"] != "" { // of Podman, systemd-nspawn and LXC; of Kubernetes
		return true
	}
	for _, path := range []string{".dockerenv", "run/.containerenv"} { // of Docker; of Podman
		if _, err := fs.Stat(root, path); err == nil {
			return true
		}
	}
	groups, _ := fs.ReadFile(root, "proc/1/cgroup")
	for _, name := range []string{"/docker", "/kubepods", "/containerd", "/lxc"} {
		if strings.Contains(string(groups), name) {
			return true
		}
	}
	return false
}

// permissionHint returns what gives this user the data directory. If it is mounted into a
// container, the command must be typed outside, where the directory has another name.
func (p place) permissionHint(err error, dataDir string) string {
	user, dir := fmt.Sprintf("%d:%d", p.uid, p.gid), absolute(dataDir)
	var pathError *fs.PathError
	if errors.As(err, &pathError) && !strings.HasPrefix(absolute(pathError.Path)+"/", dir+"/") {
		return fmt.Sprintf("this process runs as user %s, which has no permission for %s", user, pathError.Path)
	}
	switch {
	case p.uid == 0:
		return "even root may not write there; name another directory with --data-dir"
	case p.container && p.mounted(dir):
		return fmt.Sprintf("this process runs as user %s; outside of the container, type: sudo chown -R %s DIR, "+
			"where DIR is the directory mounted at %s", user, user, dir)
	}
	command := fmt.Sprintf("chown -R %s %s", user, dir)
	if _, statErr := os.Stat(dir); errors.Is(statErr, fs.ErrNotExist) {
		command = fmt.Sprintf("install -d -o %d -g %d %s", p.uid, p.gid, dir)
	}
	return fmt.Sprintf("this process runs as user %s; type: sudo %s (or name another directory with --data-dir)", user, command)
}

// absolute returns the absolute form of a path, or the path itself if the working directory is unknown.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// existing returns the longest existing part of a path.
func existing(path string) string {
	for {
		if _, err := os.Lstat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// device returns the number of the file system that a path is on, or 0.
func device(path string) uint64 {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0
	}
	return uint64(stat.Dev)
}

// checkOutput returns an error if a report cannot be written to a path because of its directory, or must not
// because the path is one of the tape.
func (a *app) checkOutput(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return misuse("--out: %q is a directory; name a file", path)
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return withHint(misuse("--out: there is no directory %q", dir), "create it: mkdir -p "+dir)
	case err == nil && !info.IsDir():
		return misuse("--out: %q is not a directory", dir)
	case tape.Owns(a.dataDir, path):
		return outIsTape(path, a.dataDir)
	}
	return nil // another error is that of writing
}

func outIsTape(path, dataDir string) error {
	return misuse("--out: %q is part of the tape %q; name a file elsewhere", path, dataDir)
}
