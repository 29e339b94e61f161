package exchange

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// FaultKind names a kind of fault.
type FaultKind string

// Faults of connections happen immediately, to one open connection (Rates: faults a minute).
const (
	// Cut resets the TCP connection.
	Cut FaultKind = "cut"
	// Close closes with a close frame; Fault.Code is its code, 0 means 1001.
	Close FaultKind = "close"
	// Silence stops sending anything, pings and answers too, and keeps the connection open.
	Silence FaultKind = "silence"
	// Mute stops sending events; pings and answers continue.
	Mute FaultKind = "mute"
	// Shutdown sends serverShutdown and closes after Fault.For; 0 means a second.
	Shutdown FaultKind = "shutdown"
)

// Faults of messages happen to the next events sent (Rates: share of events).
const (
	// Drop omits an event.
	Drop FaultKind = "drop"
	// Duplicate sends an event twice.
	Duplicate FaultKind = "duplicate"
	// Reorder sends an event after the next one of its connection.
	Reorder FaultKind = "reorder"
	// Damage sends something invalid instead of an event: half of it, wrong types, another stream's
	// event …
	Damage FaultKind = "damage"
	// Conflict sends an event, and then another one with its id and other content.
	Conflict FaultKind = "conflict"
)

// Faults of handshakes happen to the next websocket handshakes (Rates: share of handshakes).
const (
	// Refuse answers with the status Fault.Code, 0 means 429, 418 and 503 in turn, and a Retry-After.
	Refuse FaultKind = "refuse"
	// Impostor accepts the handshake and then sends another market's events: every one has other
	// content than the same id on other connections and in REST.
	Impostor FaultKind = "impostor"
)

// Faults of REST happen to the next requests (Rates: share of requests).
const (
	// REST429 answers 429. Until its Retry-After ends, further requests are offences and get 429 too.
	REST429 FaultKind = "rest_429"
	// REST418 bans the address until its Retry-After ends.
	REST418 FaultKind = "rest_418"
	// REST403 answers as the firewall in front of the exchange: in HTML, and without Retry-After.
	REST403 FaultKind = "rest_403"
	// REST5xx answers with the status Fault.Code; 0 means 500, 502, 503 and 504 in turn.
	REST5xx FaultKind = "rest_5xx"
	// RESTReset resets the connection in the middle of the body.
	RESTReset FaultKind = "rest_reset"
	// RESTTruncated answers 200 with half of the JSON and a matching Content-Length.
	RESTTruncated FaultKind = "rest_truncated"
	// RESTLater omits the first rows of a page requested by fromId.
	RESTLater FaultKind = "rest_later"
	// RESTSlow answers after Fault.For; 0 means a second.
	RESTSlow FaultKind = "rest_slow"
	// RESTConflict answers a page with one row that has other content than before.
	RESTConflict FaultKind = "rest_conflict"
)

// Faults of the archive happen to one file, until it was downloaded Fault.Times times; then a correct
// file replaces it (Rates: share of files).
const (
	// ArchiveLate answers 404 for the file and its checksum.
	ArchiveLate FaultKind = "archive_late"
	// ArchiveShort has only the first part of the day, and a matching checksum.
	ArchiveShort FaultKind = "archive_short"
	// ArchiveChecksum has a checksum that does not match.
	ArchiveChecksum FaultKind = "archive_checksum"
	// ArchiveCorrupt has a zip that cannot be read, and a matching checksum.
	ArchiveCorrupt FaultKind = "archive_corrupt"
	// ArchiveNoChecksum answers 404 for the checksum.
	ArchiveNoChecksum FaultKind = "archive_no_checksum"
	// ArchiveHole lacks rows in the middle of the day, and has a matching checksum.
	ArchiveHole FaultKind = "archive_hole"
	// ArchiveReset resets the connection in the middle of the zip.
	ArchiveReset FaultKind = "archive_reset"
	// ArchiveRepublished is correct, and yet replaced by another file with the same rows.
	ArchiveRepublished FaultKind = "archive_republished"
	// ArchiveUnsorted has all rows out of order and some twice, and a matching checksum.
	ArchiveUnsorted FaultKind = "archive_unsorted"
	// ArchiveRevised is correct, and then replaced for good by a file in which some rows have other
	// content, with a matching checksum. Binance did that on 2024-11-19.
	ArchiveRevised FaultKind = "archive_revised"
)

