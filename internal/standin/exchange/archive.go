package exchange

import (
	"archive/zip"
	"bufio"
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
)

// The archive is like data.binance.vision (binance-public-data/README.md): for each symbol and UTC day
// or month one zip of one CSV without a header, with times in microseconds from 2025 on and in
// milliseconds before, and a checksum file as sha256sum writes it. A file is built on disk, page by
// page, when it is first requested, so that a day of any size needs little memory.

// microsSince is the first day whose files have times in microseconds.
var microsSince = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

var archivePath = regexp.MustCompile(`^/data/spot/(daily|monthly)/(aggTrades|trades)/([^/]+)/([^/]+)-(aggTrades|trades)-(\d{4}-\d{2}(?:-\d{2})?)\.zip(\.CHECKSUM)?$`)

type archive struct {
	server  *Server
	dir     string
	ownsDir bool // close removes dir

	mu    sync.Mutex
	files map[string]*archiveFile // by path, version and fault
	state map[string]*fileState   // by path
}

// fileState is the fault of a path and its progress.
type fileState struct {
	fault     Fault // Kind is empty if the file is correct
	decided   bool
	downloads [2]int // of the zip and of its checksum, while the file was faulty
	version   int    // how often a faulty file was replaced
	revised   bool   // ArchiveRevised has replaced it
}

type archiveFile struct {
	once     sync.Once
	err      error
	name     string // on disk
	sha256   string
	md5      string
	modified time.Time
}

func newArchive(s *Server) *archive {
	return &archive{server: s, dir: s.opt.SpoolDir, files: map[string]*archiveFile{}, state: map[string]*fileState{}}
}

func (a *archive) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ownsDir {
		return nil
	}
	return os.RemoveAll(a.dir)
}

// period identifies a file by its symbol, kind and time range.
type period struct {
	symbol      string
	kind        Kind
	from, until time.Time
	csv         string
	key         string
}

func (a *archive) parse(p string) (f period, checksum, ok bool) {
	m := archivePath.FindStringSubmatch(p)
	if m == nil || m[3] != m[4] || m[2] != m[5] {
		return f, false, false
	}
	layout, months, days := "2006-01-02", 0, 1
	if m[1] == "monthly" {
		layout, months, days = "2006-01", 1, 0
	}
	from, err := time.Parse(layout, m[6])
	return period{
		symbol: m[3], kind: Kind(strings.TrimSuffix(m[2], "s")), from: from, until: from.AddDate(0, months, days),
		csv: m[3] + "-" + m[2] + "-" + m[6] + ".csv", key: strings.TrimSuffix(p, m[7]),
	}, m[7] != "", err == nil
}

// publishedIDs returns the first and last id of a file; ok is false if it is not published.
func (a *archive) publishedIDs(f period) (first, last int64, ok bool) {
	s := a.server
	now := s.Now()
	if now.Before(f.until.Add(s.opt.ArchiveDelay)) {
		return 0, 0, false
	}
	first, okFirst := s.source.FirstAt(f.symbol, f.kind, f.from.UnixMicro())
	last, okLast := s.source.LastBefore(f.symbol, f.kind, f.until.UnixMicro())
	released, okReleased := s.source.LastReleased(f.symbol, f.kind, now.UnixMicro())
	if !okFirst || !okLast || !okReleased || first > last || last > released {
		return 0, 0, false
	}
	return first, last, true
}

func (a *archive) serve(w http.ResponseWriter, r *http.Request) {
	s := a.server
	f, checksum, ok := a.parse(r.URL.Path)
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.counters.offence(UnknownEndpoint)
		notFound(w, r)
		return
	}
	if checksum {
		s.counters.request("/data/…/*.zip.CHECKSUM", 0)
	} else {
		s.counters.request("/data/…/*.zip", 0)
	}
	first, last, ok := a.publishedIDs(f)
	if !ok {
		notFound(w, r)
		return
	}
	fault, version := a.faultOf(f.key, checksum)
	if fault == ArchiveLate || fault == ArchiveNoChecksum && checksum {
		notFound(w, r)
		return
	}
	file, err := a.file(f, fault, version, first, last)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if checksum {
		sum := file.sha256
		if fault == ArchiveChecksum {
			sum = fmt.Sprintf("%x", sha256.Sum256([]byte(sum)))
		}
		body := sum + "  " + path.Base(f.key) + "\n"
		w.Header().Set("Content-Type", "binary/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Set("Last-Modified", file.modified.Format(http.TimeFormat))
		_, _ = io.WriteString(w, body)
		return
	}
	body, err := os.Open(file.name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("ETag", `"`+file.md5+`"`)
	if fault == ArchiveReset {
		if info, err := body.Stat(); err == nil {
			w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
			_, _ = io.CopyN(w, body, info.Size()/2)
		}
		panic(http.ErrAbortHandler) // net/http drops the connection
	}
	http.ServeContent(w, r, "", file.modified, body)
}

// notFound answers as the object store behind the archive.
func notFound(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusNotFound)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>%s</Key></Error>", r.URL.EscapedPath()[1:])
}

