package stream

import "time"

// usualSilence estimates how long a symbol or a connection usually goes without a trade: the
// longest recent silence, which fades. It is not a mean, because trades come in bursts.
type usualSilence struct {
	count   int           // silences observed
	total   time.Duration // their sum
	longest time.Duration
}

const (
	// silenceMemory is the time in which a long silence fades to a third if none like it follows.
	silenceMemory = 10 * time.Minute
	// The estimate is usable after this many silences and this much time.
	silencesNeeded, silentTimeNeeded = 20, 20 * time.Second
)

// observe adds a silence that has ended.
func (u *usualSilence) observe(silence time.Duration) {
	if silence < 0 {
		return
	}
	u.longest -= time.Duration(float64(u.longest) * min(1, float64(silence)/float64(silenceMemory)))
	u.longest = max(u.longest, silence)
	if u.count < silencesNeeded || u.total < silentTimeNeeded {
		u.count++
		u.total += silence
	}
}

// estimate returns the longest usual silence; ok is false if too few were observed.
func (u *usualSilence) estimate() (longest time.Duration, ok bool) {
	return u.longest, u.count >= silencesNeeded && u.total >= silentTimeNeeded
}

// milliseconds returns the estimate for the state file: at least 1, or 0 if there is none.
func (u *usualSilence) milliseconds() int64 {
	longest, ok := u.estimate()
	if !ok {
		return 0
	}
	return max(longest.Milliseconds(), 1)
}

// Limits of silence. A connection that is usually not silent for longer than 6 s, and a symbol not
// for longer than 3 s, are found within 25 s, which leaves the new connection 5 s to be up. An
// unnecessary replacement costs one connection and loses nothing.
const (
	connectionFactor, connectionLeast = 4, 5 * time.Second
	symbolFactor, symbolLeast         = 8, 15 * time.Second
	// Minima for a connection with some trades but no estimate yet, and for one with hardly any.
	connectionYoung, connectionNew = 15 * time.Second, time.Minute
	// A limit doubles with each replacement in a row that brought no trade, up to these. Symbols
	// are often suspended; all symbols of a connection rarely are.
	connectionMost, silenceMost = 25 * time.Second, 30 * time.Minute
	// The exchange pings every 20 s, even if nothing trades. A connection without pings for this
	// long is dead.
	pingMost = 75 * time.Second
)

// connectionLimit returns the silence after which a connection is replaced.
func connectionLimit(usual *usualSilence, replacements int) time.Duration {
	longest, ok := usual.estimate()
	least, most := connectionLeast, connectionMost
	if !ok {
		least = connectionYoung
	}
	if usual.count < silencesNeeded {
		least, most = connectionNew, silenceMost
	}
	return doubled(max(longest*connectionFactor, least), replacements, most)
}

// symbolLimit returns the silence of a symbol after which its connection is replaced.
func symbolLimit(longest time.Duration, replacements int) time.Duration {
	return doubled(max(longest*symbolFactor, symbolLeast), replacements, silenceMost)
}

// doubled doubles a limit that many times, up to most. A limit above most stays as it is.
func doubled(limit time.Duration, times int, most time.Duration) time.Duration {
	return max(limit, min(limit<<min(times, 16), most))
}
