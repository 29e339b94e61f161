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
	// A cadence is known after so many silences, and well known after so long a time.
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

// expected is the longest usual silence; known is false where that says little yet.
func (c *cadence) expected() (quiet time.Duration, known bool) {
	return c.quiet, c.gaps >= cadenceGaps && c.total >= cadenceTotal
}

// When silence means that a connection, or a symbol on it, is dead. A connection that usually is not
// silent for longer than 6 s, and a symbol not for longer than 3 s, are found within 25 s, which leaves
// the new connection 5 s to be up. A needless replacement costs one connection and loses nothing.
const (
	connectionFactor, connectionLeast = 4, 5 * time.Second
	symbolFactor, symbolLeast         = 8, 15 * time.Second
	// The least for a connection of which only that it delivers is known, or not even that.
	connectionYoung, connectionNew = 15 * time.Second, time.Minute
	// Limits double each time in a row that a replacement did not help, up to these. Symbols are often
	// suspended; a whole connection of a kind that trades is not.
	connectionMost, silenceMost = 25 * time.Second, 30 * time.Minute
	// The exchange pings every 20 s whatever is traded. A connection on which it stopped is dead.
	pingMost = 75 * time.Second
)

// connectionLimit is the silence from which on a connection is thought dead.
func connectionLimit(c *cadence, strikes int) time.Duration {
	quiet, known := c.expected()
	least, most := connectionLeast, connectionMost
	if !known {
		least = connectionYoung
	}
	if c.gaps < cadenceGaps {
		least, most = connectionNew, silenceMost
	}
	return doubled(max(quiet*connectionFactor, least), strikes, most)
}

// symbolLimit is the same for a symbol whose usual silence is known.
func symbolLimit(quiet time.Duration, strikes int) time.Duration {
	return doubled(max(quiet*symbolFactor, symbolLeast), strikes, silenceMost)
}

// doubled doubles a limit so many times, but not beyond most, if it is not there already.
func doubled(limit time.Duration, times int, most time.Duration) time.Duration {
	return max(limit, min(limit<<min(times, 16), most))
}
