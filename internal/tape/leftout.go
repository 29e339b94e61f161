package tape

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/state"
)

// leftOutName is the state file with the segments that were left out when the tape was read last. It spares
// health to read footers.
const leftOutName = "left-out.json"

// LeftOut is what was found when the tape was read.
type LeftOut struct {
	// Files are the segments that commands leave out, and why.
	Files []LeftOutFile `json:"files"`
	// Hint says what to do about them.
	Hint string `json:"hint"`
}

// LeftOutFile is one segment that is left out.
type LeftOutFile struct {
	Path  string `json:"path"` // relative to the data directory
	Error string `json:"error"`
}

// leftOutState is the content of the state file. A verify finds what no other command does, so what it found
// stays until the next one.
type leftOutState struct {
	Read     LeftOut `json:"read"`
	Verified LeftOut `json:"verified"`
}

func leftOut(broken []BrokenSegment) (out LeftOut) {
	_, out.Hint = BrokenReason(broken)
	for _, b := range broken {
		out.Files = append(out.Files, LeftOutFile{b.Path, b.Err.Error()})
	}
	return out
}

func (l LeftOut) equal(other LeftOut) bool {
	return l.Hint == other.Hint && slices.Equal(l.Files, other.Files)
}

// recordLeftOut remembers what an index leaves out. That it fails, because the volume is read-only or full,
// costs health a warning.
func (x *Index) recordLeftOut() {
	changeLeftOut(x.state, func(s *leftOutState) { s.Read = leftOut(x.listBroken()) })
}

// RecordLeftOut remembers the segments that a certificate names, for LastLeftOut.
func (d *Dir) RecordLeftOut(c Certificate) {
	changeLeftOut(d.state, func(s *leftOutState) {
		s.Verified = leftOut(slices.Concat(c.Broken, c.Strays))
	})
}

func changeLeftOut(dir *state.Dir, change func(*leftOutState)) {
	var last leftOutState
	if err := dir.Read(leftOutName, &last); err != nil && !errors.Is(err, fs.ErrNotExist) {
		last = leftOutState{}
	}
	next := last
	change(&next)
	if !next.Read.equal(last.Read) || !next.Verified.equal(last.Verified) {
		_ = dir.Write(leftOutName, next)
	}
}

// LastLeftOut returns the segments that were left out when the tape was last read or verified and are still
// there, in the order of their paths, and when that was found. It reads none of them.
func (d *Dir) LastLeftOut() (found LeftOut, at time.Time, err error) {
	var last leftOutState
	if err := d.state.Read(leftOutName, &last); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return found, at, err
	}
	info, err := os.Stat(d.state.Path(leftOutName))
	if err != nil {
		return found, at, err
	}
	named := map[string]bool{}
	for _, l := range []LeftOut{last.Read, last.Verified} {
		for _, file := range l.Files {
			if _, err := os.Lstat(d.catalog.path(file.Path)); err == nil && !named[file.Path] {
				named[file.Path], found.Hint = true, l.Hint
				found.Files = append(found.Files, file)
			}
		}
	}
	slices.SortFunc(found.Files, func(a, b LeftOutFile) int { return strings.Compare(a.Path, b.Path) })
	return found, info.ModTime(), nil
}
