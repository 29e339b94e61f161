package tape

import (
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/durable"
)

type parquetFile struct {
	*parquet.File
	os *os.File
}

func (f parquetFile) close() { f.os.Close() }

// openParquet opens a file and reads its footer.
func openParquet(path string) (parquetFile, int64, error) {
	file, err := durable.Open(path)
	if err != nil {
		return parquetFile{}, 0, err
	}
	out, size, err := parquetOf(file)
	if err != nil {
		file.Close()
	}
	return out, size, err
}

// parquetOf reads the footer of an open file.
func parquetOf(file *os.File) (parquetFile, int64, error) {
	info, err := file.Stat()
	if err != nil {
		return parquetFile{}, 0, err
	}
	footer, err := readFooter(file, info.Size())
	if err != nil {
		return parquetFile{}, 0, err
	}
	return parquetFile{footer, file}, info.Size(), nil
}

// recoverDamage, when deferred, sets err if the library panics, as it does on some damaged files.
func recoverDamage(part string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("damaged %s: %v", part, p)
	}
}

// readFooter opens Parquet from r.
func readFooter(r io.ReaderAt, size int64) (file *parquet.File, err error) {
	defer recoverDamage("footer", &err)
	return parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
}

// readRows reads all rows of a file.
func readRows[T any](path string) (rows []T, err error) {
	file, _, err := openParquet(path)
	if err != nil {
		return nil, err
	}
	defer file.close()
	defer recoverDamage("content", &err)
	if err := checkColumns(file, parquet.SchemaOf(*new(T))); err != nil {
		return nil, err
	}
	reader := parquet.NewGenericReader[T](file.File)
	defer reader.Close()
	rows = make([]T, file.NumRows())
	n := 0
	for n < len(rows) {
		k, err := reader.Read(rows[n:])
		n += k
		if err != nil && err != io.EOF {
			return nil, err
		}
		if k == 0 {
			break
		}
	}
	if n < len(rows) {
		return nil, fmt.Errorf("has %d of its %d rows", n, len(rows))
	}
	return rows, nil
}

// readRuns returns the ids in a segment of trades: from its metadata if tapedeck wrote it,
// otherwise from its rows.
func readRuns(path string) (symbolRuns, error) {
	found := readSegmentFooter(path)
	return found.runs, found.err
}

// readSegmentFooter is readRuns with what else the footer says.
func readSegmentFooter(path string) (out footer) {
	file, _, err := openParquet(path)
	if err != nil {
		return footer{err: err}
	}
	file.close()
	return footerOf(path, file)
}

// footerOf is readSegmentFooter for a file whose footer has been read.
func footerOf(path string, file parquetFile) (out footer) {
	text, ok := file.Lookup(runsKey)
	out.tape = identityOf(file)
	if ok {
		if out.runs, out.err = parseRuns(text); out.err == nil {
			out.err = out.runs.checkIDs()
		}
		return out
	}
	found, err := scanRows(path, "")
	out.runs, out.err, out.foreign, out.repeated = found.runs, err, true, found.duplicates
	return out
}
