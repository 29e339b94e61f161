package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/state"
)

// RateLimit is one of the exchange's limits, as in exchangeInfo.rateLimits.
type RateLimit struct {
	Kind     string // REQUEST_WEIGHT or RAW_REQUESTS
	Interval string // SECOND, MINUTE, HOUR or DAY
	Num      int64  // number of intervals
	Limit    int64
}

const (
	limitWeight = "REQUEST_WEIGHT"
	limitCalls  = "RAW_REQUESTS"
)

// Window returns the time in which Limit may be used; 0 if the interval is unknown.
func (l RateLimit) Window() time.Duration {
	units := map[string]time.Duration{
		"SECOND": time.Second, "MINUTE": time.Minute, "HOUR": time.Hour, "DAY": 24 * time.Hour,
	}
	return units[l.Interval] * time.Duration(l.Num)
}

// impossible reports whether a limit cannot be one of the exchange's, whose windows have a day at most.
// Others would stop every request for years, or overflow.
func (l RateLimit) impossible() bool {
	const dayMinutes = 24 * 60
	return l.Num < 1 || l.Num > dayMinutes || l.Window() <= 0 || l.Window() > 24*time.Hour || l.Limit < 1 || l.Limit > 1e12
}

const (
	// budgetShare is the part of a limit that is used, in percent. The rest is for other programs
	// at this address.
	budgetShare = 98
	// budgetSlots is the number of slots per window. Weight becomes free up to a slot late, which
	// costs 1/240 of it.
	budgetSlots = 240
	// maxBudgetFile is the most bytes of the file that are read. It has a few KB.
	maxBudgetFile = 4 << 20
	// budgetSkew is how far in the future usage may be before it means that the clock was set back.
	budgetSkew = 10 * time.Second
)

// defaultLimits hold until exchangeInfo is read (from enums.md, "Rate limiters").
func defaultLimits() []RateLimit {
	return []RateLimit{
		{Kind: limitWeight, Interval: "MINUTE", Num: 1, Limit: 6000},
		{Kind: limitCalls, Interval: "MINUTE", Num: 5, Limit: 61000},
	}
}

// Budget is the request budget of all processes that share its file. It delays each request until
// the exchange's limits allow it, and keeps a ban across restarts. It is safe for concurrent use.
//
// A request counts from before it is sent until one window after its response, so that no window of
// the server exceeds the limit, whenever that window starts. If the server reports more usage than
// the file, the difference was used by another program at this address, and counts as well.
type Budget struct {
	path    string
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	maxWait time.Duration

	mu sync.Mutex // held with the file's lock, so that only one goroutine blocks a thread on it
}

// BudgetOptions are optional settings.
type BudgetOptions struct {
	Now   func() time.Time                           // nil: the system's clock
	Sleep func(context.Context, time.Duration) error // nil: a timer
	// MaxWait bounds how long a request waits for the end of a 429 or a ban; a longer one is an
	// error. 0 means 10 minutes.
	MaxWait time.Duration
}

// OpenBudget returns the budget in the file at path, which path+".lock" guards. It does not access
// the file yet.
func OpenBudget(path string, opt BudgetOptions) *Budget {
	b := &Budget{path: path, now: opt.Now, sleep: opt.Sleep, maxWait: opt.MaxWait}
	if b.now == nil {
		b.now = time.Now
	}
	if b.sleep == nil {
		b.sleep = Sleep
	}
	if b.maxWait == 0 {
		b.maxWait = 10 * time.Minute
	}
	return b
}

// Sleep waits for d, or until ctx is done, whose cause it returns then.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// BudgetState is the state of a budget.
type BudgetState struct {
	Limits       []RateLimit
	LimitsAt     time.Time // when exchangeInfo was last read; zero if never
	LimitsFresh  bool      // LimitsAt was within the last day
	UsedWeight   int64     // including requests in progress
	BlockedUntil time.Time // zero unless the exchange demands a wait
	Banned       bool      // the wait is a ban
}

// WeightPerMinute returns how much weight may be used per minute.
func (s BudgetState) WeightPerMinute() int64 {
	for _, limit := range s.Limits {
		if limit.Kind == limitWeight && limit.Window() > 0 {
			return max(1, limit.Limit*budgetShare/100*int64(time.Minute)/int64(limit.Window()))
		}
	}
	return 6000 * budgetShare / 100
}

// State reads the file.
func (b *Budget) State() (BudgetState, error) {
	var state BudgetState
	err := b.locked(func(file *budgetFile, now time.Time) (bool, bool) {
		state.Limits, state.LimitsAt = file.Limits, file.LimitsAt
		age := now.Sub(file.LimitsAt) // below 0 if the clock was set back
		state.LimitsFresh = age > -budgetSkew && age < 24*time.Hour
		for _, meter := range file.Meters {
			if meter.Kind == limitWeight {
				state.UsedWeight = max(state.UsedWeight, meter.sum())
			}
		}
		state.BlockedUntil, state.Banned = file.Until, file.Banned
		return false, false
	})
	return state, err
}

