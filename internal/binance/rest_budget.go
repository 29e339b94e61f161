package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// RateLimit is one of the exchange's limits, as exchangeInfo.rateLimits gives it.
type RateLimit struct {
	Kind     string // REQUEST_WEIGHT or RAW_REQUESTS
	Interval string // SECOND, MINUTE, HOUR or DAY
	Num      int64  // how many of them
	Limit    int64
}

const (
	limitWeight = "REQUEST_WEIGHT"
	limitCalls  = "RAW_REQUESTS"
)

// Window is the time in which Limit may be used; 0 for an unknown interval.
func (l RateLimit) Window() time.Duration {
	unit := map[string]time.Duration{"SECOND": time.Second, "MINUTE": time.Minute, "HOUR": time.Hour, "DAY": 24 * time.Hour}[l.Interval]
	return unit * time.Duration(l.Num)
}

const (
	// budgetShare is how much of a limit is used, in percent: the rest is for what else this address may be asking.
	budgetShare = 98
	// budgetSlots is into how many slots a window is divided. Weight is given back a slot late, so this costs 1/240 of it.
	budgetSlots = 240
	// budgetSkew is how far in the future a state file may lie before the clock is taken to have been set back.
	budgetSkew = 10 * time.Second
)

// defaultLimits hold until exchangeInfo has told the server's own (enums.md, "Rate limiters").
func defaultLimits() []RateLimit {
	return []RateLimit{
		{Kind: limitWeight, Interval: "MINUTE", Num: 1, Limit: 6000},
		{Kind: limitCalls, Interval: "MINUTE", Num: 5, Limit: 61000},
	}
}

// Budget is the one request budget of all processes that share a file: it holds each request back until the
// exchange's limits allow it, and remembers a ban beyond the process.
//
// What a request weighs counts from before it is sent until one window after its answer, so whichever way the
// server's windows lie, none of them sees more than the limit. Where the server says that more was used than we know of,
// somebody else at this address used it, and that counts too.
type Budget struct {
	path    string
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	maxWait time.Duration

	mu sync.Mutex // one goroutine of a process at a time takes the file's lock
}

// BudgetOptions are a budget's settings; the zero value is the system's clock.
type BudgetOptions struct {
	Now   func() time.Time                           // nil: the system's clock
	Sleep func(context.Context, time.Duration) error // nil: a timer
	// MaxWait is the longest that a request waits for the end of a 429 or a ban before it fails; 0 means 10 minutes.
	MaxWait time.Duration
}

