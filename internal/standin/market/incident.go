package market

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	// baseline is how much history precedes an incident whose time the seed chooses. Detectors need
	// 12 hours, and a reader who fetches the last 24 of 26 hours must have them too.
	baseline = 14 * time.Hour
	// minHistory has room for the standard incidents after their baseline.
	minHistory = 21 * time.Hour
	// minSpacing is the time between incidents of related pairs when the seed chooses the time.
	minSpacing = 2 * time.Hour
)

// curve is a value over time: linear between its points, 0 before the first, and constant after the
// last.
type curve []point

// point is a value at a time, which is in minutes after the onset while a builder shapes the incident,
// and then in whole µs.
type point struct{ at, value float64 }

func (c curve) at(micros int64) float64 {
	at := float64(micros)
	if len(c) == 0 || at < c[0].at {
		return 0
	}
	for i := 1; i < len(c); i++ {
		if at < c[i].at {
			a, b := c[i-1], c[i]
			return a.value + (b.value-a.value)*(at-a.at)/(b.at-a.at)
		}
	}
	return c[len(c)-1].value
}

// incident is what happens to a pair in [from, to).
type incident struct {
	event       Event
	pair        *pair
	from, to    int64   // µs
	priceShift  curve   // log price
	pairOnly    bool    // priceShift moves this pair against its assets, not the base asset
	extraOrders curve   // additional orders a second
	buyShare    curve   // the share of those that buys
	sweepShare  float64 // the share of those that takes two price levels or more
	sizeFactor  float64 // multiplies their size, and the quantity that makers offer them
	excitation  float64 // how many orders one of them triggers, relative to a usual order
	volatility  curve   // added to 1, multiplies the base asset's volatility
	silent      bool
	whale       *whale
}

// whale is one large order.
type whale struct {
	at       int64 // µs
	buy      bool
	multiple float64 // of the largest order so far
	sweep    float64 // share of the price that it moves through
	levels   int
}

// scheduleIncidents schedules the incidents that the configuration asks for.
func (m *Market) scheduleIncidents() error {
	requests := m.config.Incidents
	if requests == nil && m.config.History >= minHistory {
		requests = Standard()
	}
	if m.config.Quiet {
		requests = nil
	}
	random := random(m.config.Seed, "incidents")
	// Those with a given time or symbol come first, so that the seed's choices avoid them.
	requests = slices.Clone(requests)
	slices.SortStableFunc(requests, func(a, b Incident) int { return cmp.Compare(a.choices(), b.choices()) })
	for _, request := range requests {
		if err := m.schedule(request, random); err != nil {
			return fmt.Errorf("%s: %w", request.Kind, err)
		}
	}
	return nil
}

// choices counts what the seed has to choose.
func (in Incident) choices() (n int) {
	if in.Symbol == "" {
		n++
	}
	if in.At.IsZero() {
		n++
	}
	return n
}

func (m *Market) schedule(request Incident, random *rand.Rand) error {
	pairs, err := m.candidates(request)
	if err != nil {
		return err
	}
	// Draw until the incident keeps its distance from others of related pairs. The distance shrinks
	// with each try, because many incidents on few pairs leave little room.
	const tries = 200
	for try := range tries {
		p := pairs[random.IntN(len(pairs))]
		in := newIncident(request.Kind, p, request.At, request.Size, random)
		if request.At.IsZero() {
			length := in.to - in.event.From.UnixMicro()
			first := max(m.begin, p.listedAt) + baseline.Microseconds()
			last := m.config.Start.UnixMicro() - length - (10 * time.Minute).Microseconds()
			if last < first {
				return fmt.Errorf("a history of %s has no room for it after a baseline of %s: give it a time", m.config.History, baseline)
			}
			at := time.UnixMicro(first + random.Int64N(last-first+1)).UTC()
			in = newIncident(request.Kind, p, at.Truncate(time.Minute), request.Size, random)
			if in.to > m.config.Start.UnixMicro() || m.overlaps(in, minSpacing*time.Duration(tries-try)/tries) {
				continue
			}
		}
		if in.from < max(m.begin, p.listedAt) {
			return fmt.Errorf("at %s %s did not trade yet", request.At.Format(time.RFC3339), p.name)
		}
		m.incidents, p.incidents = append(m.incidents, in), append(p.incidents, in)
		switch {
		case in.priceShift == nil:
		case in.pairOnly:
			p.priceShifts = append(p.priceShifts, in.priceShift)
		default:
			p.base.priceShifts = append(p.base.priceShifts, in.priceShift)
		}
		return nil
	}
	return fmt.Errorf("no room for it beside the other %d incidents", len(m.incidents))
}

// candidates lists the pairs that an incident can be scheduled for, or reports why there are none.
func (m *Market) candidates(request Incident) ([]*pair, error) {
	if !slices.Contains(Kinds(), request.Kind) {
		return nil, fmt.Errorf("no such incident: the kinds are %s", strings.Join(Kinds(), ", "))
	}
	if !(request.Size >= 0) || request.Size > 3 {
		return nil, fmt.Errorf("size %g: the range is 0 (as drawn) to 3 times that", request.Size)
	}
	if request.Symbol != "" {
		p := m.byName[request.Symbol]
		if p == nil {
			return nil, fmt.Errorf("no symbol %q in this market", request.Symbol)
		}
		return []*pair{p}, nil
	}
	var pairs []*pair
	for _, p := range m.pairs {
		hasBaseline := p.listedAt == 0 ||
			max(p.listedAt, m.begin)+baseline.Microseconds() < m.config.Start.UnixMicro()
		if hasBaseline && slices.Contains(suitableClasses(request.Kind), p.class) {
			pairs = append(pairs, p)
		}
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("none of the %d symbols suits it: name one", len(m.pairs))
	}
	return pairs, nil
}

// overlaps reports whether another incident concerns the same base asset within margin. While some
// pairs have no incident the seed prefers those, because an incident spoils the baseline for a day.
func (m *Market) overlaps(in *incident, margin time.Duration) bool {
	for _, other := range m.incidents {
		p, q := in.pair, other.pair
		if p.base != q.base && p.base != q.quote && p.quote != q.base {
			continue
		}
		if margin > minSpacing/2 { // the first half of the tries: never the same asset
			return true
		}
		if in.from-margin.Microseconds() < other.to && other.from < in.to+margin.Microseconds() {
			return true
		}
	}
	return false
}
