package main

import (
	"encoding/json"
	"os"
	"strconv"

	"tapedeck/jobs/schedule"
)

const runIDVariable = schedule.RunIDVariable

// reportToParent tells the scheduler what this run did, if one started it; the exit status says the rest. It is the last
// thing that a command does, and what it returns only matters to the ledger's row.
func (a *app) reportToParent(report schedule.Report) {
	fd, err := strconv.Atoi(a.env[schedule.ReportVariable])
	if err != nil || fd < 3 {
		return
	}
	pipe := os.NewFile(uintptr(fd), "report")
	if pipe == nil {
		return
	}
	defer pipe.Close()
	if err := json.NewEncoder(pipe).Encode(report); err != nil {
		a.log.Warn("run not reported to the scheduler", "error", err)
	}
}
