package state

import (
	"fmt"
	"os"
	"time"
)

// flushFile holds the last request to recorders to publish what they hold.
const flushFile = "flush-request"

// RequestFlush asks the recorders of the tape to publish at once what they have received. It does not
// wait for them. now and the process make the request different from earlier ones.
func RequestFlush(d *Dir, now time.Time) error {
	text := fmt.Sprintf("%s %d\n", now.UTC().Format(time.RFC3339Nano), os.Getpid())
	if err := d.WriteBytes(flushFile, []byte(text)); err != nil {
		return fmt.Errorf("ask the recorder to publish: %w", err)
	}
	return nil
}

// FlushRequest returns the last request; requests differ. It is empty if there was none or it cannot be
// read.
func FlushRequest(d *Dir) string {
	text, _ := os.ReadFile(d.Path(flushFile)) // without it recorders publish when it is time
	return string(text)
}