var (
	connectionFaults = []FaultKind{Cut, Close, Silence, Mute, Shutdown}
	messageFaults    = []FaultKind{Drop, Duplicate, Reorder, Damage, Conflict}
	handshakeFaults  = []FaultKind{Refuse, Impostor}
	restFaults       = []FaultKind{
		REST429, REST418, REST403, REST5xx, RESTReset, RESTTruncated, RESTLater, RESTSlow, RESTConflict,
	}
	archiveFaults = []FaultKind{
		ArchiveLate, ArchiveShort, ArchiveChecksum, ArchiveCorrupt, ArchiveNoChecksum, ArchiveHole, ArchiveUnsorted,
		ArchiveReset, ArchiveRepublished, ArchiveRevised,
	}
	// contentFaults serve other content for an id. What a client has afterwards may depend on what it
	// received first.
	contentFaults = []FaultKind{Conflict, Impostor, RESTConflict, ArchiveRevised}
)

// FaultKinds lists all kinds: those of connections, messages, handshakes, REST and the archive.
func FaultKinds() []FaultKind {
	return slices.Concat(connectionFaults, messageFaults, handshakeFaults, restFaults, archiveFaults)
}

// Fault is a request for faults of one kind.
type Fault struct {
	Kind FaultKind
	// Count is how many connections, messages, handshakes, requests or files it happens to; 0 means 1,
	// below 0 means all from now on.
	Count int
	// Match, if not empty, must be part of a stream's name, or of a request's path and query.
	Match string
	// Code is an HTTP status or a close code; 0 means the kind's default.
	Code int
	// RetryAfter is sent with a refusal; 0 means a second for 429 and 503 and two for 418.
	RetryAfter time.Duration
	// For is the duration of Shutdown and RESTSlow.
	For time.Duration
	// Times is how many downloads of an archive file are faulty; 0 means 1, below 0 means all.
	Times int

	requested bool // by Inject, not drawn from the random schedule
}

// Faults is a random schedule of faults. The same seed assigns the same faults to the same events,
// request numbers, files and minutes.
type Faults struct {
	Seed uint64
	// Rates is how often each kind happens: connection faults a minute (of real time, while a
	// connection is open), all others as a share, 0 to 1, of the events, requests or files.
	Rates map[FaultKind]float64
}

// ChangesContent reports whether a kind of fault serves other content for an id that has been served.
func (k FaultKind) ChangesContent() bool { return slices.Contains(contentFaults, k) }

// EveryFault returns a schedule in which every kind happens, except those that change content.
func EveryFault(seed uint64) *Faults {
	rates := map[FaultKind]float64{Refuse: 0.2}
	for _, k := range connectionFaults {
		rates[k] = 2
	}
	// A client may need a minute to notice these. At a higher rate it would receive nothing.
	rates[Silence], rates[Mute] = .5, .5
	for _, k := range messageFaults {
		rates[k] = 0.002
	}
	for _, k := range restFaults {
		rates[k] = 0.02
	}
	// It has no Retry-After, so a careful client waits for seconds.
	rates[REST403] = 0.002
	for _, k := range archiveFaults {
		rates[k] = 0.1
	}
	for _, k := range contentFaults {
		delete(rates, k)
	}
	return &Faults{Seed: seed, Rates: rates}
}

// Validate reports an unknown kind or an impossible rate.
func (f *Faults) Validate() error {
	if f == nil {
		return nil
	}
	for kind, rate := range f.Rates {
		switch {
		case !slices.Contains(FaultKinds(), kind):
			return unknownFault(kind)
		case math.IsNaN(rate) || rate < 0:
			return fmt.Errorf("fault %q: rate %g is below 0", kind, rate)
		case rate > 1 && !slices.Contains(connectionFaults, kind):
			return fmt.Errorf("fault %q: rate %g is a share and above 1", kind, rate)
		}
	}
	return nil
}

