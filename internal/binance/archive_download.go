package binance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"tapedeck/internal/durable"
	"tapedeck/internal/wording"
)

// Limits of a download, so that no server can fill the disk or keep it going for ever.
const (
	archiveAttempts    = 6   // of one request in a row without progress
	archiveAttemptsAll = 100 // of all requests for one file
	// archiveProgress is the number of bytes that is progress.
	archiveProgress = 1 << 20
	// archiveStall is the time in which archiveStallBytes have to arrive; otherwise the download is
	// resumed with a new request.
	archiveStall      = time.Minute
	archiveStallBytes = 64 << 10
	// archiveFileMost is the largest file in bytes. The largest ones of a day have about 1 GB.
	archiveFileMost = 5 << 30
	maxChecksumBody = 4 << 10
)

// TooLargeError is a file of the archive that is not downloaded, because it is larger than any of a day
// can be, or because the server does not say how large it is.
type TooLargeError struct {
	Bytes int64 // below 0 if the server does not say it
}

func (e *TooLargeError) Error() string {
	if e.Bytes < 0 {
		return "the server does not say how large the file is"
	}
	return fmt.Sprintf("the file has %s, a day's file has %s at most",
		humanize.IBytes(uint64(e.Bytes)), humanize.IBytes(archiveFileMost))
}

// NoRoomError is a file of the archive for which the disk has no room. It is an ENOSPC.
type NoRoomError struct {
	Need, Free int64 // in bytes; for the file itself and its trades
}

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("the file and its trades need about %s on the disk, and %s are free",
		humanize.IBytes(uint64(e.Need)), humanize.IBytes(uint64(e.Free)))
}
func (e *NoRoomError) Unwrap() error { return syscall.ENOSPC }

// download appends the bytes of address that file does not have yet. attempts bounds the requests.
func (a *Archive) download(ctx context.Context, address string, file *os.File, attempts *int) error {
	return a.retry(ctx, attempts, func(ctx context.Context) (bool, error) {
		offset, err := file.Seek(0, io.SeekEnd)
		if err == nil && offset > archiveFileMost {
			offset, err = restart(file)
		}
		if err != nil {
			return false, err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		res, err := a.get(ctx, address, offset)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		switch {
		case res.StatusCode == http.StatusRequestedRangeNotSatisfiable:
			return false, nil // the file is complete, or a different one; the checksum decides
		case res.StatusCode == http.StatusOK && offset > 0:
			if offset, err = restart(file); err != nil {
				return false, err
			}
		}
		if err := a.checkSize(filepath.Dir(file.Name()), offset, res.ContentLength); err != nil {
			return false, err
		}
		stalled := time.AfterFunc(archiveStall, func() {
			cancel(&networkError{fmt.Errorf("fewer than %s in %s", wording.Count(archiveStallBytes, "byte"), archiveStall)})
		})
		defer stalled.Stop()
		body := &watchedReader{in: io.LimitReader(res.Body, res.ContentLength), timer: stalled}
		_, err = io.Copy(file, body)
		if body.failed {
			return body.received >= archiveProgress, &networkError{fmt.Errorf("download: %w", err)}
		}
		return false, err
	})
}

// restart empties a file.
func restart(file *os.File) (offset int64, err error) {
	if err := file.Truncate(0); err != nil {
		return 0, err
	}
	return file.Seek(0, io.SeekStart)
}

// checkSize returns an error unless length more bytes can be written after offset to a file in dir.
func (a *Archive) checkSize(dir string, offset, length int64) error {
	total := offset + length
	switch {
	case length < 0:
		return &TooLargeError{Bytes: -1}
	case length > archiveFileMost || total > archiveFileMost:
		return &TooLargeError{Bytes: max(length, total)}
	}
	free, err := a.free(dir)
	if err != nil {
		return fmt.Errorf("measure the free space: %w", err)
	}
	// The trades need about as much again as the zip.
	if need := length + total; need > free {
		return &NoRoomError{Need: need, Free: free}
	}
	return nil
}

// watchedReader resets a timer with every archiveStallBytes, and separates errors of the network from
// those of the disk.
type watchedReader struct {
	in       io.Reader
	timer    *time.Timer
	failed   bool
	received int64
	recent   int64 // received since the timer was reset
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.received += int64(n)
	if r.recent += int64(n); r.recent >= archiveStallBytes {
		r.recent = 0
		r.timer.Reset(archiveStall)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed = true
	}
	return n, err
}

// retry calls try until it succeeds, fails permanently, has failed six times in a row without progress,
// or attempts is used up, from which each call takes one.
func (a *Archive) retry(ctx context.Context, attempts *int, try func(context.Context) (progress bool, err error)) error {
	backoff := time.Second
	for attempt := 1; ; attempt++ {
		*attempts--
		progress, err := try(ctx)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return cause
		}
		if progress {
			attempt, backoff = 1, time.Second
		}
		var status *StatusError
		again := Temporary(err) || errors.As(err, &status) && status.Status == http.StatusTooManyRequests
		if err == nil || !again || attempt >= archiveAttempts {
			return err
		}
		if *attempts <= 0 {
			return fmt.Errorf("given up after %s: %w", wording.Count(archiveAttemptsAll, "request"), err)
		}
		a.opt.Logger.Warn("archive request failed, trying again",
			"attempt", attempt, "wait_ms", backoff.Milliseconds(), "error", err)
		if err := a.opt.Sleep(ctx, backoff); err != nil {
			return err
		}
		backoff = min(2*backoff, backoffMost)
	}
}

func (a *Archive) free(dir string) (int64, error) {
	if a.opt.Free != nil {
		return a.opt.Free(dir)
	}
	return durable.Free(dir)
}