// SetLimits sets the limits that the exchange reports. Kinds other than weight and requests are
// ignored.
func (b *Budget) SetLimits(limits []RateLimit) error {
	var kept []RateLimit
	for _, limit := range limits {
		if (limit.Kind == limitWeight || limit.Kind == limitCalls) && !limit.impossible() {
			kept = append(kept, limit)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return b.locked(func(file *budgetFile, now time.Time) (bool, bool) {
		file.Limits, file.LimitsAt = kept, now
		file.resetMeters()
		return true, false
	})
}

// reservation is the usage of a request in progress.
type reservation struct {
	weight int64
	until  time.Time // it counts as used at this time if it is never completed
}

// reserve waits until a request of a weight may be sent. hold bounds how long its response may
// take.
func (b *Budget) reserve(ctx context.Context, weight int64, hold time.Duration) (reservation, error) {
	for {
		var wait time.Duration
		var refused error
		held := reservation{weight: weight}
		err := b.locked(func(file *budgetFile, now time.Time) (bool, bool) {
			if wait = file.Until.Sub(now); wait > 0 {
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

// reportedLimits is what a response says about the limits.
type reportedLimits struct {
	used         map[string]int64 // weight by window, as in the header's name: 1m
	blockedUntil time.Time        // zero for no wait
	banned       bool
}

// complete replaces a reservation by the usage of the request, which has ended.
func (b *Budget) complete(held reservation, reported reportedLimits) error {
	return b.locked(func(file *budgetFile, now time.Time) (bool, bool) {
		for i := range file.Meters {
			meter := &file.Meters[i]
			meter.remove(held.until, meter.cost(held.weight))
			meter.add(now, meter.cost(held.weight))
			used := min(reported.used[meter.header()], 2*meter.Limit) // more than that changes nothing
			if meter.Kind == limitWeight && used > meter.sum() {
				meter.add(now, used-meter.sum())
			}
		}
		if reported.blockedUntil.After(file.Until) {
			file.Blocked = state.Blocked{Until: reported.blockedUntil, Banned: reported.banned}
			return true, true
		}
		return true, false
	})
}

// locked calls do with the file's content under the lock of all processes, and writes the content
// back if do changed it. mustLast means that the change must survive a crash of the machine.
func (b *Budget) locked(do func(file *budgetFile, now time.Time) (changed, mustLast bool)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	unlock, err := durable.Lock(b.path + ".lock")
	if err != nil {
		return fmt.Errorf("lock the request budget: %w", err)
	}
	defer unlock()
	now := b.now()
	file, repaired, err := b.read(now)
	if err != nil {
		return fmt.Errorf("read the request budget: %w", err)
	}
	changed, mustLast := do(file, now)
	if !changed && !repaired {
		return nil
	}
	text, err := json.Marshal(file)
	if err != nil {
		return fmt.Errorf("encode the request budget: %w", err)
	}
	text = append(text, '\n')
	if mustLast {
		err = durable.Replace(durable.OS{}, filepath.Dir(b.path), b.path, text)
	} else {
		err = durable.ReplaceUnsynced(b.path, text)
	}
	if err != nil {
		return fmt.Errorf("write the request budget: %w", err)
	}
	return nil
}

// read returns the file's content without expired usage. A damaged file is replaced by a budget
// that is used up, which cannot lead to a ban.
func (b *Budget) read(now time.Time) (file *budgetFile, repaired bool, err error) {
	file = &budgetFile{}
	text, err := durable.ReadOwn(b.path, maxBudgetFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		file.Limits = defaultLimits()
		file.resetMeters()
		return file, false, nil
	case err != nil:
		return nil, false, err
	}
	if json.Unmarshal(text, file) != nil || len(file.Limits) == 0 || slices.ContainsFunc(file.Limits, RateLimit.impossible) {
		*file = budgetFile{Limits: defaultLimits()}
		file.resetMeters()
		for i := range file.Meters {
			file.Meters[i].add(now, file.Meters[i].Limit)
		}
		return file, true, nil
	}
	// A wait that cannot be, such as one that was written by an earlier version or under a wrong clock,
	// is shortened once and for all.
	blocked := file.At(now)
	repaired = !blocked.Until.IsZero() && blocked != file.Blocked
	file.Blocked = blocked
	file.resetMeters()
	for i := range file.Meters {
		repaired = file.Meters[i].expire(now) || repaired
	}
	return file, repaired, nil
}

// budgetFile is the file's content.
type budgetFile struct {
	Limits   []RateLimit `json:"limits"`
	LimitsAt time.Time   `json:"limits_at,omitzero"`
	state.Blocked
	Meters []meter `json:"meters"`
}

func (f *budgetFile) blocked() error {
	if f.Banned {
		return &BannedError{Until: f.Until}
	}
	return &RateLimitedError{Until: f.Until}
}

// resetMeters gives each limit a meter, and keeps the usage if the window is unchanged.
func (f *budgetFile) resetMeters() {
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