func unknownFault(kind FaultKind) error {
	return fmt.Errorf("fault %q is unknown; the kinds are %s", kind, strings.Trim(fmt.Sprint(FaultKinds()), "[]"))
}

// PlannedFault is a connection fault of a random schedule.
type PlannedFault struct {
	// After is the time since the clock started.
	After time.Duration
	Kind  FaultKind
}

// Plan lists the connection faults of the first length of time, in order.
func (f *Faults) Plan(length time.Duration) []PlannedFault {
	var plan []PlannedFault
	if f == nil {
		return nil
	}
	for i, kind := range connectionFaults {
		rate := f.Rates[kind]
		if rate <= 0 {
			continue
		}
		rng := rand.New(rand.NewPCG(f.Seed, uint64(i)+1))
		wait := func() time.Duration { return time.Duration(rng.ExpFloat64() / rate * float64(time.Minute)) }
		for after := wait(); after < length; after += wait() {
			plan = append(plan, PlannedFault{After: after, Kind: kind})
		}
	}
	slices.SortStableFunc(plan, func(a, b PlannedFault) int { return cmp.Compare(a.After, b.After) })
	return plan
}

// injector decides which faults happen: requested ones that are pending, then those of the random
// schedule.
type injector struct {
	random *Faults

	ended   atomic.Bool // the random schedule is over
	mu      sync.Mutex
	pending []*Fault
	turns   map[string]int
}

func newInjector(random *Faults) *injector {
	return &injector{random: random, turns: map[string]int{}}
}

func (j *injector) add(f Fault) {
	f.Count = cmp.Or(f.Count, 1)
	f.requested = true
	j.mu.Lock()
	j.pending = append(j.pending, &f)
	j.mu.Unlock()
}

// putBack makes a fault pending again if it was requested. It is for a fault that could not happen to
// the request that took it.
func (j *injector) putBack(f Fault) {
	if f.requested && f.Count >= 0 {
		f.Count = 1
		j.add(f)
	}
}

// takeRequested returns the first pending fault of some kinds that matches the subject.
func (j *injector) takeRequested(kinds []FaultKind, subject string) (Fault, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, f := range j.pending {
		if !slices.Contains(kinds, f.Kind) || !strings.Contains(subject, f.Match) {
			continue
		}
		if f.Count--; f.Count == 0 {
			j.pending = slices.Delete(j.pending, i, i+1)
		}
		return *f, true
	}
	return Fault{}, false
}

// take returns the fault that happens to the subject: a requested one, otherwise one of the random
// schedule. That is drawn by the key and, if inTurn is set, by how often the key was drawn before.
func (j *injector) take(kinds []FaultKind, subject, key string, inTurn bool) (Fault, bool) {
	if f, ok := j.takeRequested(kinds, subject); ok || j.random == nil || j.ended.Load() {
		return f, ok
	}
	var turn uint64
	if inTurn {
		turn = uint64(j.turn(key))
	}
	draw := uniform(j.random.Seed, key, turn)
	for _, kind := range kinds {
		if draw -= j.random.Rates[kind]; draw < 0 {
			return Fault{Kind: kind}, true
		}
	}
	return Fault{}, false
}

// idle reports that no fault of some kinds is possible, so that dispatch can skip looking for one.
func (j *injector) idle(kinds []FaultKind) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	possible := slices.ContainsFunc(j.pending, func(f *Fault) bool { return slices.Contains(kinds, f.Kind) })
	if j.random != nil && !j.ended.Load() {
		possible = possible || slices.ContainsFunc(kinds, func(kind FaultKind) bool { return j.random.Rates[kind] > 0 })
	}
	return !possible
}

// uniform returns a number in [0, 1) that is a function of its arguments.
func uniform(seed uint64, key string, turn uint64) float64 {
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, key)
	return float64(Mix(hash.Sum64()^Mix(seed)^Mix(turn+0x9e3779b97f4a7c15))>>11) / (1 << 53)
}

// Mix is the finalizer of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators", 2014.
func Mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
