package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"tapedeck/internal/window"
)

// JudgedFile is the name of the file that holds JudgedWindows.
const JudgedFile = "detect-looked.json"

// JudgedWindows are the windows that detectors have judged, sorted and disjoint. Outside of them, the
// absence of alerts means nothing. Losing the file costs a note in reports.
type JudgedWindows []window.Window

// judgedWindow is a JudgedWindows entry in the file.
type judgedWindow struct {
	Start time.Time `json:"from"`
	End   time.Time `json:"until"`
}

// MarshalJSON implements json.Marshaler.
func (w JudgedWindows) MarshalJSON() ([]byte, error) {
	entries := make([]judgedWindow, len(w))
	for i, judged := range w {
		entries[i] = judgedWindow(judged)
	}
	return json.Marshal(entries)
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *JudgedWindows) UnmarshalJSON(text []byte) error {
	var entries []judgedWindow
	if err := json.Unmarshal(text, &entries); err != nil {
		return err
	}
	*w = make(JudgedWindows, len(entries))
	for i, entry := range entries {
		(*w)[i] = window.Window(entry)
	}
	return nil
}

// ReadJudged returns the windows that detectors have judged. There are none if the file does not exist.
func ReadJudged(d *Dir) (JudgedWindows, error) {
	var judged JudgedWindows
	if err := d.Read(JudgedFile, &judged); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read which windows were judged: %w", err)
	}
	return judged, nil
}

// Write replaces the file of the windows that detectors have judged.
func (w JudgedWindows) Write(d *Dir) error {
	if err := d.Write(JudgedFile, w); err != nil {
		return fmt.Errorf("record which windows were judged: %w", err)
	}
	return nil
}

// Add returns the union of w and one more window.
func (w JudgedWindows) Add(judged window.Window) JudgedWindows {
	return window.Merge(append(w, judged))
}
