package tape

import (
	"context"
	"errors"
	"os"
	"testing"

	"tapedeck/internal/durable"
)

// A publication waits for a lock that another process holds no longer than its context says.
func TestPublishGivesUpTheLockWithItsContext(t *testing.T) {
	d := newTape(t)
	unlock, err := durable.Lock(d.publisher.lockPath)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := d.Publish(ctx, trades("BTCUSDT", 1, 10, day0), Origin{Source: FromStream})
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that the context is done", err)
	}
	unlock()
	publish(t, d, trades("BTCUSDT", 1, 10, day0))
}

// The state directory may be removed at any time.
func TestPublishCreatesTheStateDirectoryAgain(t *testing.T) {
	d := newTape(t)
	publish(t, d, trades("BTCUSDT", 1, 10, day0))
	for range 2 {
		if err := os.RemoveAll(d.State().Path("")); err != nil {
			t.Fatal(err)
		}
		publish(t, d, trades("BTCUSDT", 11, 20, day0))
		if err := d.State().Write("watched/x.json", 1); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(d.Path()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(t.Context(), trades("BTCUSDT", 21, 30, day0), Origin{}); err == nil {
		t.Error("published to a tape that was removed")
	}
	if _, err := os.Stat(d.Path()); err == nil {
		t.Error("the data directory was created again")
	}
}
