package main

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/jobs/history"
)

type historyCmd struct {
	windowFlags
	Symbols []givenName `placeholder:"LIST" help:"Only gaps of these symbols, separated by commas."`
	Format  string      `placeholder:"FORMAT" enum:"table,json,csv" default:"table" help:"table, json or csv."`
}

func (c *historyCmd) Run(ctx context.Context, a *app) error {
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	reported, err := c.window(a.now(), 24*time.Hour)
	if err != nil {
		return err
	}
	options := history.Options{Window: reported, Symbols: namesOf(c.Symbols)}
	if options.Last, err = a.lastSign(dir); err != nil {
		return err
	}
	found, err := history.Read(ctx, dir, options)
	if err != nil {
		return err
	}
	switch c.Format {
	case "json":
		return history.WriteJSON(a.stdout, found)
	case "csv":
		return history.WriteCSV(a.results(), found)
	}
	return history.WriteTable(a.stdout, found, terminalWidth(a.stdout))
}

// lastSign returns the last sign of life of the recorder.
func (a *app) lastSign(dir *tape.Dir) (history.Sign, error) {
	var stream state.Stream
	err := dir.State().Read(state.StreamFile, &stream)
	if errors.Is(err, fs.ErrNotExist) {
		return history.Sign{}, nil
	}
	if err != nil {
		return history.Sign{}, err
	}
	running := stream.IsRunning(dir.State(), a.clock())
	return history.Sign{RunID: stream.RunID, At: stream.UpdatedAt, Running: running}, nil
}
