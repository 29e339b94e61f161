package lake

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/outbound"
)

func TestIDsAsText(t *testing.T) {
	for _, text := range []string{"", "5", "17-19,23", "0-1,3,999999999999999999"} {
		ids, err := ParseIDs(text)
		if err != nil || FormatIDs(ids) != text {
			t.Errorf("%q became %v and %q (%v)", text, ids, FormatIDs(ids), err)
		}
	}
	for _, text := range []string{"x", "5-", "7-5", "-1", "1,,2"} {
		if ids, err := ParseIDs(text); err == nil {
			t.Errorf("%q became %v", text, ids)
		}
	}
	row := CoverageRow{FirstID: new(int64(10)), LastID: new(int64(20)), AbsentIDs: "12-13,19"}
	want := idset.Set{{First: 10, Last: 11}, {First: 14, Last: 18}, {First: 20, Last: 20}}
	if ids, err := row.IDs(); err != nil || FormatIDs(ids) != FormatIDs(want) {
		t.Errorf("%v (%v)", ids, err)
	}
}

// startVersity starts versitygw, an S3 server, over a directory with a bucket, and returns its address.
func startVersity(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TAPEDECK_LAKE_COMPONENTS")
	if dir == "" {
		t.Skip("needs a server: make lake-test")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bucket"), 0o755); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(dir, "versitygw"), "--port", address, "--access", "key", "--secret", "secret", "posix", root)
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	for range 600 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return "http://" + address
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("versitygw does not answer")
	return ""
}

func TestObjectsAreStoredOnce(t *testing.T) {
	endpoint := startVersity(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	ctx := t.Context()
	connect := func() *objects {
		config := Config{Endpoint: endpoint}
		loaded, err := loadAWS(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		return newObjects(loaded, config, outbound.NewClient(nil))
	}
	store := connect()
	put := func(path, text string) error {
		return store.put(ctx, path, bytes.NewReader([]byte(text)), int64(len(text)), sha256.Sum256([]byte(text)))
	}
	// Several writers of one object, of which each finds it stored.
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if err := put("s3://bucket/a/b", "content"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := put("s3://bucket/a/b", "another"); !errors.Is(err, ErrOtherObject) {
		t.Errorf("another content: %v", err)
	}
	text, err := tableFiles{ctx, store}.ReadFile("s3://bucket/a/b")
	if err != nil || string(text) != "content" {
		t.Errorf("%q (%v)", text, err)
	}
	// An upload whose content is not what its hash says is refused by the server.
	if err := store.put(ctx, "s3://bucket/bad", bytes.NewReader([]byte("flipped")), 7, sha256.Sum256([]byte("content"))); err == nil {
		t.Error("a damaged upload was accepted")
	}
	if _, _, err := store.stat(ctx, "s3://bucket/bad"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged upload: %v", err)
	}
	var access *AccessError
	if err := put("s3://missing/a", "content"); !errors.As(err, &access) || err.Error() != `there is no bucket "missing"` {
		t.Errorf("a bucket that does not exist: %v", err)
	}
	found := 0
	if err := store.list(ctx, "s3://bucket/a", func(o object) error { found++; return nil }); err != nil || found != 1 {
		t.Errorf("%d objects (%v)", found, err)
	}
	if err := store.remove(ctx, "s3://bucket/a/b"); err != nil {
		t.Error(err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	store = connect()
	if err := put("s3://bucket/c", "content"); !errors.As(err, &access) {
		t.Errorf("wrong credentials: %v", err)
	}
}