// OpenBudget opens the budget kept in the file at path, beside which path+".lock" is made. Nothing is read or written yet.
func OpenBudget(path string, opt BudgetOptions) *Budget {
	b := &Budget{path: path, now: opt.Now, sleep: opt.Sleep, maxWait: opt.MaxWait}
	if b.now == nil {
		b.now = time.Now
	}
	if b.sleep == nil {
		b.sleep = sleep
	}
	if b.maxWait == 0 {
		b.maxWait = 10 * time.Minute
	}
	return b
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// BudgetState is what a budget's file says at this instant.
type BudgetState struct {
	Limits       []RateLimit
	LimitsAt     time.Time // when exchangeInfo was last read; zero for never
	LimitsFresh  bool      // that was within a day
	UsedWeight   int64     // of the weight limit, requests under way included
	BlockedUntil time.Time // zero where the exchange has not asked us to wait
	Banned       bool      // the wait is a ban
}

// WeightPerMinute is what may be used in a minute.
func (s BudgetState) WeightPerMinute() int64 {
	for _, limit := range s.Limits {
		if limit.Kind == limitWeight && limit.Window() > 0 {
			return max(1, limit.Limit*budgetShare/100*int64(time.Minute)/int64(limit.Window()))
		}
	}
	return 6000 * budgetShare / 100
}

// State reads the budget.
func (b *Budget) State() (BudgetState, error) {
	var state BudgetState
	err := b.locked(func(file *budgetFile, now time.Time) (bool, bool) {
		state.Limits, state.LimitsAt = file.Limits, file.LimitsAt
		state.LimitsFresh = now.Sub(file.LimitsAt) < 24*time.Hour
		for _, meter := range file.Meters {
			if meter.Kind == limitWeight {
				state.UsedWeight = max(state.UsedWeight, meter.sum())
			}
		}
		if file.BlockedUntil.After(now) {
			state.BlockedUntil, state.Banned = file.BlockedUntil, file.Banned
		}
		return false, false
	})
	return state, err
}

// SetLimits takes the server's own limits; kinds other than weight and requests are ignored.
func (b *Budget) SetLimits(limits []RateLimit) error {
	var kept []RateLimit
	for _, limit := range limits {
		if (limit.Kind == limitWeight || limit.Kind == limitCalls) && limit.Window() > 0 && limit.Limit > 0 {
			kept = append(kept, limit)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return b.locked(func(file *budgetFile, now time.Time) (bool, bool) {
		file.Limits, file.LimitsAt = kept, now
		file.arrange()
		return true, false
	})
}

// reservation is what a request under way holds.
type reservation struct {
	weight int64
	until  time.Time // when it is given back if nobody settles it, because the process was killed
}

// reserve waits until a request of a weight may be sent. hold is how long its answer may take at most.
func (b *Budget) reserve(ctx context.Context, weight int64, hold time.Duration) (reservation, error) {
	for {
		var wait time.Duration
		var refused error
		held := reservation{weight: weight}
		err := b.locked(func(file *budgetFile, now time.Time) (bool, bool) {
			if wait = file.BlockedUntil.Sub(now); wait > 0 {
				if wait > b.maxWait {
					refused = file.blocked()
				}
				return false, false
			}
			for i := range file.Meters {
				wait = max(wait, file.Meters[i].wait(now, file.Meters[i].cost(weight)))
			}
			if wait > 0 {
				return false, false
			}
			held.until = now.Add(hold)
			for i := range file.Meters {
				file.Meters[i].add(held.until, file.Meters[i].cost(weight))
			}
			return true, false
		})
		if err != nil {
			return held, err
		}
		if refused != nil {
			return held, refused
		}
		if wait <= 0 {
			return held, nil
		}
		if err := b.sleep(ctx, wait); err != nil {
			return held, err
		}
	}
}

// answer is what an answer's headers say.
type answer struct {
	used         map[string]int64 // by window as in the header's name: 1m
	blockedUntil time.Time        // zero for no wait
	banned       bool
}

// settle books a reservation's answer.
func (b *Budget) settle(held reservation, got answer) error {
	return b.locked(func(file *budgetFile, now time.Time) (bool, bool) {
		for i := range file.Meters {
			meter := &file.Meters[i]
			meter.remove(held.until, meter.cost(held.weight))
			meter.add(now, meter.cost(held.weight))
			if used := got.used[meter.header()]; meter.Kind == limitWeight && used > meter.sum() {
				meter.add(now, used-meter.sum())
			}
		}
		if got.blockedUntil.After(file.BlockedUntil) {
			file.BlockedUntil, file.Banned = got.blockedUntil, got.banned
			return true, true
		}
		return true, false
	})
}

// locked runs do on the file's content under the lock of all processes, and writes it back where do says that it is
// changed; durable says that it must outlive a crash of the machine.
func (b *Budget) locked(do func(file *budgetFile, now time.Time) (changed, durable bool)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	lock, err := os.OpenFile(b.path+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open the request budget: %w", err)
	}
	defer lock.Close() // which gives the lock back
	for {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock the request budget: %w", err)
	}
	now := b.now()
	file, repaired, err := b.read(now)
	if err != nil {
		return fmt.Errorf("read the request budget: %w", err)
	}
	changed, durable := do(file, now)
	if !changed && !repaired {
		return nil
	}
	if err := b.write(file, durable); err != nil {
		return fmt.Errorf("write the request budget: %w", err)
	}
	return nil
}

// read gives the file's content, settled to now. A file that is no budget is replaced by one that is all used: it is the
// way that cannot lead to a ban.
func (b *Budget) read(now time.Time) (file *budgetFile, repaired bool, err error) {
	file = &budgetFile{}
	text, err := os.ReadFile(b.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		file.Limits = defaultLimits()
		file.arrange()
		return file, false, nil
	case err != nil:
		return nil, false, err
	}
	if json.Unmarshal(text, file) != nil || len(file.Limits) == 0 {
		*file = budgetFile{Limits: defaultLimits()}
		file.arrange()
		for i := range file.Meters {
			file.Meters[i].add(now, file.Meters[i].Limit)
		}
		return file, true, nil
	}
	file.arrange()
	for i := range file.Meters {
		repaired = file.Meters[i].expire(now) || repaired
	}
	return file, repaired, nil
}

// write replaces the file. The rename is atomic; a budget lost with the machine's power is only worth syncing where it
// names a ban.
func (b *Budget) write(file *budgetFile, durable bool) error {
	text, err := json.Marshal(file)
	if err != nil {
		return err
	}
	staged := b.path + ".tmp" // the lock is held: nobody else writes it
	out, err := os.Create(staged)
	if err != nil {
		return err
	}
	_, err = out.Write(append(text, '\n'))
	if err == nil && durable {
		err = out.Sync()
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(staged, b.path)
	}
	if err != nil {
		os.Remove(staged)
		return err
	}
	if durable {
		dir, err := os.Open(filepath.Dir(b.path))
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Sync()
	}
	return nil
}

// budgetFile is the file's content.
type budgetFile struct {
	Limits       []RateLimit `json:"limits"`
	LimitsAt     time.Time   `json:"limits_at,omitzero"`
	BlockedUntil time.Time   `json:"blocked_until,omitzero"`
	Banned       bool        `json:"banned,omitempty"`
	Meters       []meter     `json:"meters"`
}

func (f *budgetFile) blocked() error {
	if f.Banned {
		return &BannedError{Until: f.BlockedUntil}
	}
	return &RateLimitedError{Until: f.BlockedUntil}
}

// arrange gives every limit a meter, and keeps what was counted where the window is the same.
func (f *budgetFile) arrange() {
	meters := make([]meter, len(f.Limits))
	for i, limit := range f.Limits {
		meters[i] = meter{RateLimit: limit, Used: map[int64]int64{}}
		for _, old := range f.Meters {
			if old.Kind == limit.Kind && old.Window() == limit.Window() && old.Used != nil {
				meters[i].Used = old.Used
			}
		}
	}
	f.Meters = meters
}

// meter counts what was used of one limit.
type meter struct {
	RateLimit
	// Used is the weight by slot of time in which the request was answered, or will have been at the latest. It counts
	// until a window after that slot.
	Used map[int64]int64 `json:"used"`
}

func (m *meter) slot() time.Duration { return max(m.Window()/budgetSlots, time.Millisecond) }

func (m *meter) slotOf(at time.Time) int64 { return at.UnixNano() / int64(m.slot()) }

// free is when what was used in a slot is given back.
func (m *meter) free(slot int64) time.Time {
	return time.Unix(0, (slot+1)*int64(m.slot())).Add(m.Window())
}

func (m *meter) cost(weight int64) int64 {
	if m.Kind == limitCalls {
		return 1
	}
	return weight
}

// header is the end of the name of the header that tells what was used: X-MBX-USED-WEIGHT-1M.
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

// expire gives back what is over. What lies further ahead than any request can be held means that the clock was
// set back: it counts from now, and has to be written so.
func (m *meter) expire(now time.Time) (moved bool) {
	ahead := m.slotOf(now.Add(restTimeout + budgetSkew))
	for slot, cost := range m.Used {
		switch {
		case !m.free(slot).After(now):
			delete(m.Used, slot)
		case slot > ahead:
			delete(m.Used, slot)
			m.add(now, cost)
			moved = true
		}
	}
	return moved
}

// wait is how long until cost more may be used.
func (m *meter) wait(now time.Time, cost int64) time.Duration {
	room := max(m.Limit*budgetShare/100, cost) - cost
	if m.sum() <= room {
		return 0
	}
	over := m.sum() - room
	var slots []int64
	for slot := range m.Used {
		slots = append(slots, slot)
	}
	slices.Sort(slots)
	for _, slot := range slots {
		if over -= m.Used[slot]; over <= 0 {
			return max(m.free(slot).Sub(now), time.Millisecond)
		}
	}
	return m.Window()
}
