package tape

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"tapedeck/internal/durable"
)

// ErrNoManifest is wrapped by a *ManifestError.
var ErrNoManifest = errors.New("there are trades, but no " + manifestName)

// ManifestError is returned for a directory whose tape.json cannot be read, or has none although it has
// trades.
type ManifestError struct {
	// Path is that of tape.json, Problem what is wrong with it.
	Path, Problem string
	// Content is one line that tape.json can have, with the feed and the creation of the tape's segments; empty if
	// they do not say.
	Content string
}

func (e *ManifestError) Error() string { return fmt.Sprintf("%q %s", e.Path, e.Problem) }
func (e *ManifestError) Unwrap() error { return ErrNoManifest }

// manifest is the content of tape.json.
type manifest struct {
	Format    int       `json:"format"`
	Feed      Feed      `json:"feed"`
	CreatedAt time.Time `json:"made_at"`
	// ID is the tape's; see identity.
	ID string `json:"id,omitempty"`
}

// readManifest reads tape.json. The error is ErrNoTape, *ManifestError, *NewerError or one of the file system.
func readManifest(dir layout) (m manifest, err error) {
	path := dir.path(manifestName)
	problem := func(text string) error { return &ManifestError{path, text, describeManifest(catalog{dir})} }
	text, err := durable.ReadFile(path, 64<<10)
	switch {
	case errors.Is(err, fs.ErrNotExist) && catalog{dir}.hasTrades():
		return m, problem("is missing, but there are trades")
	case errors.Is(err, fs.ErrNotExist):
		return m, fmt.Errorf("open %q: %w", string(dir), ErrNoTape)
	case err != nil:
		return m, fmt.Errorf("open the tape: %w", err)
	case len(bytes.TrimSpace(text)) == 0:
		return m, problem("is empty")
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, problem(fmt.Sprintf("cannot be read: %v", err))
	}
	if m.Format > Format {
		return m, &NewerError{Path: string(dir), Format: m.Format}
	}
	if _, err := ParseFeed(string(m.Feed)); err != nil || m.Format < 1 {
		return m, problem("is not a tape's description")
	}
	m.ID = validTapeID(m.ID)
	return m, nil
}

// CheckManifest returns an error if tape.json is not as it was when the tape was opened. Without it no command can
// open the tape.
func (d *Dir) CheckManifest() error {
	m, err := readManifest(d.layout)
	if err == nil && m.Feed != d.Feed() {
		return &FeedError{Path: d.Path(), Have: m.Feed, Want: d.Feed()}
	}
	if err == nil && !d.identity().sameTape(identity{id: m.ID}) {
		text, _ := json.Marshal(d.manifest)
		return &ManifestError{d.layout.path(manifestName), "is that of another tape", string(text)}
	}
	if errors.Is(err, ErrNoTape) { // nothing was recorded yet
		return &ManifestError{d.layout.path(manifestName), "is missing", describeManifest(d.catalog)}
	}
	return err
}

// hasTrades reports whether there is a segment of trades that is not the tape's empty one.
func (c catalog) hasTrades() bool {
	dates, _ := c.dates(Trades, "", "")
	for _, date := range dates {
		if files, err := c.files(Trades, date); err == nil && len(files) > 0 {
			return true
		}
	}
	return false
}

// describeManifest returns the line that tape.json had, from the segment without rows that is made with the
// tape, or others if that is lost; empty if none says which feed it has. If segments were copied from another
// tape, the line is about the tape of most of them.
func describeManifest(c catalog) string {
	paths := []string{emptyPath(Trades)}
	dates, _ := c.dates(Trades, "", "")
	for _, date := range dates {
		if names, _ := c.files(Trades, date); len(names) > 0 {
			paths = append(paths, segmentPath(Trades, date, names[0]))
		}
		if len(paths) > maxListings {
			break
		}
	}
	var first *manifest
	ids, best := map[string]int{}, ""
	for _, path := range paths {
		found := readSegmentFooter(c.path(path))
		info, err := os.Stat(c.path(path))
		if _, feedErr := ParseFeed(string(found.tape.feed)); err != nil || found.err != nil || feedErr != nil {
			continue
		}
		if first == nil {
			first = &manifest{Format: Format, Feed: found.tape.feed, CreatedAt: info.ModTime().UTC().Truncate(time.Second)}
		}
		if ids[found.tape.id]++; ids[found.tape.id] > ids[best] {
			best = found.tape.id
		}
	}
	if first == nil {
		return ""
	}
	first.ID = best
	text, _ := json.Marshal(*first)
	return string(text)
}
