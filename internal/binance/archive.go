package binance

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/flate"
)

// ErrNotInArchive says that the archive does not have a file or its checksum: not yet (a day comes some hours after
// its end, at times days), or no more.
var ErrNotInArchive = errors.New("not in the archive")

// ChecksumError is a file that is not the one its checksum was made for, also when fetched anew.
type ChecksumError struct {
	Name, Want, Got string
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s has the sha256 %s, its checksum says %s", e.Name, e.Got, e.Want)
}

const (
	archiveAttempts = 6
	archiveStall    = time.Minute // without a byte, a download is begun again where it stood
	maxChecksumBody = 4 << 10
)

// Archive fetches the daily files of spot trades, as laid out in https://github.com/binance/binance-public-data.
type Archive struct {
	baseURL string
	client  *http.Client
	sleep   func(context.Context, time.Duration) error
	logger  *slog.Logger
	close   func()
}

// ArchiveOptions are an archive's settings; the zero value is the default.
type ArchiveOptions struct {
	// Transport makes the requests; nil means one with timeouts that uses the environment's proxy.
	Transport http.RoundTripper
	// Sleep waits between attempts; nil means a timer.
	Sleep func(context.Context, time.Duration) error
	// Logger hears of downloads that are begun again; nil means silence.
	Logger *slog.Logger
}

// NewArchive opens the archive at baseURL (https://data.binance.vision). Close it when done.
func NewArchive(baseURL string, opt ArchiveOptions) *Archive {
	base := opt.Transport
	release := func() {}
	if base == nil {
		own := newHTTPTransport()
		own.DisableCompression = true // zips are compressed, and a range must be one of the file's own bytes
		base, release = own, own.CloseIdleConnections
	}
	a := &Archive{baseURL: strings.TrimRight(baseURL, "/"), client: &http.Client{Transport: base}, sleep: opt.Sleep, logger: opt.Logger, close: release}
	if a.sleep == nil {
		a.sleep = sleep
	}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	return a
}

// Close closes the idle connections.
func (a *Archive) Close() { a.close() }

// ArchiveName is the name of a day's file.
func ArchiveName(kind ArchiveKind, symbol string, day time.Time) string {
	return fmt.Sprintf("%s-%s-%s.zip", symbol, kind, day.UTC().Format(time.DateOnly))
}

// Fetch downloads a day's file into dir and holds it against its checksum. A download that broke off, also in another
// process, is continued. It returns ErrNotInArchive, a *ChecksumError, or what Temporary knows; the caller closes the file.
func (a *Archive) Fetch(ctx context.Context, kind ArchiveKind, symbol string, day time.Time, dir string) (*ArchiveFile, error) {
	name := ArchiveName(kind, symbol, day)
	address := fmt.Sprintf("%s/data/spot/daily/%s/%s/%s", a.baseURL, kind, url.PathEscape(symbol), url.PathEscape(name))
	file, err := openPart(filepath.Join(dir, name+".part"))
	if err != nil {
		return nil, fmt.Errorf("fetch %q: %w", name, err)
	}
	fetched, err := a.fetch(ctx, address, name, file)
	if err != nil {
		closePart(file, !Temporary(err) && ctx.Err() == nil)
		return nil, fmt.Errorf("fetch %q: %w", name, err)
	}
	return fetched, nil
}

// openPart opens the file that a download is written to, or another where somebody else is at it.
func openPart(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return file, nil
	}
	file.Close()
	file, err = os.CreateTemp(filepath.Dir(path), "*-"+filepath.Base(path))
	if err != nil {
		return nil, err
	}
	// A file in use is locked, so that nobody takes it for a dead process's.
	return file, syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

func closePart(file *os.File, remove bool) {
	if info, err := file.Stat(); remove || err == nil && info.Size() == 0 {
		os.Remove(file.Name()) // under the lock, so that nobody continues it
	}
	file.Close()
}

func (a *Archive) fetch(ctx context.Context, address, name string, file *os.File) (*ArchiveFile, error) {
	// Twice: a file that was replaced between the two requests, or while a download was interrupted, fits when fetched anew.
	for round := 1; ; round++ {
		want, err := a.checksum(ctx, address+".CHECKSUM", name)
		if err != nil {
			return nil, err
		}
		if err := a.download(ctx, address, file); err != nil {
			return nil, err
		}
		got, size, err := hashFile(file)
		if err != nil {
			return nil, err
		}
		if got == want {
			return &ArchiveFile{Name: name, SHA256: got, Bytes: size, file: file}, nil
		}
		if round == 2 {
			return nil, &ChecksumError{Name: name, Want: want, Got: got}
		}
		a.logger.Warn("archive file does not fit its checksum, fetching it anew", "file", name, "want", want, "got", got)
		if err := file.Truncate(0); err != nil {
			return nil, err
		}
	}
}

var checksumLine = regexp.MustCompile(`^([0-9a-fA-F]{64})(?: [ *](.+))?$`)

// ParseChecksum reads a checksum file in the form of sha256sum and gives the sum of the file called name.
func ParseChecksum(text, name string) (string, error) {
	for line := range strings.Lines(text) {
		match := checksumLine.FindStringSubmatch(strings.TrimRight(line, "\r\n "))
		if match != nil && (match[2] == "" || filepath.Base(match[2]) == name) {
			return strings.ToLower(match[1]), nil
		}
	}
	return "", fmt.Errorf("no sha256 of %q in %q", name, cut([]byte(text)))
}

