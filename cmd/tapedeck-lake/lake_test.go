package main

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/idset"
	"tapedeck/internal/lake/request"
	"tapedeck/internal/tape"
)

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not have %q", text, part)
		}
	}
}

func TestRestoredDaysEqualTheOriginal(t *testing.T) {
	s := startServer(t)
	trades := history(4, "BTCUSDT", "ETHUSDT", "币安人生USDT")
	dir := newTape(t, trades)
	alerts := []tape.Alert{
		{Detector: "whale_order", Symbol: "BTCUSDT", At: day0.Add(40 * time.Hour).UnixMicro(), Score: 9, Severity: "high", Message: "m", Extra: "{}"},
		{Detector: "whale_order", Symbol: "ETHUSDT", At: day0.Add(41 * time.Hour).UnixMicro(), Score: 8, Severity: "low", Message: "n", Extra: "{}"},
	}
	if _, err := dir.PublishAlerts(t.Context(), alerts); err != nil {
		t.Fatal(err)
	}
	ship := request.Request{Command: request.Ship, DataDir: dir.Path(), Now: after}
	dry := ship
	dry.DryRun = true
	// The record begins and ends within the first and the last of the five dates.
	contains(t, s.must(t, dry), "would ship 3 days", "2026-01-15 waits: the record begins or ends on it", "2026-01-19 waits")
	if found, err := s.open(t).Read(t.Context(), tape.Trades); err != nil || found.Exists() {
		t.Fatalf("after a dry run there is a table (%v)", err)
	}
	contains(t, s.must(t, ship), "shipped 3 days (38,880 trades", "2 alerts added", "2 days wait")
	contains(t, s.must(t, ship), "shipped 0 days", "3 days are in the lake already")
	contains(t, s.must(t, request.Request{Command: request.Verify}), "Proven: 38,880 trades of 9 symbol-days on 3 days")

	to := filepath.Join(t.TempDir(), "restored")
	restore := request.Request{Command: request.Restore, DataDir: to, Now: after}
	contains(t, s.must(t, restore), "restored 38,880 trades and 2 alerts of 3 days")
	contains(t, s.must(t, restore), "restored 0 trades and 0 alerts of 3 days; the trades of 3 days were here already")
	restored, err := tape.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rowsOf(t, dir, "2026-01-16", "2026-01-18"), rowsOf(t, restored, "", "")); diff != "" {
		t.Error(diff)
	}
	again, err := restored.ReadAlerts("", "")
	if diff := cmp.Diff(alerts, again); diff != "" || err != nil {
		t.Error(diff, err)
	}
	certificate, err := restored.Certify(t.Context(), after, true)
	if err != nil || !certificate.Complete() {
		t.Fatalf("%+v (%v)", certificate, err)
	}
	for _, c := range certificate.Symbols {
		// The restored window does not look like the beginning of the symbol's record.
		if first := c.Days[0]; first.State != tape.StateProven || !c.Known.Since.Equal(day0.AddDate(0, 0, 1)) || !c.Known.Until.Equal(day0.AddDate(0, 0, 4)) {
			t.Errorf("%s: %+v, known %+v", c.Symbol, first, c.Known)
		}
	}

	some := request.Request{Command: request.Restore, DataDir: filepath.Join(t.TempDir(), "some"), Now: after, From: "2026-01-17", To: "2026-01-17", Symbols: []string{"BTC*"}}
	contains(t, s.must(t, some), "restored 4,320 trades and 0 alerts of 1 day")
}

func TestDaysAreReplacedOnlyBySupersets(t *testing.T) {
	s := startServer(t)
	trades := history(3, "BTCUSDT", "ETHUSDT")
	hole := idset.Set{{First: 1000 + 180*20, Last: 1000 + 180*20 + 9}} // ids of BTCUSDT on 2026-01-16
	var without, lost []tape.Trade
	for _, row := range trades {
		if row.Symbol == "BTCUSDT" && hole.Contains(row.ID) {
			lost = append(lost, row)
		} else {
			without = append(without, row)
		}
	}
	dir := newTape(t, without)
	ship := request.Request{Command: request.Ship, DataDir: dir.Path(), Now: after}
	// A gap may still be filled; the day after it is complete.
	contains(t, s.must(t, ship), "shipped 1 day ")
	if err := dir.RecordAbsent("BTCUSDT", hole, after); err != nil {
		t.Fatal(err)
	}
	contains(t, s.must(t, ship), "shipped 1 day (8,630 trades")
	contains(t, s.must(t, request.Request{Command: request.Verify}), "Proven: 17,270 trades")

	// What the exchange did not have is found elsewhere.
	add(t, dir, lost)
	contains(t, s.must(t, ship), "shipped 1 day (8,640 trades", "1 of them replaced")
	contains(t, s.must(t, request.Request{Command: request.Verify}), "Proven: 17,280 trades")

	// A recorder without these ids finds that the lake has more.
	other := newTape(t, without)
	if err := other.RecordAbsent("BTCUSDT", hole, after); err != nil {
		t.Fatal(err)
	}
	contains(t, s.must(t, request.Request{Command: request.Ship, DataDir: other.Path(), Now: after}), "shipped 0 days", "2 days are in the lake already")
	contains(t, s.must(t, request.Request{Command: request.Verify}), "Proven: 17,280 trades")
}

func TestRecordersShareATable(t *testing.T) {
	s := startServer(t)
	trades := history(3, "BTCUSDT", "ETHUSDT")
	var ships []request.Request
	for range 3 {
		ships = append(ships, request.Request{Command: request.Ship, DataDir: newTape(t, trades).Path(), Now: after})
	}
	var group sync.WaitGroup
	outputs := make([]string, len(ships))
	for i, asked := range ships {
		group.Go(func() { outputs[i] = s.must(t, asked) })
	}
	group.Wait()
	contains(t, s.must(t, request.Request{Command: request.Verify}), "Proven: 17,280 trades of 4 symbol-days on 2 days")

	// One recorder has another content of one id.
	wrong := history(3, "BTCUSDT", "ETHUSDT")
	for i := range wrong {
		if wrong[i].Symbol == "ETHUSDT" && wrong[i].ID == 2000+180*20 {
			wrong[i].Price++
		}
	}
	dir := newTape(t, wrong)
	status, _, text := s.ask(t, request.Request{Command: request.Ship, DataDir: dir.Path(), Now: after})
	if status != exitPartial {
		t.Errorf("exit %d", status)
	}
	contains(t, text, "2026-01-16 is not shipped: another tape shipped another content of ETHUSDT: 1 conflict; tapedeck verify names them", "1 day is in the lake already")
	conflicts, err := dir.OpenConflicts(context.Background())
	if err != nil || len(conflicts) != 1 || conflicts[0].ID != 2000+180*20 {
		t.Errorf("%+v (%v)", conflicts, err)
	}
	contains(t, s.must(t, request.Request{Command: request.Verify}), "Proven: 17,280 trades")
}
