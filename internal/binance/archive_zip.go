package binance

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/klauspost/compress/flate"
)

// Limits of a zip. A day's file of the archive has one CSV of four to eight times its size.
const (
	zipRatio     = 100      // of the CSV's size to the zip's
	zipAnyRatio  = 64 << 20 // bytes of a CSV that may have any ratio, because short ones may repeat a row
	zipCSVMost   = 64 << 30 // bytes of a CSV
	zipDirectory = 4 << 20  // bytes of the zip's list of files
)

// severalCSVsError is a zip with more than one CSV.
type severalCSVsError struct{ first, second string }

func (e *severalCSVsError) Error() string {
	return fmt.Sprintf("several CSVs in the zip: %q and %q", excerpt([]byte(e.first)), excerpt([]byte(e.second)))
}

// OpenZip opens the only CSV in a zip, and returns its base name. The caller closes it. It is an error if
// there is a zip in the zip, whose trades would be left out, or if the CSV is much larger than that of an archive's file of this size can be; content ends with an error
// if it is larger than the zip says.
func OpenZip(in io.ReaderAt, size int64) (name string, content io.ReadCloser, err error) {
	listed := &boundedReaderAt{in: in, left: zipDirectory}
	packed, err := zip.NewReader(listed, size)
	if err != nil {
		return "", nil, err
	}
	listed.unbounded = true
	packed.RegisterDecompressor(zip.Deflate, func(r io.Reader) io.ReadCloser { return flate.NewReader(r) })
	var found *zip.File
	for _, file := range packed.File {
		if strings.HasSuffix(strings.ToLower(file.Name), ".zip") {
			return "", nil, fmt.Errorf("a zip in the zip: %q; unpack it first", excerpt([]byte(file.Name)))
		}
		if !strings.HasSuffix(strings.ToLower(file.Name), ".csv") {
			continue
		}
		if found != nil {
			return "", nil, &severalCSVsError{found.Name, file.Name}
		}
		found = file
	}
	if found == nil {
		return "", nil, errors.New("no CSV in the zip")
	}
	// Reading ends with an error when the content is larger than the zip says it is.
	if has := found.UncompressedSize64; has > zipCSVMost || has > max(zipAnyRatio, zipRatio*uint64(size)) {
		return "", nil, fmt.Errorf("the CSV in the zip has %s, which is too much for a zip of %s",
			humanize.Bytes(has), humanize.Bytes(uint64(size)))
	}
	content, err = found.Open()
	return filepath.Base(found.Name), content, err
}

// boundedReaderAt reads a number of bytes at most, unless it is unbounded.
type boundedReaderAt struct {
	in        io.ReaderAt
	left      int64
	unbounded bool // set before other goroutines read
}

func (r *boundedReaderAt) ReadAt(p []byte, offset int64) (int, error) {
	if !r.unbounded {
		if r.left -= int64(len(p)); r.left < 0 {
			return 0, errors.New("the zip has too many files")
		}
	}
	return r.in.ReadAt(p, offset)
}
