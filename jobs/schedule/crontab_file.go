package schedule

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// Crontab is a crontab.yaml that may change while its jobs run. It is not safe for concurrent use.
type Crontab struct {
	Path     string
	Validate Validate

	text []byte // as last read; nil if it could not be read
	err  error  // of parsing text
}

// Load reads the jobs for the first time. Its error is that of reading the file or of Parse.
func (c *Crontab) Load(now time.Time) (jobs []Job, err error) {
	if c.text, err = os.ReadFile(c.Path); err != nil {
		return nil, err
	}
	jobs, c.err = Parse(c.Path, c.text, now, c.Validate)
	return jobs, c.err
}

// Reload reads the file again. It returns its jobs, or nil if it has not changed, and an error for as
// long as the file cannot be used.
func (c *Crontab) Reload(now time.Time) (jobs []Job, err error) {
	previous := c.text
	if c.text, err = os.ReadFile(c.Path); err != nil {
		c.text = nil
		return nil, fmt.Errorf("read the schedule: %w", err)
	}
	if previous == nil || !bytes.Equal(c.text, previous) {
		jobs, c.err = Parse(c.Path, c.text, now, c.Validate)
	}
	return jobs, c.err
}