// faultOf returns the current fault of a file and its version, and counts the download.
func (a *archive) faultOf(key string, checksum bool) (kind FaultKind, version int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := a.state[key]
	if st == nil {
		st = &fileState{}
		a.state[key] = st
	}
	// The random schedule is consulted once; a requested fault can happen to any correct file.
	switch {
	case !st.decided:
		st.fault, _ = a.server.faults.take(archiveFaults, key, key, false)
		st.decided = true
	case st.fault.Kind == "":
		st.fault, _ = a.server.faults.takeRequested(archiveFaults, key)
		st.downloads = [2]int{}
	}
	if st.fault.Kind == "" {
		return "", st.version
	}
	kind = st.fault.Kind
	times := cmp.Or(st.fault.Times, 1)
	// Zip and checksum are corrected together, once both were downloaded in any order, or once the
	// faulty one was.
	part, other, wrong := 0, 1, 0
	if checksum {
		part, other = 1, 0
	}
	if kind == ArchiveChecksum || kind == ArchiveNoChecksum {
		wrong = 1
	}
	if times > 0 && st.downloads[part] >= times && (st.downloads[other] >= times || part == wrong) {
		st.version++
		if kind == ArchiveRevised && !st.revised {
			st.revised, st.fault.Times = true, -1
			st.downloads = [2]int{}
			a.server.counters.fault(kind)
			return kind, st.version
		}
		st.fault = Fault{}
		return "", st.version
	}
	if kind == ArchiveRevised {
		st.downloads[part]++
		if st.revised {
			return kind, st.version
		}
		return "", st.version // correct so far
	}
	if st.downloads == [2]int{} {
		a.server.counters.fault(kind)
	}
	st.downloads[part]++
	return kind, st.version
}

// file builds a file, once for each version and fault.
func (a *archive) file(f period, fault FaultKind, version int, first, last int64) (*archiveFile, error) {
	form := f.key + "?" + strconv.Itoa(version)
	switch fault {
	case ArchiveShort, ArchiveHole, ArchiveUnsorted, ArchiveCorrupt, ArchiveRevised:
		form += string(fault)
	default:
		fault = ""
	}
	a.mu.Lock()
	if a.dir == "" {
		dir, err := os.MkdirTemp("", "tapedeck-exchange-")
		if err != nil {
			a.mu.Unlock()
			return nil, err
		}
		a.dir, a.ownsDir = dir, true
	}
	file := a.files[form]
	if file == nil {
		file = &archiveFile{
			name:     filepath.Join(a.dir, strconv.Itoa(len(a.files))+".zip"),
			modified: f.until.Add(a.server.opt.ArchiveDelay + time.Duration(version)*24*time.Hour).Truncate(time.Second),
		}
		a.files[form] = file
	}
	a.mu.Unlock()
	file.once.Do(func() { file.err = a.write(file, f, fault, first, last) })
	return file, file.err
}

// write writes the zip of the rows first to last.
func (a *archive) write(file *archiveFile, f period, fault FaultKind, first, last int64) (err error) {
	out, err := os.Create(file.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z := zip.NewWriter(out)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed)
	})
	entry, err := z.CreateHeader(&zip.FileHeader{Name: f.csv, Method: zip.Deflate, Modified: file.modified})
	if err != nil {
		return err
	}
	if err := errors.Join(a.writeRows(entry, f, fault, first, last), z.Close()); err != nil {
		return err
	}
	if fault == ArchiveCorrupt { // in the middle of the compressed data
		size, _ := out.Seek(0, io.SeekEnd)
		if _, err := out.WriteAt([]byte("this is not data"), size/2); err != nil {
			return err
		}
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sha, md := sha256.New(), md5.New()
	_, err = io.Copy(io.MultiWriter(sha, md), out)
	file.sha256, file.md5 = fmt.Sprintf("%x", sha.Sum(nil)), fmt.Sprintf("%x", md.Sum(nil))
	return err
}

func (a *archive) writeRows(w io.Writer, f period, fault FaultKind, first, last int64) error {
	const pageRows = 4096
	unit := int64(1)
	if f.from.Before(microsSince) {
		unit = 1000
	}
	missFrom, missTo := last+1, last
	switch third := (last - first + 1) / 3; fault {
	case ArchiveShort:
		missFrom = last - third
	case ArchiveHole:
		missFrom, missTo = first+third, last-third
	}
	out := bufio.NewWriterSize(w, 1<<16)
	var line []byte
	var rows []Row
	for next := first; next <= last; {
		rows = upTo(last, a.server.source.Rows(rows[:0], f.symbol, f.kind, next, pageRows))
		if err := a.server.ctx.Err(); err != nil || len(rows) == 0 {
			return errors.Join(err, out.Flush())
		}
		next = rows[len(rows)-1].ID + 1
		for i := range rows {
			r := &rows[i]
			if r.ID >= missFrom && r.ID <= missTo {
				continue
			}
			if fault == ArchiveUnsorted && i%2 == 0 && i+1 < len(rows) {
				rows[i], rows[i+1] = rows[i+1], rows[i] // the page goes 2 1 4 3 …
			}
			if fault == ArchiveRevised && revises(r.ID, first) {
				*r = a.server.alter(f.symbol, f.kind, *r)
			}
			line = appendCSV(line[:0], f.kind, r, unit)
			if fault == ArchiveUnsorted && i%100 == 1 {
				line = append(line, line...)
			}
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

// appendCSV appends a row of a file; unit is the unit of its times in microseconds.
func appendCSV(dst []byte, kind Kind, r *Row, unit int64) []byte {
	dst = strconv.AppendInt(dst, r.ID, 10)
	dst = append(append(dst, ','), r.Price...)
	dst = append(append(dst, ','), r.Qty...)
	if kind == AggTrade {
		dst = strconv.AppendInt(append(dst, ','), r.FirstTradeID, 10)
		dst = strconv.AppendInt(append(dst, ','), r.LastTradeID, 10)
	} else {
		dst = appendProduct(append(dst, ','), r.Price, r.Qty)
	}
	dst = strconv.AppendInt(append(dst, ','), r.TradedAt/unit, 10)
	if r.BuyerMaker {
		return append(dst, ",True,True\n"...)
	}
	return append(dst, ",False,True\n"...)
}
