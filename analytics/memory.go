package analytics

import (
	"bufio"
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// What a process needs besides the memory that DuckDB's limit counts, measured with a limit of 150 MB: a
// report with its workbook 84 MB, and each thread of a query up to 30 MB.
const (
	memoryBesides   = 100 << 20
	memoryPerThread = 32 << 20
	// threadMemory is how much memory there should be for each thread.
	threadMemory = 256 << 20
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

// inDuckDB returns bytes in DuckDB's notation.
func inDuckDB(bytes uint64) string { return fmt.Sprintf("%dMiB", bytes>>20) }