func (a *Archive) checksum(ctx context.Context, address, name string) (string, error) {
	var sum string
	err := a.retry(ctx, func(ctx context.Context) (bool, error) {
		res, err := a.get(ctx, address, 0)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(io.LimitReader(res.Body, maxChecksumBody))
		if err != nil {
			return false, &networkError{err}
		}
		if sum, err = ParseChecksum(string(text), name); err != nil {
			return false, &DamagedError{Reason: "no checksum", Body: cut(text)}
		}
		return false, nil
	})
	return sum, err
}

// download completes file with the bytes of address that it lacks.
func (a *Archive) download(ctx context.Context, address string, file *os.File) error {
	return a.retry(ctx, func(ctx context.Context) (bool, error) {
		offset, err := file.Seek(0, io.SeekEnd)
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
			return false, nil // nothing is lacking, or it is another file: the checksum tells
		case res.StatusCode == http.StatusOK && offset > 0:
			if err := file.Truncate(0); err != nil {
				return false, err
			}
			if _, err := file.Seek(0, io.SeekStart); err != nil {
				return false, err
			}
		}
		stalled := time.AfterFunc(archiveStall, func() {
			cancel(&networkError{fmt.Errorf("no byte in %s", archiveStall)})
		})
		defer stalled.Stop()
		body := &watchedReader{in: res.Body, timer: stalled}
		_, err = io.Copy(file, body)
		if body.failed.Load() {
			return body.seen, &networkError{fmt.Errorf("download: %w", err)}
		}
		return false, err
	})
}

// watchedReader puts off a timer with every byte that comes, and keeps the network's errors apart from the disk's.
type watchedReader struct {
	in     io.Reader
	timer  *time.Timer
	failed atomic.Bool
	seen   bool
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if n > 0 {
		r.seen = true
		r.timer.Reset(archiveStall)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed.Store(true)
	}
	return n, err
}

// get asks for the bytes of address from offset on. The answer's status is 200, 206 or 416.
func (a *Archive) get(ctx context.Context, address string, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	res, err := a.client.Do(req)
	if err != nil {
		return nil, &networkError{plainError(err)}
	}
	switch {
	case res.StatusCode == http.StatusOK:
		return res, nil
	case offset > 0 && res.StatusCode == http.StatusPartialContent && strings.HasPrefix(res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)):
		return res, nil
	case offset > 0 && res.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return res, nil
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		return nil, ErrNotInArchive
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, 256)) // only to be quoted
	return nil, &StatusError{Status: res.StatusCode, Text: cut(body)}
}

// retry makes an attempt until it succeeds, fails for good, or has failed six times without getting further.
func (a *Archive) retry(ctx context.Context, try func(context.Context) (further bool, err error)) error {
	backoff := time.Second
	for attempt := 1; ; attempt++ {
		further, err := try(ctx)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return cause
		}
		if further {
			attempt, backoff = 1, time.Second
		}
		var status *StatusError
		again := Temporary(err) || errors.As(err, &status) && status.Status == http.StatusTooManyRequests
		if err == nil || !again || attempt >= archiveAttempts {
			return err
		}
		a.logger.Warn("archive is asked again", "attempt", attempt, "wait_ms", backoff.Milliseconds(), "error", err)
		if err := a.sleep(ctx, backoff); err != nil {
			return err
		}
		backoff = min(2*backoff, backoffMost)
	}
}

func hashFile(file *os.File) (string, int64, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), size, err
}

// ArchiveFile is a downloaded file that fits its checksum.
type ArchiveFile struct {
	Name   string
	SHA256 string
	Bytes  int64

	file *os.File
}

// Open opens the CSV in the file; the caller closes it. It may be opened several times, one after the other. A checksum that fits does not mean that the zip
// does: its own checksum is verified when the last byte has been read.
func (f *ArchiveFile) Open() (io.ReadCloser, error) {
	_, content, err := OpenZip(f.file, f.Bytes)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", f.Name, err)
	}
	return content, nil
}

// Close removes the downloaded file.
func (f *ArchiveFile) Close() { closePart(f.file, true) }

// OpenZip opens the one CSV in a zip and gives its name.
func OpenZip(in io.ReaderAt, size int64) (name string, content io.ReadCloser, err error) {
	packed, err := zip.NewReader(in, size)
	if err != nil {
		return "", nil, err
	}
	packed.RegisterDecompressor(zip.Deflate, func(r io.Reader) io.ReadCloser { return flate.NewReader(r) })
	var found *zip.File
	for _, file := range packed.File {
		if !strings.HasSuffix(strings.ToLower(file.Name), ".csv") {
			continue
		}
		if found != nil {
			return "", nil, fmt.Errorf("there are several CSVs in the zip: %q and %q", found.Name, file.Name)
		}
		found = file
	}
	if found == nil {
		return "", nil, errors.New("there is no CSV in the zip")
	}
	content, err = found.Open()
	return filepath.Base(found.Name), content, err
}
