package stream

import "time"

// cadence learns how long a symbol or a connection is usually silent: the longest silence of the last
// minutes, which fades. Trades come in bursts, so that a mean between them says little about when
// silence begins to mean something.
type cadence struct {
	gaps  int
	total time.Duration
	quiet time.Duration
}

const (
	// cadenceMemory is the time in which a long silence fades to a third, if none like it comes.
	cadenceMemory = 10 * time.Minute
	// A cadence is known after so many silences over so long a time.
	cadenceGaps  = 20
	cadenceTotal = 20 * time.Second
)

// observe takes a silence that has ended.
func (c *cadence) observe(gap time.Duration) {
	if gap < 0 {
		return
	}
	c.quiet -= time.Duration(float64(c.quiet) * min(1, float64(gap)/float64(cadenceMemory)))
	c.quiet = max(c.quiet, gap)
	if c.gaps < cadenceGaps || c.total < cadenceTotal {
		c.gaps++
		c.total += gap
	}
}

// expected is the longest usual silence; ok is false where little is known yet.
func (c *cadence) expected() (quiet time.Duration, ok bool) {
	return c.quiet, c.gaps >= cadenceGaps && c.total >= cadenceTotal
}

// When silence means that a connection, or a symbol on it, is dead. A connection that usually is not
// silent for longer than 6 s, and a symbol not for longer than 3 s, are found within 25 s, which leaves
// the new connection 5 s to be up. A needless replacement costs one connection and loses nothing.
const (
	connectionFactor, connectionLeast = 4, 10 * time.Second
	symbolFactor, symbolLeast         = 8, 15 * time.Second
	// silenceUnknown is the least for a connection whose cadence is not known, silenceMost bounds every limit.
	silenceUnknown = time.Minute
	silenceMost    = 30 * time.Minute
	// The exchange pings every 20 s whatever is traded. A connection on which it stopped is dead.
	pingMost = 75 * time.Second
)

// limit is the silence from which on something is thought dead. It doubles with each time in a row that
// replacing the connection did not help.
func limit(quiet time.Duration, factor int, least time.Duration, strikes int) time.Duration {
	return min(max(quiet*time.Duration(factor), least)<<min(strikes, 8), silenceMost)
}
