package schedule

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// Crontab is a crontab.yaml that may change while its jobs run. It is not for concurrent use.
type Crontab struct {
	Path     string
	Validate Validate

	inForce []byte // what Look gave last
	wrong   []byte // what was there when Look last gave an error
	err     error
}

// Load reads the jobs for the first time. An error means that it cannot be read or is wrong: see Parse.
func (c *Crontab) Load(now time.Time) ([]Job, error) {
	text, err := os.ReadFile(c.Path)
	if err != nil {
		return nil, err
	}
	jobs, err := Parse(c.Path, text, now, c.Validate)
	if err != nil {
		return nil, err
	}
	c.inForce = text
	return jobs, nil
}

// Look reads the file again. It gives its jobs if they differ from those in force, and an error as long as what is there now
// cannot be used; changed says that either is news.
func (c *Crontab) Look(now time.Time) (jobs []Job, changed bool, err error) {
	text, err := os.ReadFile(c.Path)
	if err != nil {
		err = fmt.Errorf("read the schedule: %w", err)
		changed = c.err == nil || c.err.Error() != err.Error()
		c.wrong, c.err = nil, err
		return nil, changed, err
	}
	if bytes.Equal(text, c.inForce) {
		c.wrong, c.err = nil, nil
		return nil, false, nil
	}
	if c.err != nil && c.wrong != nil && bytes.Equal(text, c.wrong) {
		return nil, false, c.err
	}
	if jobs, err = Parse(c.Path, text, now, c.Validate); err != nil {
		c.wrong, c.err = text, err
		return nil, true, err
	}
	c.inForce, c.wrong, c.err = text, nil, nil
	return jobs, true, nil
}
