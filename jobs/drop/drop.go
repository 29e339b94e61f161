// Package drop removes rows from the tape on purpose: what an import or another run added, a
// symbol, a window, what is older than some days, a detector's alerts, or conflicts that are given
// up.
//
// Its one guarantee: exactly the rows that a plan lists are removed, whatever others publish or
// compact meanwhile, and the table drops says so. Package tape removes them; docs/TAPE.md specifies
// the table.
package drop

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

// Options select rows. What they leave open, they select all of.
type Options struct {
	// Import names what an import added, by the name of its file or the id of its run. Run names what
	// any run added.
	Import, Run string
	// Symbols are names in any case. Exact are texts as the tape has them, also such that no symbol can
	// have. NotSymbols selects all of those.
	Symbols, Exact []string
	NotSymbols     bool
	Window         window.Window
	IDs            idset.Set
	// OlderThan, if not zero, selects what was traded before it, and keeps the coverage of those days.
	OlderThan time.Time
	// Alerts selects alerts instead of trades, of Detector if it is not empty. Conflicts selects
	// conflicts.
	Alerts, Conflicts bool
	Detector          string
	// Detectors are the names of detectors that exist, whether they have alerts or not.
	Detectors []string
}

// NotFoundError is returned if nothing has the name that the options ask for.
type NotFoundError struct {
	// Kind is symbol, detector, import or run.
	Kind, Name string
	Known      []string // what there is instead
	// Compacted is how many segments do not say where their rows came from.
	Compacted int
}

func (e *NotFoundError) Error() string {
	what := map[string]string{
		"symbol": "there is no symbol %q on the tape", "detector": "no detector is named %q, and no alert is of one",
		"import": "no file of the tape says that it came from an import %q", "run": "no file of the tape says that the run %q wrote it",
	}[e.Kind]
	return fmt.Sprintf(what, e.Name)
}

// Plan returns what a drop would remove. It changes nothing. The error is *NotFoundError if nothing
// has one of the names; a name whose rows were dropped before is none.
func Plan(ctx context.Context, dir *tape.Dir, opt Options) (*tape.DropPlan, error) {
	q := tape.DropQuery{What: tape.DropsTrades, Window: opt.Window, IDs: opt.IDs, Detector: opt.Detector}
	switch {
	case opt.Alerts:
		q.What = tape.DropsAlerts
	case opt.Conflicts:
		q.What = tape.DropsConflicts
	}
	if !opt.OlderThan.IsZero() {
		q.Window = window.Window{End: opt.OlderThan}
	}
	drops, err := dir.ReadDrops("", "")
	if err != nil {
		return nil, err
	}
	if q.Symbols, err = knownSymbols(ctx, dir, opt, drops); err != nil {
		return nil, err
	}
	var seen origins
	if opt.Import != "" || opt.Run != "" {
		q.Origin = seen.selects(opt)
	}
	if opt.NotSymbols && len(q.Symbols) == 0 {
		return &tape.DropPlan{Query: q}, nil
	}
	plan, err := dir.PlanDrop(ctx, q)
	if err != nil || plan.Rows() > 0 {
		return plan, err
	}
	return plan, notFound(dir, opt, plan, drops, seen)
}

// knownSymbols returns the symbols as the tape spells them.
func knownSymbols(ctx context.Context, dir *tape.Dir, opt Options, drops []tape.Drop) ([]string, error) {
	if len(opt.Symbols)+len(opt.Exact) == 0 && !opt.NotSymbols {
		return nil, nil
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return nil, err
	}
	var out []string
	notSymbols := index.NotSymbols()
	if opt.NotSymbols {
		out = notSymbols
	}
	known := slices.Concat(index.Symbols(), notSymbols)
	for _, row := range drops {
		known = append(known, row.Symbol)
	}
	for _, name := range opt.Exact {
		if !slices.Contains(known, name) {
			return nil, &NotFoundError{Kind: "symbol", Name: name, Known: index.Symbols()}
		}
		out = append(out, name)
	}
	for _, name := range opt.Symbols {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(known, func(symbol string) bool { return strings.EqualFold(symbol, name) })
		if i < 0 {
			return nil, &NotFoundError{Kind: "symbol", Name: name, Known: index.Symbols()}
		}
		out = append(out, known[i])
	}
	return out, nil
}

