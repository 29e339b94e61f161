package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/strictyaml"
	"tapedeck/internal/wording"
	"tapedeck/jobs/exchange"
)

type exchangeCmd struct {
	Play     []string      `arg:"" optional:"" name:"capture" placeholder:"CAPTURE" help:"Recorded captures to play: lines of time and message, plain or gzipped."`
	Simulate bool          `help:"Serve a simulated market instead of a recording."`
	List     bool          `name:"list-symbols" help:"Print the symbols of the simulated market and exit."`
	Listen   listenAddress `placeholder:"ADDRESS" default:"127.0.0.1:9800" help:"Host and port; port 0 means any free port."`
	Speed    string        `placeholder:"N" default:"1" help:"How many times faster than real time, or max: as fast as the clients read."`
	AtEnd    string        `placeholder:"WHAT" enum:"stay,close,exit" default:"stay" help:"When a recording ends: stay, close (the connections; REST continues) or exit."`
	Wait     int           `name:"wait-for-streams" placeholder:"N" help:"Start the clock when N streams are subscribed to."`

	Seed    uint64        `placeholder:"N" default:"1" help:"The simulated market's seed; the same seed shows the same trades at the same time, also after a restart."`
	Start   instant       `placeholder:"TIME" help:"The time at which the simulated market's clock starts. The default is now."`
	History length        `placeholder:"LENGTH" help:"How far the simulated history reaches back. The default is to 2024-01-01, and 26h with --staged."`
	Staged  bool          `help:"Another kind of market, which begins --history before its start and has its incidents in the last hours. A restart makes another one."`
	Offset  time.Duration `name:"clock-offset" placeholder:"LENGTH" help:"The exchange's clock is ahead of this machine's, or behind: -2h."`
	Pairs   int           `placeholder:"N" help:"How many symbols to simulate; 0 means the named ones."`
	Rate    float64       `placeholder:"N" help:"Multiplies how often they trade."`
	Quiet   bool          `help:"Omit the incidents: pump-and-dump, flash crash, whale and silent coin."`

	Faults       map[string]float64 `placeholder:"KIND=RATE" mapsep:"," help:"Random faults, separated by commas: for connections a rate a minute, otherwise a share from 0 to 1. The kinds are listed above."`
	EveryFault   bool               `help:"All faults except those that change the content of trades, each at its default rate; --faults overrides single rates."`
	FaultSeed    uint64             `placeholder:"N" default:"1" help:"The seed of the faults."`
	WeightLimit  int64              `placeholder:"N" help:"The request weight that an address may use in a minute. The default is Binance's 6000."`
	Latency      time.Duration      `placeholder:"LENGTH" help:"Delay each answer of REST and the archive: 50ms."`
	Telegram     bool               `help:"Also serve a stand-in for Telegram's Bot API, which prints the messages it receives."`
	TelegramAddr listenAddress      `name:"telegram-listen" placeholder:"ADDRESS" help:"Host and port of that stand-in; implies --telegram. The default is any free port."`
	ArchiveDelay time.Duration      `placeholder:"LENGTH" help:"How long after a day its archive file appears. The default is 5h."`
}

func (*exchangeCmd) runsUntilStopped() bool { return true }

func (c *exchangeCmd) Run(ctx context.Context, a *app) error {
	c.Simulate = c.Simulate || c.List && len(c.Play) == 0
	if c.Simulate && len(c.Play) > 0 {
		return misuse("give captures to play or --simulate, not both")
	}
	if !c.Simulate && len(c.Play) == 0 {
		return withHint(misuse("give captures to play, or --simulate"), "tapedeck exchange --simulate needs no other argument")
	}
	if c.List && !c.Simulate {
		return misuse("--list-symbols lists the symbols of a simulated market: add --simulate")
	}
	speed, err := exchange.ParseSpeed(c.Speed)
	if err != nil {
		return misuse("--speed: %w", err)
	}
	for kind := range c.Faults {
		if !slices.Contains(exchange.FaultKinds(), kind) {
			return misuse("--faults: there is no fault %q%s", kind, strictyaml.DidYouMean(kind, exchange.FaultKinds()))
		}
	}
	for flag, value := range map[string]float64{"--pairs": float64(c.Pairs), "--wait-for-streams": float64(c.Wait), "--rate": c.Rate,
		"--weight-limit": float64(c.WeightLimit), "--latency": c.Latency.Seconds()} {
		if !(value >= 0) {
			return misuse("%s is below 0", flag)
		}
	}
	if err := exchange.CheckFaults(c.Faults); err != nil {
		return misuse("--faults: %w", err)
	}
	standin, err := exchange.New(exchange.Options{
		Listen: string(c.Listen), Play: c.Play, Speed: speed, AtEnd: exchange.AtEnd(c.AtEnd), WaitForStreams: c.Wait,
		Simulate: c.Simulate, Seed: c.Seed, Start: c.Start.Time, History: time.Duration(c.History), Symbols: c.Pairs, Rate: c.Rate,
		Quiet: c.Quiet, Now: a.steadyClock, Faults: c.Faults, EveryFault: c.EveryFault, FaultSeed: c.FaultSeed,
		WeightLimit: c.WeightLimit, Latency: c.Latency, ArchiveDelay: c.ArchiveDelay, Out: a.stdout,
		Telegram: c.Telegram || c.TelegramAddr != "", TelegramListen: string(c.TelegramAddr), Staged: c.Staged, ClockOffset: c.Offset,
	}, a.log)
	if err != nil {
		return err
	}
	if c.List {
		_, err := fmt.Fprintln(a.stdout, strings.Join(wording.Names(standin.Symbols()), "\n"))
		return errors.Join(err, standin.Close())
	}
	if err := standin.Run(ctx); err != nil {
		return err
	}
	offences := standin.Offences()
	var total int64
	for _, offence := range slices.Sorted(maps.Keys(offences)) {
		a.say("offence: %s, %d times", offence, offences[offence])
		total += offences[offence]
	}
	if total > 0 {
		return partial("clients committed %s", wording.Count(total, "offence"))
	}
	return nil
}
