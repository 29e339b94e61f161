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

// On a volume that is really full a run ends with an error that says so, what it had flushed stays, and when there is room again the next
// run records.
func TestFullVolume(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long with the race detector; make test-all runs it")
	}
	volume := t.TempDir()
	if err := syscall.Mount("tmpfs", volume, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a volume of a limited size cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(volume, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("TMPDIR", volume) // the rig's tape is made there
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, steady("BTCUSDT", 60_000, 10*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: List("BTCUSDT"), FlushInterval: time.Second})
		if !strings.HasPrefix(r.dir.Path(), volume) {
			t.Fatalf("the tape is at %s", r.dir.Path())
		}
		<-r.ended
		if !errors.Is(r.err, errPublish) || !errors.Is(r.err, syscall.ENOSPC) {
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
		summary, err := Run(r.ctx, r.dir, again)
		if err != nil || summary.Rows < 1500 {
			t.Errorf("with room again: %+v, %v", summary, err)
		}
		if got := len(tapeRows(t, r.dir)); int64(got) != r.summary.Rows+summary.Rows {
			t.Errorf("%d on the tape, %d and %d were published", got, r.summary.Rows, summary.Rows)
		}
	})
}
