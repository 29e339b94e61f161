package stream

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/standin/exchange"
)

// TestFullVolumeStopsTheRecorder fills a real volume. What was published stays, and with more room
// the next run records.
func TestFullVolumeStopsTheRecorder(t *testing.T) {
	if testing.Short() {
		t.Skip("slow with the race detector; make test-all runs it")
	}
	volume := t.TempDir()
	if err := syscall.Mount("tmpfs", volume, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a volume of a limited size: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(volume, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("TMPDIR", volume) // the rig's tape is created there
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 60_000, 10*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), FlushInterval: time.Second})
		if !strings.HasPrefix(r.dir.Path(), volume) {
			t.Fatalf("the tape is at %q", r.dir.Path())
		}
		<-r.ended
		if !errors.Is(r.err, ErrNotPublished) || !errors.Is(r.err, syscall.ENOSPC) {
			t.Fatalf("error %v", r.err)
		}
		if r.summary.Flushes < 10 || r.summary.Trades <= r.summary.Rows {
			t.Errorf("summary %+v", r.summary)
		}
		if got := len(tapeRows(t, r.dir)); int64(got) != r.summary.Rows {
			t.Errorf("%d on the tape, %d were published", got, r.summary.Rows)
		}

		if err := syscall.Mount("", volume, "", syscall.MS_REMOUNT, "size=4m"); err != nil {
			t.Fatal(err)
		}
		again := r.opt
		again.For = 20 * time.Second
		summary, err := runRecorder(r.ctx, r.dir, again)
		if err != nil || summary.Rows < 1500 {
			t.Errorf("with more room: %+v, %v", summary, err)
		}
		if got := len(tapeRows(t, r.dir)); int64(got) != r.summary.Rows+summary.Rows {
			t.Errorf("%d on the tape, %d and %d were published", got, r.summary.Rows, summary.Rows)
		}
	})
}
