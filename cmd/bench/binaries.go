package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"tapedeck/internal/benchtest"
)

// binaries are the program and the test binaries of the packages. Each is linked once, because linking
// DuckDB takes longer than some benchmarks.
type binaries struct{ dir, program string }

func newBinaries(ctx context.Context) (*binaries, error) {
	dir, err := os.MkdirTemp("", "tapedeck-bench-")
	if err != nil {
		return nil, err
	}
	b := &binaries{dir, filepath.Join(dir, "tapedeck")}
	if err := benchtest.BuildProgram(ctx, b.program); err != nil {
		b.remove()
		return nil, err
	}
	return b, nil
}

// testOf returns the path of a package's test binary, which it builds if necessary.
func (b *binaries) testOf(ctx context.Context, pkg string) (string, error) {
	path := filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "-")+".test")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", path, "./"+pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the tests of %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

func (b *binaries) remove() { _ = os.RemoveAll(b.dir) }
