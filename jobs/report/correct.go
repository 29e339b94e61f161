package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"slices"
	"strings"
	"time"
)

// mostChanges is how many changes a message tells one by one.
const mostChanges = 12

// HealedIn says whether a report of the same window is about more of what traded than the one that the digest is of.
func (d Digest) HealedIn(r *Report) bool {
	return r.Missing < d.Missing || r.Complete && !d.Complete
}

// Correct makes of a report the correction of an earlier one of the same window, if it says anything else: it then has Changes,
// and a statement that says so.
func (r *Report) Correct(before Digest) error {
	changes, err := before.Changes(r)
	if err != nil || len(changes) == 0 {
		return err
	}
	r.Changes = changes
	said := "nothing was known to be missing"
	if before.Missing > 0 {
		said = count(before.Missing, "id") + map[bool]string{true: " was", false: " were"}[before.Missing == 1] + " missing"
	}
	r.say(Note, "Corrected: takes the place of the report made at %s, when %s.", moment(before.MadeAt), said)
	return nil
}

// Key is the report's identity for whoever sends it: the same window of the same symbols, or one of its corrections.
func (r *Report) Key() string {
	key := "report/" + r.Window.Start.UTC().Format(time.RFC3339) + "/" + r.Window.End.UTC().Format(time.RFC3339)
	if len(r.Symbols) > 0 {
		key += "/" + strings.Join(slices.Sorted(slices.Values(r.Symbols)), ",")
	}
	if len(r.Changes) == 0 {
		return key
	}
	d := r.Digest()
	d.MadeAt = time.Time{} // the same correction made twice is one
	content, _ := json.Marshal(d)
	sum := sha256.Sum256(content)
	return key + "/corrected/" + hex.EncodeToString(sum[:8])
}

// messageChanges says what another report of the same window said before.
func (r *Report) messageChanges(out *strings.Builder) {
	if len(r.Changes) == 0 {
		return
	}
	fmt.Fprintf(out, "\n<b>What changed</b>\n")
	for i, change := range r.Changes {
		if i == mostChanges && len(r.Changes) > mostChanges+1 {
			fmt.Fprintf(out, "… and %s more\n", count(int64(len(r.Changes)-i), "change"))
			break
		}
		fmt.Fprintf(out, "%s\n", html.EscapeString(change.String()))
	}
}
