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
	"unicode/utf8"

	"tapedeck/internal/binance"
	"tapedeck/internal/durable"
	"tapedeck/internal/ingest"
	"tapedeck/internal/symbol"
)

// form is the format of a file. Its first bytes decide it, not its name.
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

	columns map[string]string // that the options map
	symbol  symbol.Name       // of a CSV, also of one in a zip, or of a Parquet file without such a column

	// Of a CSV, also of one in a zip.
	kind   binance.ArchiveKind
	layout *binance.Columns // nil for the archive's form

	read   atomic.Int64      // bytes of the file since open
	onRead func(bytes int64) // called with read, possibly from another goroutine; may be nil
}

const (
	checksumSuffix = ".CHECKSUM"
	maxChecksum    = 64 << 10 // bytes of a .CHECKSUM file
)

// IsChecksum reports whether a path is that of the checksum of another file, as data.binance.vision
// has it.
func IsChecksum(path string) bool { return strings.HasSuffix(path, checksumSuffix) }

// archiveName matches the names of data.binance.vision's files, such as
// BTCUSDT-aggTrades-2024-08-08.zip, and of the CSVs in them.
var archiveName = regexp.MustCompile(`(?i)^(.+)-(aggTrades|trades)(?:-[-0-9]+)?\.(?:zip|csv)$`)

// sniffBytes is how much of a CSV is read to detect its kind: some lines.
const sniffBytes = 4 << 10

// openSource opens a file and detects what it is. The caller closes it.
func openSource(path string, opt Options) (_ *source, err error) {
	file, err := durable.Open(path)
	if err != nil {
		var irregular *durable.IrregularError
		if errors.As(err, &irregular) {
			// A file is read several times, so that a pipe is not enough.
			err = fmt.Errorf("it is %s, not a regular file", irregular.Kind)
			if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
				err = errors.New("it is a directory; name the files in it")
			}
		}
		var known *fs.PathError
		if errors.As(err, &known) {
			err = known.Err // the caller adds the path
		}
		return nil, err
	}
	s := &source{path: path, name: filepath.Base(path), file: file, columns: opt.Columns, symbol: opt.Symbol}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	s.size = info.Size()
	head := make([]byte, 4)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch head = head[:n]; {
	case n == 0:
		return nil, errEmpty
	case bytes.HasPrefix(head, []byte("PK")):
		s.form = formZip
	case string(head) == "PAR1":
		s.form = formParquet
		return s, nil
	case bytes.HasPrefix(head, []byte("\x1f\x8b")), bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")),
		bytes.HasPrefix(head, []byte("BZh")): // gzip, zstd, bzip2
		return nil, errors.New("the compression format is not supported; decompress the file first")
	}
	return s, s.detectCSV(opt)
}

var errEmpty = errors.New("the file is empty")

func (s *source) close() { s.file.Close() }

// detectCSV finds the symbol and the kind of a CSV.
func (s *source) detectCSV(opt Options) error {
	member, content, err := s.open()
	if err != nil {
		return err
	}
	defer content.Close()
	if err := s.checkMember(member); err != nil {
		return err
	}
	declared := binance.ArchiveKind("")
	for _, name := range []string{s.name, member} {
		if match := archiveName.FindStringSubmatch(name); match != nil {
			if s.symbol.IsZero() {
				if s.symbol, err = symbol.Parse(match[1]); err != nil {
					return err
				}
			}
			declared = binance.KindTrades
			if strings.EqualFold(match[2], string(binance.KindAggTrades)) {
				declared = binance.KindAggTrades
			}
			break
		}
	}
	if opt.Feed != "" {
		declared = ingest.KindOf(opt.Feed)
	}
	head, err := bufio.NewReaderSize(content, sniffBytes).Peek(sniffBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return describe(err)
	}
	if len(bytes.TrimSpace(head)) == 0 {
		return errEmpty
	}
	first, _, _ := bytes.Cut(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), []byte("\n"))
	first = bytes.TrimSpace(first)
	if s.form == formCSV && strings.EqualFold(filepath.Ext(s.name), ".zip") {
		return errors.New("not a zip file")
	}
	if bytes.IndexByte(head, 0) >= 0 || !utf8.Valid(first) {
		return errors.New("not a zip, a Parquet file or text")
	}
	if s.symbol.IsZero() {
		return ErrNoSymbol
	}
	return s.detectKind(opt, head, first, declared)
}

