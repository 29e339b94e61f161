package report

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

// correctionPeriod is how long after a window's end its report is corrected: one day longer than
// the backfill in crontab.yaml looks back.
const correctionPeriod = 8 * 24 * time.Hour

// Outbox takes the reports that are to be sent.
type Outbox interface {
	// Enqueue stores a report durably. A report with the Key of one that was enqueued before is
	// ignored.
	Enqueue(ctx context.Context, r *Report) error
	// Send sends what has been enqueued. What it cannot send now stays in the outbox.
	Send(ctx context.Context)
}

// Send sends a report that was built with opt, and then the corrected reports of earlier windows
// whose missing data are on the tape by now. A correction that fails is logged and tried again by
// the next Send.
func Send(ctx context.Context, dir *tape.Dir, r *Report, opt Options, outbox Outbox) error {
	if err := send(ctx, dir, r, outbox); err != nil {
		return err
	}
	log := cmp.Or(opt.Logger, slog.New(slog.DiscardHandler))
	oldest := opt.Now.Add(-correctionPeriod)
	digests, err := Digests(dir, oldest)
	if err != nil {
		return err
	}
	for _, earlier := range digests {
		if earlier.Complete || earlier.Start.Equal(r.Window.Start) && earlier.End.Equal(r.Window.End) {
			continue
		}
		err := sendCorrection(ctx, dir, earlier, opt, outbox)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			log.Warn("earlier report not corrected", "window_start", earlier.Start, "window_end", earlier.End,
				"error", err.Error())
		}
	}
	_, err = ForgetDigests(dir, oldest)
	return err
}

func send(ctx context.Context, dir *tape.Dir, r *Report, outbox Outbox) error {
	if err := outbox.Enqueue(ctx, r); err != nil {
		return err
	}
	// The digest must not be saved before the report is enqueued: if the process died in between,
	// the next run would find nothing to correct and nothing would be sent.
	_, ok, err := LastDigest(dir, r.Window, r.Symbols)
	if err != nil || !ok || len(r.Changes) > 0 {
		if err := r.Digest().Save(dir); err != nil {
			return err
		}
	}
	outbox.Send(ctx)
	return nil
}

func sendCorrection(ctx context.Context, dir *tape.Dir, earlier Digest, opt Options, outbox Outbox) error {
	opt.Window, opt.Symbols = window.Window{Start: earlier.Start, End: earlier.End}, earlier.Symbols
	r, err := Build(ctx, dir, opt)
	if err != nil || !earlier.healedIn(r) {
		return err
	}
	if err := r.correct(earlier); err != nil {
		return err
	}
	return send(ctx, dir, r, outbox)
}

// CorrectLast turns r into the correction of the report that was last sent for the same window and
// symbols. It changes nothing if there was none or if the reports do not differ. An error means
// that the earlier report's digest cannot be read.
func (r *Report) CorrectLast(dir *tape.Dir) error {
	earlier, ok, err := LastDigest(dir, r.Window, r.Symbols)
	if err != nil || !ok {
		return err
	}
	return r.correct(earlier)
}

// correct sets Changes and adds a statement if r differs from an earlier report of the same window.
func (r *Report) correct(earlier Digest) error {
	changes, err := earlier.Changes(r)
	if err != nil || len(changes) == 0 {
		return err
	}
	r.Changes = changes
	state := "no ids were known to be missing"
	if earlier.Missing > 0 {
		state = wording.Count(earlier.Missing, "id was", "ids were") + " missing"
	}
	r.addStatement(Note, "Corrected: replaces the report made at %s, when %s.", formatTime(earlier.MadeAt), state)
	return nil
}

// healedIn reports whether r covers more of the window's trades than the report of the digest did.
func (d Digest) healedIn(r *Report) bool {
	return r.Missing < d.Missing || r.Complete && !d.Complete
}

// Key identifies a report when it is sent. It is the same for the same window and symbols; each
// correction has a key of its own.
func (r *Report) Key() string {
	key := "report/" + r.Window.Start.UTC().Format(time.RFC3339) + "/" + r.Window.End.UTC().Format(time.RFC3339)
	if len(r.Symbols) > 0 {
		key += "/" + strings.Join(slices.Sorted(slices.Values(r.Symbols)), ",")
	}
	if len(r.Changes) == 0 {
		return key
	}
	d := r.Digest()
	d.MadeAt = time.Time{} // a correction that is made twice has one key
	content, _ := json.Marshal(d)
	sum := sha256.Sum256(content)
	return key + "/corrected/" + hex.EncodeToString(sum[:8])
}
