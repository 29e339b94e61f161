package analytics

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// kernelFiles writes files below a new root.
func kernelFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestMemoryIsThatOfTheCgroup: what counts is the least of the machine's memory and of the limits of all
// cgroups above the process, of both versions, and in a container that sees only its own.
func TestMemoryIsThatOfTheCgroup(t *testing.T) {
	const machine = "MemTotal:       4096000 kB\nMemFree: 1 kB\nMemAvailable:   2048000 kB\n"
	const v2 = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	const v1 = "31 24 0:27 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  memory
	}{
		"no files":  {nil, memory{}},
		"no cgroup": {map[string]string{"proc/meminfo": machine}, memory{4096000 << 10, 2048000 << 10}},
		"unlimited": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": v2,
			"sys/fs/cgroup/a/memory.max": "max\n"}, memory{4096000 << 10, 2048000 << 10}},
		"the parent's limit": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": v2,
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "300000000\n",
			"sys/fs/cgroup/a/memory.current": "150000000\n", "sys/fs/cgroup/a/memory.stat": "anon 50000000\ninactive_file 60000000\nactive_file 40000000\n",
		}, memory{300000000, 250000000}},
		"version 1 in a container": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "4:memory:/docker/x\n0::/\n",
			"proc/self/mountinfo":                          v1,
			"sys/fs/cgroup/memory/memory.limit_in_bytes":   "300000000\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes":   "290000000\n",
			"sys/fs/cgroup/memory/memory.stat":             "total_inactive_file 200000000\ntotal_active_file 0\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1\n"}, memory{300000000, 210000000}},
	} {
		if got := readMemory(kernelFiles(t, c.files)); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestSessionStaysWithinMemory: what DuckDB gets leaves room for what it does not count, within the memory
// of the machine and within what the user wants the process to use.
func TestSessionStaysWithinMemory(t *testing.T) {
	runtimeThreads := runtime.GOMAXPROCS(8)
	defer runtime.GOMAXPROCS(runtimeThreads)
	for _, c := range []struct {
		total, available uint64
		opt              Options
		threads          int
		limit            string
	}{
		{0, 0, Options{}, 0, "0MiB"},
		{0, 0, Options{Threads: 3, MemoryLimit: "1GiB"}, 3, "828MiB"},
		{300 << 20, 290 << 20, Options{}, 1, "158MiB"},
		{300 << 20, 290 << 20, Options{MemoryLimit: "250MiB"}, 1, "118MiB"},
		{300 << 20, 290 << 20, Options{MemoryLimit: "10MB"}, 1, "64MiB"},
		{300 << 20, 290 << 20, Options{MemoryLimit: "2GB", Threads: 2}, 2, "136MiB"},
		{300 << 20, 50 << 20, Options{}, 1, "64MiB"},
		{32 << 30, 30 << 30, Options{}, 8, "26214MiB"},
		{32 << 30, 30 << 30, Options{MemoryLimit: "1GiB"}, 4, "796MiB"},
		{32 << 30, 2 << 30, Options{}, 8, "1692MiB"},
	} {
		got, err := memory{c.total, c.available}.budget(c.opt)
		if err != nil || got.threads != c.threads || inDuckDB(got.bytes) != c.limit {
			t.Errorf("%d MB of %d MB, %+v: %d threads, %s, %v, want %d, %s",
				c.available>>20, c.total>>20, c.opt, got.threads, inDuckDB(got.bytes), err, c.threads, c.limit)
		}
	}
}

// TestSessionSaysWhenMemoryRunsOut: a query that needs more than the limit fails with one line.
func TestSessionSaysWhenMemoryRunsOut(t *testing.T) {
	session, err := OpenEmpty(t.Context(), Options{Threads: 1, MemoryLimit: "10MB"})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	_, err = session.SQL(t.Context(), "SELECT list(i) AS all_of_them FROM range(10000000) AS r(i)")
	if !IsOutOfMemory(err) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "solutions") {
		t.Errorf("error %q", err)
	}
}

// TestLimitsOfTheProcess: a limit that the user set bounds what Go keeps, and at which size the process is
// ended.
func TestLimitsOfTheProcess(t *testing.T) {
	for _, c := range []struct {
		total uint64
		limit string
		want  uint64
	}{
		{0, "", 0},
		{1000 << 20, "", 950 << 20},
		{0, "200MiB", 400 << 20},
		{1000 << 20, "200MiB", 400 << 20},
		{300 << 20, "200MiB", 285 << 20},
	} {
		if got, err := (memory{total: c.total}).mostUsed(c.limit); err != nil || got>>20 != c.want>>20 {
			t.Errorf("%d MB, limit %q: %d MB, %v, want %d MB", c.total>>20, c.limit, got>>20, err, c.want>>20)
		}
	}
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	LimitGo("300MB")
	if got := debug.SetMemoryLimit(-1); got != memoryBesides {
		t.Errorf("Go's limit is %d", got)
	}
	debug.SetMemoryLimit(50 << 20)
	if LimitGo("300MB"); debug.SetMemoryLimit(-1) != 50<<20 {
		t.Error("GOMEMLIMIT has no precedence")
	}
}

// TestMemoryIsWatched: the process that uses more than it may gets an error, and nil when it is done.
func TestMemoryIsWatched(t *testing.T) {
	if usedMemory() == 0 {
		t.Skip("this system does not say how much memory a process uses")
	}
	held := bytes.Repeat([]byte{1}, 300<<20)
	if err := WatchMemory(t.Context(), "1MB"); err == nil || !strings.HasPrefix(err.Error(), "out of memory: the process uses ") {
		t.Errorf("error %v", err)
	}
	runtime.KeepAlive(held)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := WatchMemory(done, ""); err != nil {
		t.Errorf("when it is done: %v", err)
	}
}