// checkMember returns an error if a zip is named for a symbol and the CSV in it for another one, unless the
// options name the symbol.
func (s *source) checkMember(member string) error {
	zip, csv := archiveName.FindStringSubmatch(s.name), archiveName.FindStringSubmatch(filepath.Base(member))
	if !s.symbol.IsZero() || zip == nil || csv == nil || strings.EqualFold(zip[1], csv[1]) {
		return nil
	}
	return fmt.Errorf("the zip is named for %q and the CSV in it for %q; %w", zip[1], csv[1], ErrTwoSymbols)
}

// detectKind finds the kind of a CSV, and where its columns are if it does not have the archive's
// form. declared is the kind that its name or the options say.
func (s *source) detectKind(opt Options, head, first []byte, declared binance.ArchiveKind) error {
	s.kind = binance.SniffKind(head)
	if len(opt.Columns) > 0 || s.kind == "" && binance.IsHeader(first) {
		layout, err := binance.NewColumns(first, opt.Columns, s.symbol)
		if err != nil {
			return err
		}
		s.layout, s.kind = layout, layout.Kind()
		if declared == binance.KindAggTrades && s.kind == binance.KindTrades {
			s.kind = declared // without the raw trades of each
		}
	} else if binance.IsFutures(first, s.kind) {
		if s.kind == binance.KindTrades {
			return ErrFuturesTrades
		}
		return ErrFutures
	}
	switch {
	case s.kind == "" && declared == "":
		return fmt.Errorf("the first line is neither an aggTrades nor a trades row: %q", first[:min(len(first), 80)])
	case s.kind == "":
		s.kind = declared // reading the file reports what is wrong with its first line
	case declared != "" && s.kind != declared:
		return fmt.Errorf("the file should have %s, but its rows are %s", declared, s.kind)
	}
	return nil
}

// ErrFutures is a file of the archive of a futures market. Its name is that of a spot file.
var ErrFutures = errors.New("it has the columns of a futures market's file, without is_best_match, and the tape is of the spot market")

// ErrFuturesTrades is an ErrFutures of raw trades, which has other columns.
var ErrFuturesTrades = fmt.Errorf("%w", ErrFutures)

// ErrNoSymbol is a CSV or zip whose symbol is not known.
var ErrNoSymbol = errors.New(
	"the file name does not say the symbol, as BTCUSDT-aggTrades-2024-08-08.zip does; name the symbol")

// ErrTwoSymbols is a zip whose name says another symbol than that of the CSV in it.
var ErrTwoSymbols = errors.New("name the symbol that it has")

// open opens the CSV at its beginning. member is its name in a zip.
func (s *source) open() (member string, content io.ReadCloser, err error) {
	s.read.Store(0)
	counted := &countingReader{source: s}
	if s.form == formCSV {
		return "", io.NopCloser(io.NewSectionReader(counted, 0, s.size)), nil
	}
	member, content, err = binance.OpenZip(counted, s.size)
	return member, content, describe(err)
}

// countingReader counts the bytes that are read of a file.
type countingReader struct{ source *source }

func (c countingReader) ReadAt(p []byte, offset int64) (int, error) {
	n, err := c.source.file.ReadAt(p, offset)
	read := c.source.read.Add(int64(n))
	if c.source.onRead != nil {
		c.source.onRead(min(read, c.source.size))
	}
	return n, err
}

// verify hashes the file and compares the hash with the .CHECKSUM file next to it, if there is one.
func (s *source) verify(ctx context.Context) (sum string, verified bool, err error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(contextReader{ctx, s.file}, 0, s.size)); err != nil {
		return "", false, fileError(err)
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	text, err := durable.ReadFile(s.path+checksumSuffix, maxChecksum)
	if errors.Is(err, fs.ErrNotExist) {
		return sum, false, nil
	}
	if err != nil {
		return "", false, fileError(err)
	}
	want, err := binance.ParseChecksum(string(text), s.name)
	if err != nil {
		return "", false, fileErrorf("read the checksum %q: %w", s.name+checksumSuffix, err)
	}
	if sum != want {
		return "", false, fileError(&binance.ChecksumError{Name: s.name, Want: want, Got: sum})
	}
	return sum, true, nil
}

// contextReader fails when its context is done.
type contextReader struct {
	ctx context.Context
	in  io.ReaderAt
}

func (r contextReader) ReadAt(p []byte, offset int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.ReadAt(p, offset)
}
