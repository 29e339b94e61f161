package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"tapedeck/internal/tape"
	"tapedeck/jobs/detect"
)

// calibrate is detect --calibrate.
func (a *app) calibrate(ctx context.Context, dir *tape.Dir, options detect.Options, budget float64, format string) error {
	found, err := detect.Calibrate(ctx, dir, options, budget)
	if err != nil {
		return err
	}
	write := writeCalibration
	if format == "jsonl" {
		write = writeCalibrationLines
	}
	if err := write(a.stdout, found); err != nil {
		return err
	}
	a.say("calibrated on %s to %s for a budget of %s a day", minuteText(found.From), minuteText(found.To), numberText(budget))
	if days := found.To.Sub(found.From).Hours() / 24; days < 7 {
		a.say("that is only %.1f days: thresholds from less than some weeks are worth little", days)
	}
	for _, c := range found.Detectors {
		if c.Floor {
			a.say("%s: the budget would allow even less than %s, a quarter of what it is now; nothing below was looked at", c.Detector, numberText(c.Threshold))
		}
	}
	for _, name := range found.Skipped {
		a.say("%s is not calibrated: its header has no threshold: line", name)
	}
	return a.detectorProblems(found.Problems)
}

func numberText(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }

// writeCalibration prints a table, and what config.yaml would have to say.
func writeCalibration(w io.Writer, found detect.Calibrated) error {
	if len(found.Detectors) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DETECTOR\tPARAMETER\tNOW\tPROPOSED\tMEDIUM\tHIGH\tSYMBOL-DAYS\tALARMS NOW\tALARMS THEN")
	for _, c := range found.Detectors {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Detector, c.Param, numberText(c.Current), numberText(c.Threshold), numberText(c.Medium),
			numberText(c.High), grouped(c.SymbolDays), grouped(c.AlarmsCurrent), grouped(c.AlarmsThreshold))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	text := "\n# for config.yaml\ndetectors:\n"
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

// calibrationLine is a detector's calibration as one line of JSON.
type calibrationLine struct {
	Detector      string  `json:"detector"`
	Param         string  `json:"param"`
	Current       float64 `json:"current"`
	Proposed      float64 `json:"proposed"`
	Medium        float64 `json:"medium"`
	High          float64 `json:"high"`
	SymbolDays    int64   `json:"symbol_days"`
	AlarmsCurrent int64   `json:"alarms_current"`
	AlarmsThen    int64   `json:"alarms_proposed"`
}

func writeCalibrationLines(w io.Writer, found detect.Calibrated) error {
	encoder := json.NewEncoder(w)
	for _, c := range found.Detectors {
		if err := encoder.Encode(calibrationLine{c.Detector, c.Param, c.Current, c.Threshold, c.Medium, c.High, c.SymbolDays, c.AlarmsCurrent, c.AlarmsThreshold}); err != nil {
			return err
		}
	}
	return nil
}

// checkLookAhead is detect --check-lookahead.
func (a *app) checkLookAhead(ctx context.Context, dir *tape.Dir, options detect.Options) error {
	checked, err := detect.CheckLookAhead(ctx, dir, options)
	if err != nil {
		return err
	}
	for _, differs := range checked.Found {
		if _, err := fmt.Fprintln(a.stdout, differs); err != nil {
			return err
		}
	}
	what := "none differ"
	if n := len(checked.Found); n > 0 {
		what = counted(n, "difference")
	}
	a.say("%s checked at %s from %s to %s, %s there: %s", counted(len(checked.Detectors), "detector"), counted(len(checked.Cuts), "instant"),
		minuteText(checked.From), minuteText(checked.To), counted(checked.Alerts, "alert"), what)
	if err := a.detectorProblems(checked.Problems); err != nil {
		return err
	}
	if len(checked.Found) > 0 {
		names := map[string]bool{}
		for _, differs := range checked.Found {
			names[differs.Detector] = true
		}
		return withHint(partial("%s: what is raised depends on what came later, or on where the run began", someNames(sortedKeys(names))),
			"nothing that traded at or after `at` may be used; what is read before window_start belongs into the reads: lines")
	}
	if checked.Alerts == 0 {
		a.say("that says little, for nothing was raised; take a longer window, or lower the thresholds in config.yaml")
	}
	return nil
}

// detectorProblems says what single detectors could not do.
func (a *app) detectorProblems(problems []error) error {
	for _, problem := range problems {
		a.say("%v", problem)
	}
	if len(problems) == 0 {
		return nil
	}
	if len(problems) == 1 {
		return partial("1 detector did not do its work")
	}
	return partial("%d detectors did not do their work", len(problems))
}
