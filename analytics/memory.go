package analytics

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// What a process needs besides the memory that DuckDB's limit counts, measured with a limit of 150 MB: a
// report with its workbook 84 MB, and each thread of a query up to 30 MB.
const (
	memoryBesides   = 100 << 20
	memoryPerThread = 32 << 20
	// threadMemory is how much memory there should be for each thread.
	threadMemory = 256 << 20
	// littleMemory is how much memory there must be so that Go need not save it.
	littleMemory = 1 << 30
	// leastMemory is the smallest limit that a session gets.
	leastMemory = 64 << 20
)

// memory is how much this process may use, in bytes: the machine's memory, or what its cgroup allows if
// that is less. Zero is unknown.
type memory struct {
	total uint64
	// available is what nothing uses at present, except for caches of files.
	available uint64
}

// readMemory reads the memory from the files of the kernel below root, which is / except in tests.
func readMemory(root string) memory {
	info := readNumbers(filepath.Join(root, "proc/meminfo"))
	m := memory{info["MemTotal:"] << 10, info["MemAvailable:"] << 10}
	for _, dir := range memoryCgroups(root) {
		// Version 2, or version 1, whose numbers of a group include those of the groups below it.
		limit := cmp.Or(readNumber(filepath.Join(dir, "memory.max")), readNumber(filepath.Join(dir, "memory.limit_in_bytes")))
		if limit == 0 || m.total > 0 && limit >= m.total {
			continue
		}
		used := cmp.Or(readNumber(filepath.Join(dir, "memory.current")), readNumber(filepath.Join(dir, "memory.usage_in_bytes")))
		stat := readNumbers(filepath.Join(dir, "memory.stat"))
		files := cmp.Or(stat["total_inactive_file"], stat["inactive_file"]) + cmp.Or(stat["total_active_file"], stat["active_file"])
		m.total = limit
		m.available = min(m.available, limit-min(limit, used-min(used, files)))
	}
	return m
}

// memoryCgroups returns the directories of the cgroups that limit the memory of this process, from the
// innermost on. In a container it may see only its own, at the top of the mounted directory.
func memoryCgroups(root string) (dirs []string) {
	paths := map[string]string{} // of this process, by kind: cgroup2, or memory for version 1
	for line := range readLines(filepath.Join(root, "proc/self/cgroup")) {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) < 3 {
			continue
		}
		if fields[1] == "" || strings.Contains(","+fields[1]+",", ",memory,") {
			paths[cmp.Or(fields[1], "cgroup2")] = fields[2]
		}
	}
	for line := range readLines(filepath.Join(root, "proc/self/mountinfo")) {
		before, after, _ := strings.Cut(line, " - ")
		mount, kind := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(kind) < 3 {
			continue
		}
		path, ok := paths["cgroup2"]
		if kind[0] == "cgroup" && strings.Contains(","+kind[2]+",", ",memory,") {
			path, ok = paths["memory"]
		} else if kind[0] != "cgroup2" {
			continue
		}
		if !ok {
			continue
		}
		top := filepath.Join(root, mount[4])
		dir := filepath.Join(top, strings.TrimPrefix(path, strings.TrimSuffix(mount[3], "/")))
		for ; strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// readLines returns the lines of a file, or none if it cannot be read.
func readLines(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		file, err := os.Open(path)
		if err != nil {
			return
		}
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if !yield(lines.Text()) {
				return
			}
		}
	}
}

// readNumbers returns the first number of each line by the word before it.
func readNumbers(path string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range readLines(path) {
		if fields := strings.Fields(line); len(fields) > 1 {
			out[fields[0]], _ = strconv.ParseUint(fields[1], 10, 64)
		}
	}
	return out
}

// readNumber returns the number in a file, or 0 if there is none.
func readNumber(path string) uint64 {
	for line := range readLines(path) {
		n, _ := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		return n
	}
	return 0
}

// budget is what a session may use.
type budget struct {
	threads int    // 0 leaves the choice to DuckDB
	bytes   uint64 // what DuckDB counts; 0 leaves the choice to DuckDB
}

// budget returns what a session may use such that the process stays within its memory, and within what the
// user wants it to use.
func (m memory) budget(wanted Options) (budget, error) {
	out := budget{threads: wanted.Threads}
	if wanted.MemoryLimit != "" {
		bytes, err := humanize.ParseBytes(wanted.MemoryLimit)
		if err != nil {
			return budget{}, fmt.Errorf("%q is not an amount of memory: %w", wanted.MemoryLimit, err)
		}
		if m.total == 0 || bytes < m.total {
			m.total = bytes
		}
	}
	if m.total == 0 {
		return out, nil
	}
	if out.threads == 0 {
		// GOMAXPROCS is the number of processors that the cgroup allows.
		out.threads = max(1, min(runtime.GOMAXPROCS(0), int(min(m.total/threadMemory, math.MaxInt32))))
	}
	besides := memoryBesides + uint64(out.threads)*memoryPerThread
	if wanted.MemoryLimit != "" {
		out.bytes = m.total - min(m.total, besides)
	} else {
		out.bytes = min(m.total/5*4, m.available-min(m.available, besides))
	}
	out.bytes = max(out.bytes, leastMemory)
	return out, nil
}

// LimitGo has Go's garbage collector keep to what memoryBesides reserves for it if limit, an Options.MemoryLimit,
// is set or the machine or the container has little memory. GOMEMLIMIT has precedence.
func LimitGo(limit string) {
	total := readMemory("/").total
	if (limit != "" || total > 0 && total < littleMemory) && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memoryBesides)
	}
}

// watchEvery is how often WatchMemory looks. In that time, a process allocates some MB.
const watchEvery = 20 * time.Millisecond

// WatchMemory returns an error once this process uses much more memory than limit, an Options.MemoryLimit,
// or almost all that the machine or the container has. It returns nil when ctx is done, or at once on a
// system that does not say how much a process uses.
func WatchMemory(ctx context.Context, limit string) error {
	most, err := readMemory("/").mostUsed(limit)
	if err != nil || most == 0 {
		return nil // opening a session says what is wrong
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch used := usedMemory(); {
		case used == 0:
			return nil
		case used > most:
			return fmt.Errorf("out of memory: the process uses %s and may not use more than %s", humanize.Bytes(used), humanize.Bytes(most))
		}
	}
}

// mostUsed returns how much memory a process may use before it is ended, in bytes; 0 if that is unknown.
// Beyond a limit that the user set, there is room for what DuckDB and Go do not count.
func (m memory) mostUsed(limit string) (uint64, error) {
	most := m.total / 100 * 95
	if limit != "" {
		bytes, err := humanize.ParseBytes(limit)
		if err != nil {
			return 0, err
		}
		if wanted := bytes/2*3 + memoryBesides; most == 0 || wanted < most {
			most = wanted
		}
	}
	return most, nil
}

// usedMemory returns how much memory this process uses, without pages of files, in bytes; 0 if that is
// unknown.
func usedMemory() uint64 {
	for line := range readLines("/proc/self/statm") {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return 0
		}
		resident, _ := strconv.ParseUint(fields[1], 10, 64)
		shared, _ := strconv.ParseUint(fields[2], 10, 64)
		return (resident - min(resident, shared)) * uint64(os.Getpagesize())
	}
	return 0
}

// inDuckDB returns bytes in DuckDB's notation.
func inDuckDB(bytes uint64) string { return fmt.Sprintf("%dMiB", bytes>>20) }
