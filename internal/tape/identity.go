package tape

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// tapeKey is the key of a tape's id in a segment's metadata.
const tapeKey = "tapedeck.tape"

// identity tells the segments of a tape from those of another one. tape.json has it, and the metadata of each
// segment of trades.
type identity struct {
	feed Feed // empty if a segment does not say
	// id is random and made with the tape. It is empty for a tape that an earlier version created, and for
	// what such a tape, an earlier version or another program wrote.
	id string
}

// newTapeID returns a random id.
func newTapeID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// validTapeID returns id if newTapeID can have made it, or "". The id of a segment is shown to people, in a command.
func validTapeID(id string) string {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 16 || hex.EncodeToString(raw) != id {
		return ""
	}
	return strings.Clone(id) // a substring would keep the whole footer in memory
}

// identityOf returns what the metadata of a segment says.
func identityOf(file parquetFile) identity {
	feed, _ := file.Lookup(feedKey)
	id, _ := file.Lookup(tapeKey)
	return identity{Feed(strings.Clone(feed)), validTapeID(id)}
}

// shared returns id, and the tape's own string if it is equal, so that an index does not hold it for each segment.
func (i identity) shared(id string) string {
	if id == i.id {
		return i.id
	}
	return id
}

// sameFeed and sameTape report whether a segment can be one of the tape. What is not said does not differ.
func (i identity) sameFeed(segment identity) bool {
	return segment.feed == "" || segment.feed == i.feed
}

func (i identity) sameTape(segment identity) bool {
	return segment.id == "" || i.id == "" || segment.id == i.id
}

// owns reports whether a segment can be one of the tape.
func (i identity) owns(segment identity) bool { return i.sameFeed(segment) && i.sameTape(segment) }
