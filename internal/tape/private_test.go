package tape

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// TestStateIsPrivate of a new tape and of one that an earlier version created. What is published stays
// readable for everyone.
func TestStateIsPrivate(t *testing.T) {
	umask := syscall.Umask(0o022)
	t.Cleanup(func() { syscall.Umask(umask) })
	d, err := Create(t.TempDir()+"/data", AggTrade, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.State().Write("stream.json", 1); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for path, want := range map[string]os.FileMode{
			d.State().Path(""): 0o700, d.StagingPath(): 0o700, d.State().Path("stream.json"): 0o600,
			d.Path() + "/tape.json": 0o644, d.Path() + "/trades": 0o755, d.Path() + "/" + emptyPath(Trades): 0o644,
		} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
			}
		}
	}
	check()
	for path, mode := range map[string]os.FileMode{d.State().Path(""): 0o755, d.StagingPath(): 0o755, d.State().Path("stream.json"): 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(d.Path()); err != nil {
		t.Fatal(err)
	}
	check()
}