// origins are the imports and runs that were seen while a plan was made.
type origins struct {
	imports, runs map[string]bool
}

// selects returns the condition on segments, which also remembers what it is asked about.
func (o *origins) selects(opt Options) func(tape.Origin) bool {
	o.imports, o.runs = map[string]bool{}, map[string]bool{}
	return func(origin tape.Origin) bool {
		name, _, _ := strings.Cut(origin.Detail, " sha256:")
		if origin.Source == tape.FromFile {
			o.imports[name] = true
		}
		if origin.Run != "" {
			o.runs[origin.Run] = true
		}
		if opt.Run != "" && origin.Run != opt.Run {
			return false
		}
		return opt.Import == "" || origin.Source == tape.FromFile && (name == filepath.Base(opt.Import) || origin.Run == opt.Import)
	}
}

// notFound returns a *NotFoundError if a plan is empty because of a name that nothing has.
func notFound(dir *tape.Dir, opt Options, plan *tape.DropPlan, drops []tape.Drop, seen origins) error {
	droppedBefore := func(is func(tape.Drop) bool) bool { return slices.ContainsFunc(drops, is) }
	sorted := func(names map[string]bool) []string {
		var out []string
		for name := range names {
			out = append(out, name)
		}
		slices.Sort(out)
		return out
	}
	switch name := origin(opt); {
	case name != "" && !droppedBefore(func(row tape.Drop) bool { return row.Origin == name }):
		switch {
		case opt.Run != "" && !seen.runs[opt.Run]:
			return &NotFoundError{Kind: "run", Name: opt.Run, Known: sorted(seen.runs), Compacted: len(plan.Compacted)}
		case opt.Import != "" && !seen.imports[filepath.Base(opt.Import)] && !seen.runs[opt.Import]:
			return &NotFoundError{Kind: "import", Name: opt.Import, Known: sorted(seen.imports), Compacted: len(plan.Compacted)}
		}
	case opt.Detector != "" && !slices.Contains(opt.Detectors, opt.Detector) && !droppedBefore(func(row tape.Drop) bool { return row.Detector == opt.Detector }):
		alerts, err := dir.ReadAlerts("", "")
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, name := range opt.Detectors {
			known[name] = true
		}
		for _, a := range alerts {
			known[a.Detector] = true
		}
		if !known[opt.Detector] {
			return &NotFoundError{Kind: "detector", Name: opt.Detector, Known: sorted(known)}
		}
	}
	return nil
}

// origin returns what the table drops calls an import or a run.
func origin(opt Options) string {
	if opt.Import != "" {
		return filepath.Base(opt.Import)
	}
	return opt.Run
}

// Run removes what a plan lists. command is the command line, and run the id of this run. progress
// may be nil.
func Run(
	ctx context.Context, dir *tape.Dir, opt Options, plan *tape.DropPlan, now time.Time, command, run string,
	progress func(done, total int),
) error {
	record := tape.DropRecord{
		At: now.UnixMicro(), Origin: origin(opt), Reason: command, RunID: run, KeepCoverage: !opt.OlderThan.IsZero(),
	}
	if err := dir.Drop(ctx, plan, record, progress); err != nil {
		return err
	}
	return recordNotSymbols(ctx, dir)
}

// recordNotSymbols updates what health knows of names that are no symbols.
func recordNotSymbols(ctx context.Context, dir *tape.Dir) error {
	if last, err := dir.LastNotSymbols(); err != nil || len(last) == 0 {
		return err
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return err
	}
	return dir.RecordNotSymbols(index.NotSymbols())
}

// Noun returns what a plan removes, as in "3 trades".
func Noun(plan *tape.DropPlan) string {
	switch plan.Query.What {
	case tape.DropsAlerts:
		return wording.Count(plan.Rows(), "alert")
	case tape.DropsConflicts:
		return wording.Count(plan.Rows(), "conflict")
	}
	return wording.Count(plan.Rows(), "trade")
}
