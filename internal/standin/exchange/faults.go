package exchange

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// FaultKind names something that goes wrong.
type FaultKind string

// Faults of connections happen at once to one open connection (Rates: so many a minute).
const (
	// Cut resets the TCP connection.
	Cut FaultKind = "cut"
	// Close closes with a close frame; Fault.Code is its code, 1001 where 0.
	Close FaultKind = "close"
	// Silence sends nothing any more, no pings and no answers either, and keeps the connection open.
	Silence FaultKind = "silence"
	// Mute sends no events any more; pings and answers go on.
	Mute FaultKind = "mute"
	// Shutdown sends serverShutdown and closes after Fault.For, which is a second where 0.
	Shutdown FaultKind = "shutdown"
)

// Faults of messages happen to the next events sent (Rates: share of events).
const (
	// Drop leaves an event out.
	Drop FaultKind = "drop"
	// Duplicate sends an event twice.
	Duplicate FaultKind = "duplicate"
	// Reorder sends an event after the next one of its connection.
	Reorder FaultKind = "reorder"
	// Damage sends something else in an event's place: half of it, wrong types, another stream's event …
	Damage FaultKind = "damage"
)

// Faults of handshakes happen to the next websocket handshakes (Rates: share of handshakes).
const (
	// Refuse answers with the status Fault.Code, 429, 418 or 503 in turn where 0, and a Retry-After.
	Refuse FaultKind = "refuse"
)

// Faults of REST happen to the next requests (Rates: share of requests).
const (
	// REST429 answers 429; until its Retry-After is over, further requests are an offence and get 429 too.
	REST429 FaultKind = "rest_429"
	// REST418 bans the address until its Retry-After is over.
	REST418 FaultKind = "rest_418"
	// REST403 answers as the firewall before the exchange does: in HTML, and without Retry-After.
	REST403 FaultKind = "rest_403"
	// REST5xx answers with the status Fault.Code, or 500, 502, 503, 504 in turn.
	REST5xx FaultKind = "rest_5xx"
	// RESTReset resets the connection in the middle of the body.
	RESTReset FaultKind = "rest_reset"
	// RESTTruncated answers 200 with half of the JSON, with a Content-Length that fits it.
	RESTTruncated FaultKind = "rest_truncated"
	// RESTLater leaves the first rows of a page asked for by fromId out.
	RESTLater FaultKind = "rest_later"
	// RESTSlow answers after Fault.For, a second where 0.
	RESTSlow FaultKind = "rest_slow"
)

// Faults of the archive happen to one day's file until it has been asked for Fault.Times times; then the right file
// is published in its place (Rates: share of files).
const (
	// ArchiveLate says 404 for the file and its checksum.
	ArchiveLate FaultKind = "archive_late"
	// ArchiveShort has the first part of the day only, under a checksum that fits.
	ArchiveShort FaultKind = "archive_short"
	// ArchiveChecksum has a checksum that does not fit.
	ArchiveChecksum FaultKind = "archive_checksum"
	// ArchiveCorrupt has a zip that cannot be read, under a checksum that fits.
	ArchiveCorrupt FaultKind = "archive_corrupt"
	// ArchiveNoChecksum says 404 for the checksum.
	ArchiveNoChecksum FaultKind = "archive_no_checksum"
	// ArchiveHole lacks rows in the middle of the day, under a checksum that fits.
	ArchiveHole FaultKind = "archive_hole"
	// ArchiveReset cuts the connection in the middle of the zip.
	ArchiveReset FaultKind = "archive_reset"
	// ArchiveRepublished is right, and is replaced all the same by another file with the same rows.
	ArchiveRepublished FaultKind = "archive_republished"
	// ArchiveUnsorted has all rows, not in order and some twice, under a checksum that fits.
	ArchiveUnsorted FaultKind = "archive_unsorted"
)

var (
	connectionFaults = []FaultKind{Cut, Close, Silence, Mute, Shutdown}
	messageFaults    = []FaultKind{Drop, Duplicate, Reorder, Damage}
	handshakeFaults  = []FaultKind{Refuse}
	restFaults       = []FaultKind{REST429, REST418, REST403, REST5xx, RESTReset, RESTTruncated, RESTLater, RESTSlow}
	archiveFaults    = []FaultKind{ArchiveLate, ArchiveShort, ArchiveChecksum, ArchiveCorrupt, ArchiveNoChecksum, ArchiveHole, ArchiveUnsorted, ArchiveReset, ArchiveRepublished}
)

// FaultKinds lists all kinds.
func FaultKinds() []FaultKind {
	return slices.Concat(connectionFaults, messageFaults, handshakeFaults, restFaults, archiveFaults)
}

// Fault asks for one kind of fault.
type Fault struct {
	Kind FaultKind
	// Count is to how many connections, messages, handshakes, requests or files it happens; 0 means 1, below 0 all
	// from now on.
	Count int
	// Match, where not empty, must be part of a stream's name, or of a request's path and query.
	Match string
	// Code is a status or a close code; 0 leaves it to the kind.
	Code int
	// RetryAfter goes with a refusal; 0 means a second for 429 and 503 and two for 418.
	RetryAfter time.Duration
	// For is how long the fault takes, where the kind says so.
	For time.Duration
	// Times is for how many downloads a file of the archive stays wrong; 0 means 1, below 0 for ever.
	Times int
}

