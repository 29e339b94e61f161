package tape

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"tapedeck/internal/wording"
)

// namedBroken is how many segments BrokenLines names.
const namedBroken = 5

// BrokenLines describes segments that are left out, the first few by name, one line each.
func BrokenLines(broken []BrokenSegment) (lines []string) {
	for i, b := range broken {
		if i == namedBroken && len(broken) > namedBroken+1 {
			return append(lines, fmt.Sprintf("%s left out too", wording.Count(len(broken)-i, "more file is", "more files are")))
		}
		if b.IsStray() {
			lines = append(lines, b.Error())
		} else {
			lines = append(lines, fmt.Sprintf("%s cannot be read and is left out: %v", b.Path, b.Err))
		}
	}
	return lines
}

// IsForbidden reports whether this process lacks the permission to read the file, which may be intact.
func (b BrokenSegment) IsForbidden() bool {
	return b.Err != nil && (errors.Is(b.Err, fs.ErrPermission) || strings.HasSuffix(b.Err.Error(), syscall.EACCES.Error()))
}

// Cure says in one sentence, without its dot, what to do about a stray segment.
func (b BrokenSegment) Cure() string {
	switch {
	case b.isOtherFeed():
		return "Move it out of the data directory"
	case b.isOtherTape():
		return "`tapedeck repair` adds its rows if they fit"
	}
	return "`tapedeck repair` heals it"
}

// BrokenReason says in one clause what is wrong with segments that are left out, and what to do about them.
// Both are empty if there are none.
func BrokenReason(broken []BrokenSegment) (reason, hint string) {
	var reasons, hints []string
	strays := slices.DeleteFunc(slices.Clone(broken), func(b BrokenSegment) bool { return !b.IsStray() })
	if n := len(broken) - len(strays); n > 0 {
		reasons = append(reasons, wording.Count(n, "file")+" of the tape could not be read")
	}
	if slices.ContainsFunc(broken, BrokenSegment.IsForbidden) {
		hints = append(hints, "let this user read what it may not (chown, chmod)")
	}
	if slices.ContainsFunc(broken, func(b BrokenSegment) bool { return !b.IsStray() && !b.IsForbidden() }) {
		hints = append(hints, "move what cannot be read out of the data directory; tapedeck backfill then fetches its trades again")
	}
	feeds, tapes := 0, 0
	for _, b := range strays {
		switch {
		case b.isOtherFeed():
			feeds++
		case b.isOtherTape():
			tapes++
		}
	}
	if feeds > 0 {
		hints = append(hints, "move what is of another feed out of the data directory")
	}
	if tapes > 0 {
		hints = append(hints, "tapedeck repair adds rows of another tape that fit; move them out of the data directory if they do not belong to this one")
	}
	if n := len(strays); n > 0 {
		reasons = append(reasons, wording.Count(n, "file of the tape does", "files of the tape do")+" not belong where "+
			map[bool]string{true: "it is", false: "they are"}[n == 1])
	}
	if len(strays) > feeds+tapes {
		hints = append(hints, "tapedeck repair removes what is on the tape twice and moves what is in the wrong place")
	}
	return strings.Join(reasons, ", and "), strings.Join(hints, "; ")
}
