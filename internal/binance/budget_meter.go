package binance

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// meter counts the usage of one limit.
type meter struct {
	RateLimit
	// Used is the weight by the slot of time in which the response came, or will have come at the
	// latest. It counts until one window after the slot.
	Used map[int64]int64 `json:"used"`
}

func (m *meter) slot() time.Duration { return max(m.Window()/budgetSlots, time.Millisecond) }

func (m *meter) slotOf(at time.Time) int64 { return at.UnixNano() / int64(m.slot()) }

// freeAt returns when the usage of a slot stops counting.
func (m *meter) freeAt(slot int64) time.Time {
	return time.Unix(0, (slot+1)*int64(m.slot())).Add(m.Window())
}

func (m *meter) cost(weight int64) int64 {
	if m.Kind == limitCalls {
		return 1
	}
	return weight
}

// header returns the end of the name of the header with the usage, such as X-MBX-USED-WEIGHT-1m, in
// lower case.
func (m *meter) header() string {
	return strconv.FormatInt(m.Num, 10) + strings.ToLower(m.Interval[:1])
}

func (m *meter) add(at time.Time, cost int64) { m.Used[m.slotOf(at)] += cost }

func (m *meter) remove(at time.Time, cost int64) {
	slot := m.slotOf(at)
	if m.Used[slot] -= cost; m.Used[slot] <= 0 {
		delete(m.Used, slot)
	}
}

func (m *meter) sum() int64 {
	sum := int64(0)
	for _, cost := range m.Used {
		sum += cost
	}
	return sum
}

// expire removes usage that no longer counts. Usage further ahead than any reservation means that
// the clock was set back; it counts from now on, and expire returns true because that has to be
// written.
func (m *meter) expire(now time.Time) (moved bool) {
	latest := m.slotOf(now.Add(restTimeout + budgetSkew))
	for slot, cost := range m.Used {
		switch {
		case !m.freeAt(slot).After(now):
			delete(m.Used, slot)
		case slot > latest:
			delete(m.Used, slot)
			m.add(now, cost)
			moved = true
		}
	}
	return moved
}

// wait returns how long to wait until cost more may be used.
func (m *meter) wait(now time.Time, cost int64) time.Duration {
	room := max(m.Limit*budgetShare/100, cost) - cost
	if m.sum() <= room {
		return 0
	}
	over := m.sum() - room
	for _, slot := range slices.Sorted(maps.Keys(m.Used)) {
		if over -= m.Used[slot]; over <= 0 {
			return max(m.freeAt(slot).Sub(now), time.Millisecond)
		}
	}
	return m.Window()
}
