package durable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func writeText(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func newPipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWriteFileDoesNotWaitForAReader of a pipe.
func TestWriteFileDoesNotWaitForAReader(t *testing.T) {
	path := newPipe(t)
	var unread *NoReaderError
	if err := WriteFile(t.Context(), path, writeText("x")); !errors.As(err, &unread) {
		t.Error(err)
	}
}

// TestWriteFileEndsWithItsContext although the pipe is full and nobody reads it.
func TestWriteFileEndsWithItsContext(t *testing.T) {
	path := newPipe(t)
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	err = WriteFile(ctx, path, func(w io.Writer) error {
		for written := 0; ; {
			n, err := w.Write(make([]byte, 4096))
			if err != nil {
				return err
			}
			if written += n; written == 64<<10 { // the pipe may be full from here on
				cancel(stopped)
			}
		}
	})
	if !errors.Is(err, stopped) {
		t.Error(err)
	}
}

// TestWriteFileWritesDescriptors: pipes, as those of a process substitution, devices and open files.
func TestWriteFileWritesDescriptors(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := WriteFile(t.Context(), fmt.Sprintf("/dev/fd/%d", writer.Fd()), writeText("piped")); err != nil {
		t.Error(err)
	}
	writer.Close()
	if text, err := io.ReadAll(reader); err != nil || string(text) != "piped" {
		t.Errorf("%q, %v", text, err)
	}
	if err := WriteFile(t.Context(), "/dev/null", writeText("lost")); err != nil {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "open")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("before "); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(t.Context(), fmt.Sprintf("/dev/fd/%d", file.Fd()), writeText("and after")); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "before and after" {
		t.Errorf("%q, %v", text, err)
	}
}
