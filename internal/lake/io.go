package lake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"sync"
	"time"

	iceio "github.com/apache/iceberg-go/io"
)

// scheme is registered once; the library's registry is a variable of the process.
var scheme sync.Mutex

// useObjects makes the library read and write tables through o. A process has one lake.
func useObjects(ctx context.Context, o *objects) {
	scheme.Lock()
	defer scheme.Unlock()
	for _, name := range []string{"s3", "s3a"} {
		iceio.Unregister(name)
		iceio.Register(name, func(context.Context, *url.URL, map[string]string) (iceio.IO, error) {
			return tableFiles{ctx, o}, nil
		})
	}
}

// tableFiles implements the library's file system on objects: manifests and metadata, which are small.
type tableFiles struct {
	ctx     context.Context // the interface has no room for one
	objects *objects
}

// maxTableFile bounds a file of metadata in bytes. A manifest of a year of days has less than a megabyte.
const maxTableFile = 1 << 30

// ReadFile implements iceio.ReadFileIO.
func (t tableFiles) ReadFile(name string) ([]byte, error) {
	for attempt := range attempts {
		text, err := t.readOnce(name)
		if err == nil || !errors.Is(err, errCut) {
			return text, err
		}
		if err := wait(t.ctx, attempt); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("read %q: %w", name, errCut)
}

func (t tableFiles) readOnce(name string) ([]byte, error) {
	body, length, err := t.objects.get(t.ctx, name, "")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxTableFile))
	if err != nil || int64(len(text)) != length {
		return nil, fmt.Errorf("read %q: %w", name, errors.Join(errCut, err))
	}
	return text, nil
}

// Open implements iceio.IO. It reads the whole file.
func (t tableFiles) Open(name string) (iceio.File, error) {
	text, err := t.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &memoryFile{bytes.NewReader(text), fileInfo{path.Base(name), int64(len(text)), time.Time{}, false}}, nil
}

// Remove implements iceio.IO.
func (t tableFiles) Remove(name string) error { return t.objects.remove(t.ctx, name) }

// WriteFile implements iceio.WriteFileIO. The file must not exist.
func (t tableFiles) WriteFile(name string, text []byte) error {
	return t.objects.put(t.ctx, name, bytes.NewReader(text), int64(len(text)), sha256.Sum256(text))
}

// Create implements iceio.WriteFileIO. The file is stored when it is closed.
func (t tableFiles) Create(name string) (iceio.FileWriter, error) {
	return &fileWriter{files: t, name: name}, nil
}

// WalkDir implements iceio.ListableIO.
func (t tableFiles) WalkDir(root string, visit fs.WalkDirFunc) error {
	return t.objects.list(t.ctx, root, func(o object) error {
		return visit(o.path, fs.FileInfoToDirEntry(fileInfo{path.Base(o.path), o.size, o.modified, false}), nil)
	})
}

type fileWriter struct {
	bytes.Buffer
	files  tableFiles
	name   string
	closed bool
}

func (w *fileWriter) Close() error {
	if w.closed {
		return fs.ErrClosed
	}
	w.closed = true
	return w.files.WriteFile(w.name, w.Bytes())
}

// memoryFile is a file that was read.
type memoryFile struct {
	*bytes.Reader
	info fileInfo
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *memoryFile) Close() error               { return nil }

type fileInfo struct {
	name     string
	size     int64
	modified time.Time
	dir      bool
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return 0o644 }
func (i fileInfo) ModTime() time.Time { return i.modified }
func (i fileInfo) IsDir() bool        { return i.dir }
func (i fileInfo) Sys() any           { return nil }
