package tape

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unmountLater unmounts a volume at the end of the test.
func unmountLater(t *testing.T, volume string) {
	t.Cleanup(func() {
		if err := syscall.Unmount(volume, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestMergeOnAnOverlay merges segments of a partition in the lower layer of an overlay, which cannot
// exchange it for another directory. Some segments stay.
func TestMergeOnAnOverlay(t *testing.T) {
	volume := t.TempDir()
	if err := syscall.Mount("tmpfs", volume, "tmpfs", 0, "size=50m"); err != nil {
		t.Skipf("cannot mount a volume: %v", err)
	}
	unmountLater(t, volume)
	layer := func(name string) string {
		path := filepath.Join(volume, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lower, upper, work, merged := layer("lower"), layer("upper"), layer("work"), layer("merged")
	below, err := Create(filepath.Join(lower, "data"), AggTrade, day0)
	if err != nil {
		t.Fatal(err)
	}
	want := publishScattered(t, below, []string{"BTCUSDT", "ETHUSDT"}, 1000, 10)
	layers := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	if err := syscall.Mount("overlay", merged, "overlay", 0, layers); err != nil {
		t.Skipf("cannot mount an overlay: %v", err)
	}
	unmountLater(t, merged)
	mergeSome(t, filepath.Join(merged, "data"), want)
}

// TestMergeOnExFAT merges some of a partition's segments on a file system without hard links.
func TestMergeOnExFAT(t *testing.T) {
	dir := t.TempDir()
	image, volume := filepath.Join(dir, "image"), filepath.Join(dir, "volume")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 50<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	device, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Skipf("no loop device: %v", err)
	}
	loop := strings.TrimSpace(string(device))
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", loop).Run() })
	if text, err := exec.Command("mkfs.exfat", loop).CombinedOutput(); err != nil {
		t.Skipf("cannot make an exFAT volume: %v: %s", err, text)
	}
	if err := syscall.Mount(loop, volume, "exfat", 0, ""); err != nil {
		if text, err := exec.Command("mount.exfat-fuse", loop, volume).CombinedOutput(); err != nil {
			t.Skipf("cannot mount an exFAT volume: %v: %s", err, text)
		}
	}
	unmountLater(t, volume)
	d, err := Create(filepath.Join(volume, "data"), AggTrade, day0)
	if err != nil {
		t.Fatal(err)
	}
	mergeSome(t, d.Path(), publishScattered(t, d, []string{"BTCUSDT", "ETHUSDT"}, 1000, 10))
}

// mergeSome merges all segments but the last two of a tape, twice, and requires every row to be there.
func mergeSome(t *testing.T, path string, want []Trade) {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		segments := segmentsOf(t, d)
		out, err := d.Merge(context.Background(), "2026-01-15", segments[:len(segments)-2], 1<<20, day0)
		if err != nil {
			t.Fatal(err)
		}
		after := segmentsOf(t, d)
		if out.Atomic || len(after) >= len(segments) {
			t.Errorf("%+v, %d segments were %d", out, len(after), len(segments))
		}
		got := readAll(t, d, after)
		slices.SortFunc(got, compareTrades)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if len(after) < 4 {
			break
		}
	}
}