// Faults is a random schedule. The same seed gives the same faults to the same events, requests in turn, files and
// minutes.
type Faults struct {
	Seed uint64
	// Rates is how often each kind happens: connection faults a minute (of real time, while a connection is open), all
	// others as a share, 0 to 1, of what they happen to.
	Rates map[FaultKind]float64
}

// EveryFault is a schedule in which every kind happens.
func EveryFault(seed uint64) *Faults {
	rates := map[FaultKind]float64{Refuse: 0.2}
	for _, k := range connectionFaults {
		rates[k] = 2
	}
	// These take a client up to a minute to notice; more of them and nothing would be sent any more.
	rates[Silence], rates[Mute] = .5, .5
	for _, k := range messageFaults {
		rates[k] = 0.002
	}
	for _, k := range restFaults {
		rates[k] = 0.02
	}
	// A client that minds it waits for seconds, for nobody says for how long.
	rates[REST403] = 0.002
	for _, k := range archiveFaults {
		rates[k] = 0.1
	}
	return &Faults{Seed: seed, Rates: rates}
}

// Validate finds a kind that does not exist and a rate that cannot be.
func (f *Faults) Validate() error {
	if f == nil {
		return nil
	}
	for kind, rate := range f.Rates {
		switch {
		case !slices.Contains(FaultKinds(), kind):
			return fmt.Errorf("fault %q is not known; there are %s", kind, joinKinds(FaultKinds()))
		case math.IsNaN(rate) || rate < 0:
			return fmt.Errorf("fault %q: rate %g is below 0", kind, rate)
		case rate > 1 && !slices.Contains(connectionFaults, kind):
			return fmt.Errorf("fault %q: rate %g is a share and above 1", kind, rate)
		}
	}
	return nil
}

func joinKinds(kinds []FaultKind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// Planned is a connection fault of a random schedule.
type Planned struct {
	// After is the time since playing began.
	After time.Duration
	Kind  FaultKind
}

// Plan lists the connection faults of the first so much time, in order.
func (f *Faults) Plan(length time.Duration) []Planned {
	var plan []Planned
	if f == nil {
		return nil
	}
	for i, kind := range connectionFaults {
		rate := f.Rates[kind]
		if rate <= 0 {
			continue
		}
		rng := rand.New(rand.NewPCG(f.Seed, uint64(i)+1))
		after := time.Duration(0)
		for {
			after += time.Duration(rng.ExpFloat64() / rate * float64(time.Minute))
			if after >= length {
				break
			}
			plan = append(plan, Planned{After: after, Kind: kind})
		}
	}
	slices.SortStableFunc(plan, func(a, b Planned) int { return int(a.After - b.After) })
	return plan
}

// faultBox holds what was asked for and has not happened, and draws from the random schedule.
type faultBox struct {
	random *Faults

	mu      sync.Mutex
	pending []*Fault
	turns   map[string]int
}

func newFaultBox(random *Faults) *faultBox {
	return &faultBox{random: random, turns: map[string]int{}}
}

func (b *faultBox) add(f Fault) {
	if f.Count == 0 {
		f.Count = 1
	}
	b.mu.Lock()
	b.pending = append(b.pending, &f)
	b.mu.Unlock()
}

// asked returns the fault that was asked for to happen to something.
func (b *faultBox) asked(kinds []FaultKind, subject string) (Fault, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, f := range b.pending {
		if !slices.Contains(kinds, f.Kind) || !strings.Contains(subject, f.Match) {
			continue
		}
		if f.Count > 0 {
			if f.Count--; f.Count == 0 {
				b.pending = slices.Delete(b.pending, i, i+1)
			}
		}
		return *f, true
	}
	return Fault{}, false
}

// take returns the fault that happens to something: one that was asked for, else one of the random schedule, which
// draws by the key (and by how often the key came before, where inTurn).
func (b *faultBox) take(kinds []FaultKind, subject, key string, inTurn bool) (Fault, bool) {
	if f, ok := b.asked(kinds, subject); ok || b.random == nil {
		return f, ok
	}
	var turn uint64
	if inTurn {
		turn = uint64(b.turn(key))
	}
	draw := uniform(b.random.Seed, key, turn)
	for _, kind := range kinds {
		if draw -= b.random.Rates[kind]; draw < 0 {
			return Fault{Kind: kind}, true
		}
	}
	return Fault{}, false
}

// idle says that no message can meet a fault, so that looking for one can be skipped.
func (b *faultBox) idle(kinds []FaultKind) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.pending {
		if slices.Contains(kinds, f.Kind) {
			return false
		}
	}
	if b.random != nil {
		for _, kind := range kinds {
			if b.random.Rates[kind] > 0 {
				return false
			}
		}
	}
	return true
}

// uniform is a number in [0, 1) that depends on nothing but its arguments.
func uniform(seed uint64, key string, turn uint64) float64 {
	h := uint64(14695981039346656037) // FNV-1a, then the finalizer of SplitMix64
	for i := 0; i < len(key); i++ {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return float64(mix(h^mix(seed)^mix(turn+0x9e3779b97f4a7c15))>>11) / (1 << 53)
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
