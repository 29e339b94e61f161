package importer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"

	"tapedeck/internal/binance"
	"tapedeck/internal/ingest"
)

// form is what a file is, told by its first bytes and not by its name.
type form int

const (
	formCSV form = iota
	formZip
	formParquet
)

// source is a file to import.
type source struct {
	path, name string // name is the last element of path
	file       *os.File
	size       int64
	form       form

	// Of a CSV, also one in a zip.
	symbol string
	kind   binance.ArchiveKind

	read   atomic.Int64      // bytes of the file since open
	onRead func(bytes int64) // is called with read, concurrently; may be nil
}

const checksumSuffix = ".CHECKSUM"

func isChecksum(path string) bool { return strings.HasSuffix(path, checksumSuffix) }

// archiveName is how data.binance.vision names a file: BTCUSDT-aggTrades-2024-08-08.zip, and the CSV in it.
var archiveName = regexp.MustCompile(`(?i)^(.+)-(aggTrades|trades)(?:-[-0-9]+)?\.(?:zip|csv)$`)

// sniffed is how much of a CSV tells its kind: some lines.
const sniffed = 4 << 10

// openSource opens a file and finds out what it is. The caller closes it.
func openSource(path string, opt Options) (_ *source, err error) {
	file, err := os.Open(path)
	if err != nil {
		var plain *fs.PathError
		if errors.As(err, &plain) {
			err = plain.Err // the path stands before it
		}
		return nil, err
	}
	s := &source{path: path, name: filepath.Base(path), file: file}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	s.size = info.Size()
	head := make([]byte, 4)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch head = head[:n]; {
	case n == 0:
		return nil, errors.New("it is empty")
	case bytes.HasPrefix(head, []byte("PK")):
		s.form = formZip
	case string(head) == "PAR1":
		s.form = formParquet
		return s, nil
	case bytes.HasPrefix(head, []byte("\x1f\x8b")), bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")), bytes.HasPrefix(head, []byte("BZh")):
		return nil, errors.New("it is compressed in a form that is not read; unpack it first")
	}
	return s, s.recognise(opt)
}

func (s *source) close() { s.file.Close() }

// recognise finds the symbol and the kind of a CSV.
func (s *source) recognise(opt Options) error {
	member, content, err := s.open()
	if err != nil {
		return err
	}
	defer content.Close()
	s.symbol = opt.Symbol
	named := binance.ArchiveKind("")
	for _, name := range []string{s.name, member} {
		if match := archiveName.FindStringSubmatch(name); match != nil {
			if s.symbol == "" {
				s.symbol = match[1]
			}
			named = binance.KindTrades
			if strings.EqualFold(match[2], string(binance.KindAggTrades)) {
				named = binance.KindAggTrades
			}
			break
		}
	}
	if opt.Feed != "" {
		named = ingest.KindOf(opt.Feed)
	}
	if s.symbol == "" {
		return errors.New("its name does not say which symbol's trades it holds, as BTCUSDT-aggTrades-2024-08-08.zip does; name the symbol")
	}
	head, err := bufio.NewReaderSize(content, sniffed).Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return describe(err)
	}
	if len(bytes.TrimSpace(head)) == 0 {
		return errors.New("it is empty")
	}
	s.kind = binance.SniffKind(head)
	switch {
	case s.kind == "" && named == "":
		return fmt.Errorf("its first line is a row neither of aggTrades nor of trades: %q", firstLine(head))
	case s.kind == "":
		s.kind = named // reading it says what is wrong with its first line
	case named != "" && s.kind != named:
		return fmt.Errorf("it is said to hold %s, and its rows are those of %s", named, s.kind)
	}
	return nil
}

func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(line[:min(len(line), 80)])
}

// open opens the CSV, from its beginning. member is its name in a zip.
func (s *source) open() (member string, content io.ReadCloser, err error) {
	s.read.Store(0)
	counted := &countedReader{source: s}
	if s.form == formCSV {
		return "", io.NopCloser(io.NewSectionReader(counted, 0, s.size)), nil
	}
	member, content, err = binance.OpenZip(counted, s.size)
	return member, content, describe(err)
}

// countedReader counts the bytes that are read of a file.
type countedReader struct{ source *source }

func (c countedReader) ReadAt(p []byte, offset int64) (int, error) {
	n, err := c.source.file.ReadAt(p, offset)
	read := c.source.read.Add(int64(n))
	if c.source.onRead != nil {
		c.source.onRead(min(read, c.source.size))
	}
	return n, err
}

// verify hashes the file and holds it against the .CHECKSUM beside it, if there is one.
func (s *source) verify(ctx context.Context) (sum string, verified bool, err error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(interruptible{ctx, s.file}, 0, s.size)); err != nil {
		return "", false, fileError(err)
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	text, err := os.ReadFile(s.path + checksumSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return sum, false, nil
	}
	if err != nil {
		return "", false, fileError(err)
	}
	want, err := binance.ParseChecksum(string(text), s.name)
	if err != nil {
		return "", false, fileErrorf("read its checksum %q: %w", s.name+checksumSuffix, err)
	}
	if sum != want {
		return "", false, fileError(&binance.ChecksumError{Name: s.name, Want: want, Got: sum})
	}
	return sum, true, nil
}

// interruptible ends reading when its context is over.
type interruptible struct {
	ctx context.Context
	in  io.ReaderAt
}

func (r interruptible) ReadAt(p []byte, offset int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.ReadAt(p, offset)
}
