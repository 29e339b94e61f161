package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/detect"
)

// reliableCalibration is the least time that may say how often a detector raises an alert.
const reliableCalibration = 7 * 24 * time.Hour

// calibrate runs detect --calibrate.
func (a *app) calibrate(ctx context.Context, dir *tape.Dir, options detect.Options, budget float64, format string) error {
	running := a.newProgress()
	running.Begin("calibrate", 0)
	found, err := detect.Calibrate(ctx, dir, options, budget)
	running.end()
	if err != nil {
		return err
	}
	if found.Window.Duration() < reliableCalibration {
		a.say("the tape has only %s to calibrate on: the thresholds below are not reliable, which takes several weeks",
			wording.Duration(found.Window.Duration()))
	}
	if format == "jsonl" {
		err = writeJSONLines(a.stdout, found.Detectors)
	} else {
		err = writeCalibration(a.stdout, found)
	}
	if err != nil {
		return err
	}
	a.say("calibrated on %s to %s UTC for a budget of %s per day", minuteText(found.Window.Start), minuteText(found.Window.End), numberText(budget))
	for _, c := range found.Detectors {
		if c.Floor {
			a.say("%s: the budget allows less than %s, a quarter of the current threshold; lower values were not tried",
				c.Detector, numberText(c.Threshold))
		}
	}
	for _, name := range found.Skipped {
		a.say("%s is not calibrated because its header has no threshold: line", name)
	}
	return a.detectorProblems(found.Problems)
}

func numberText(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }

// writeCalibration prints a table, and the lines for config.yaml.
func writeCalibration(w io.Writer, found detect.Calibration) error {
	if len(found.Detectors) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DETECTOR\tPARAMETER\tNOW\tPROPOSED\tMEDIUM\tHIGH\tSYMBOL-DAYS\tALERTS NOW\tALERTS PROPOSED")
	for _, c := range found.Detectors {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", wording.Name(c.Detector), wording.Name(c.Param), numberText(c.Current), numberText(c.Threshold), numberText(c.Medium),
			numberText(c.High), wording.Comma(c.SymbolDays), wording.Comma(c.AlertsCurrent), wording.Comma(c.AlertsThreshold))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	text := "\n# for config.yaml\ndetectors:\n"
	if length := found.Window.Duration(); length < reliableCalibration {
		text = "\n# for config.yaml; not reliable, because they come from only " + wording.Duration(length) + " of tape\ndetectors:\n"
	}
	for _, c := range found.Detectors {
		text += fmt.Sprintf("  %s:\n    %s: %s\n", c.Detector, c.Param, numberText(c.Threshold))
		if c.MediumParam != "" {
			text += fmt.Sprintf("    %s: %s\n", c.MediumParam, numberText(c.Medium))
		}
		if c.HighParam != "" {
			text += fmt.Sprintf("    %s: %s\n", c.HighParam, numberText(c.High))
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

// checkLookAhead runs detect --check-lookahead.
func (a *app) checkLookAhead(ctx context.Context, dir *tape.Dir, options detect.Options) error {
	running := a.newProgress()
	running.Begin("check for look-ahead", 0)
	checked, err := detect.CheckLookAhead(ctx, dir, options)
	running.end()
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, difference := range checked.Found {
		names[difference.Detector] = true
		if _, err := fmt.Fprintln(a.stdout, wording.Visible(difference.String())); err != nil {
			return err
		}
	}
	a.say("%s checked at %s from %s to %s UTC with %s: %s",
		wording.Count(len(checked.Detectors), "detector"), wording.Count(len(checked.Cutoffs), "instant"),
		minuteText(checked.Window.Start), minuteText(checked.Window.End),
		wording.Count(checked.Alerts, "alert"), wording.Count(len(checked.Found), "difference"))
	if err := a.detectorProblems(checked.Problems); err != nil {
		return err
	}
	if len(checked.Found) > 0 {
		return withHint(partial("%s: the alerts depend on later trades, or on where the run began", wording.List(slices.Sorted(maps.Keys(names)), 3)),
			"a detector must not use trades at or after `at`, and must state its look-back before window_start in the reads: lines")
	}
	if checked.Alerts == 0 {
		a.say("without alerts this proves little; take a longer window, or lower the thresholds in config.yaml")
	}
	return nil
}

// detectorProblems prints the errors of single detectors.
func (a *app) detectorProblems(problems []error) error {
	for _, problem := range problems {
		a.say("%v", problem)
	}
	if len(problems) == 0 {
		return nil
	}
	return partial("%s failed", wording.Count(len(problems), "detector"))
}
