package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// binaries are the program and the packages' tests, each linked once: with DuckDB in it that takes longer than some benchmarks.
type binaries struct{ dir, program string }

// newBinaries builds the program as make build does.
func newBinaries(ctx context.Context) (*binaries, error) {
	dir, err := os.MkdirTemp("", "tapedeck-bench-")
	if err != nil {
		return nil, err
	}
	b := &binaries{dir, filepath.Join(dir, "tapedeck")}
	if err := build(ctx, "build", "-trimpath", "-ldflags", "-s -w", "-o", b.program, "./cmd/tapedeck"); err != nil {
		b.remove()
		return nil, err
	}
	return b, nil
}

// testOf is the path of a package's tests.
func (b *binaries) testOf(ctx context.Context, pkg string) (string, error) {
	path := filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "-")+".test")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, build(ctx, "test", "-c", "-o", path, "./"+pkg)
}

func (b *binaries) remove() { _ = os.RemoveAll(b.dir) }

func build(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
