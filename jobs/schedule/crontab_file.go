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

	inForce []byte // the content that the current jobs come from
	wrong   []byte // the content that err is about; nil if the file could not be read
	err     error  // of the last Reload
}

// Load reads the jobs for the first time. Its error is that of reading the file or of Parse.
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

// Reload reads the file again. It returns the jobs if they differ from those in force, and an error
// for as long as the file cannot be used. changed reports whether the jobs or the error are new.
func (c *Crontab) Reload(now time.Time) (jobs []Job, changed bool, err error) {
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
