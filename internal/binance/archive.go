package binance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/outbound"
	"tapedeck/internal/symbol"
)

// ErrNotInArchive means that the archive does not have a file or its checksum. A day's files are
// published some hours after its end, sometimes days.
var ErrNotInArchive = errors.New("not in the archive")

// ChecksumError is a file that does not match its checksum, even after a second download.
type ChecksumError struct {
	Name, Want, Got string
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s has the SHA-256 %s, but its checksum file says %s", e.Name, e.Got, e.Want)
}

const partSuffix = ".part" // of an unfinished download's name

// Archive downloads the daily files of spot trades. docs/BINANCE.md describes their layout and
// known defects. It is safe for concurrent use.
type Archive struct {
	baseURL string
	client  *http.Client
	opt     ClientOptions
}

// NewArchive returns the archive at baseURL (https://data.binance.vision). The caller closes it.
func NewArchive(baseURL string, opt ClientOptions) *Archive {
	if opt.Transport == nil {
		transport := outbound.NewTransport()
		transport.DisableCompression = true // a range must count the file's own bytes
		opt.Transport = transport
	}
	opt = opt.withDefaults()
	return &Archive{baseURL: strings.TrimRight(baseURL, "/"), client: outbound.NewClient(opt.Transport), opt: opt}
}

// Close closes idle connections.
func (a *Archive) Close() { a.client.CloseIdleConnections() }

// ArchiveName returns the name of a day's file in the archive.
func ArchiveName(kind ArchiveKind, name symbol.Name, day time.Time) string {
	return archiveName(name.String(), kind, day)
}

func archiveName(name string, kind ArchiveKind, day time.Time) string {
	return fmt.Sprintf("%s-%s-%s.zip", name, kind, day.UTC().Format(time.DateOnly))
}

// Fetch downloads a day's file into dir and verifies its checksum. It resumes a download that
// another call or process did not finish. The caller closes the file. The error is ErrNotInArchive,
// a *ChecksumError, a *TooLargeError, a *NoRoomError, a redirect, or one that Temporary classifies.
func (a *Archive) Fetch(
	ctx context.Context, kind ArchiveKind, of symbol.Name, day time.Time, dir string,
) (*ArchiveFile, error) {
	name, address := a.address(kind, of, day)
	file, err := openPart(filepath.Join(dir, archiveName(of.FileName(), kind, day)+partSuffix))
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

// address returns the name and the URL of a day's file.
func (a *Archive) address(kind ArchiveKind, of symbol.Name, day time.Time) (name, address string) {
	name = ArchiveName(kind, of, day)
	return name, fmt.Sprintf("%s/data/spot/daily/%s/%s/%s", a.baseURL, kind, url.PathEscape(of.String()), url.PathEscape(name))
}

// Has asks once whether the archive has a day's file. The error is one that Temporary classifies, or
// a *StatusError.
func (a *Archive) Has(ctx context.Context, kind ArchiveKind, of symbol.Name, day time.Time) (bool, error) {
	name, address := a.address(kind, of, day)
	res, err := a.get(ctx, address+".CHECKSUM", 0)
	switch {
	case errors.Is(err, ErrNotInArchive):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for %q: %w", name, err)
	}
	return true, res.Body.Close()
}

// openPart opens the file for a download at path and locks it, which protects it from cleanup. If
// another download has locked it, openPart creates another file beside it.
func openPart(path string) (*os.File, error) {
	file, err := durable.OpenLocked(path)
	if errors.Is(err, durable.ErrLocked) {
		return durable.OpenLocked(durable.UniqueName(strings.TrimSuffix(path, partSuffix), partSuffix))
	}
	return file, err
}

// closePart closes a download, and removes it if remove is set or it is empty. It removes the file
// before it releases the lock, so that no other call resumes it.
func closePart(file *os.File, remove bool) {
	if info, err := file.Stat(); remove || err == nil && info.Size() == 0 {
		os.Remove(file.Name())
	}
	file.Close()
}

func (a *Archive) fetch(ctx context.Context, address, name string, file *os.File) (*ArchiveFile, error) {
	attempts := archiveAttemptsAll
	// Two rounds: a file that the exchange replaced between the two requests, or while a download
	// was interrupted, matches after a second download.
	for round := 1; ; round++ {
		want, err := a.checksum(ctx, address+".CHECKSUM", name, &attempts)
		if err != nil {
			return nil, err
		}
		if err := a.download(ctx, address, file, &attempts); err != nil {
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
		a.opt.Logger.Warn("archive file does not match its checksum, downloading again", "file", name, "want", want, "got", got)
		if _, err := restart(file); err != nil {
			return nil, err
		}
	}
}

var checksumLine = regexp.MustCompile(`^([0-9a-fA-F]{64})(?: [ *](.+))?$`)

// ParseChecksum returns the SHA-256 of the file called name from the output of sha256sum, in
// lower-case hex.
func ParseChecksum(text, name string) (string, error) {
	for line := range strings.Lines(text) {
		match := checksumLine.FindStringSubmatch(strings.TrimRight(line, "\r\n "))
		if match != nil && (match[2] == "" || filepath.Base(match[2]) == name) {
			return strings.ToLower(match[1]), nil
		}
	}
	return "", fmt.Errorf("no SHA-256 of %q in the checksum file", name)
}

func (a *Archive) checksum(ctx context.Context, address, name string, attempts *int) (string, error) {
	var sum string
	err := a.retry(ctx, attempts, func(ctx context.Context) (bool, error) {
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
			return false, &DamagedError{Reason: "no checksum", Bytes: len(text)}
		}
		return false, nil
	})
	return sum, err
}

// get requests the bytes of address from offset on. The status of the response is 200, 206 or 416.
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
		if redirect := new(*outbound.RedirectError); errors.As(err, redirect) {
			return nil, *redirect
		}
		return nil, &networkError{outbound.WithoutURL(err)}
	}
	switch {
	case res.StatusCode == http.StatusOK:
		return res, nil
	case offset > 0 && res.StatusCode == http.StatusPartialContent &&
		strings.HasPrefix(res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)):
		return res, nil
	case offset > 0 && res.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return res, nil
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		return nil, ErrNotInArchive
	}
	return nil, &StatusError{Status: res.StatusCode, Bytes: res.ContentLength}
}

func hashFile(file *os.File) (string, int64, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), size, err
}

// ArchiveFile is a downloaded file that matches its checksum.
type ArchiveFile struct {
	Name   string
	SHA256 string
	Bytes  int64

	file *os.File
}

// Open opens the CSV in the file; the caller closes it before the next Open. The zip has a checksum
// of its own, which is verified when the last byte is read, because some archive files are broken
// and still match their checksum file.
func (f *ArchiveFile) Open() (io.ReadCloser, error) {
	_, content, err := OpenZip(f.file, f.Bytes)
	if several := new(*severalCSVsError); errors.As(err, several) {
		err = errors.New("several CSVs in the zip") // their names are not shown
	}
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", f.Name, err)
	}
	return content, nil
}

// Close removes the downloaded file.
func (f *ArchiveFile) Close() { closePart(f.file, true) }
