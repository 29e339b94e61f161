package schedule

import (
	"bytes"
	"fmt"
	"time"

	"tapedeck/internal/durable"
)

// maxCrontab is the most bytes of a crontab.
const maxCrontab = 4 << 20

// Crontab is a crontab.yaml that may change while its jobs run. It is not safe for concurrent use.
type Crontab struct {
	Path     string
	Validate Validate

	text []byte // as last read; nil if it could not be read
	err  error  // of parsing text
}

// Read reads the file. It returns its jobs, or nil if it has not changed since the last call, and an
// error for as long as the file cannot be used.
func (c *Crontab) Read(now time.Time) (jobs []Job, err error) {
	previous := c.text
	if c.text, err = durable.ReadFile(c.Path, maxCrontab); err != nil {
		c.text = nil
		return nil, fmt.Errorf("read the schedule: %w", err)
	}
	if previous == nil || !bytes.Equal(c.text, previous) {
		jobs, c.err = Parse(c.Path, c.text, now, c.Validate)
	}
	return jobs, c.err
}
