package verify

import (
	"encoding/json"
	"io"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// The JSON form of a certificate. Ids are numbers, times are RFC 3339 in UTC.
type (
	jsonCertificate struct {
		Complete   bool             `json:"complete"`
		CheckedAt  time.Time        `json:"checked_at"`
		Files      int              `json:"files"`
		Misplaced  int64            `json:"misplaced_rows"`
		Broken     []jsonBroken     `json:"broken"`
		Strays     []jsonBroken     `json:"strays"` // doubled and misplaced files
		NotSymbols []tape.NotSymbol `json:"not_symbols"`
		Conflicts  []jsonConflict   `json:"conflicts"`
		// Gone has the number of dropped ids of the symbols of which nothing is left.
		Gone    map[string]int64 `json:"gone,omitempty"`
		Symbols []jsonSymbol     `json:"symbols"`
	}
	jsonBroken struct {
		Path  string `json:"path"`
		Error string `json:"error"`
	}
	jsonConflict struct {
		Symbol  string      `json:"symbol"`
		ID      int64       `json:"id"`
		OnTape  jsonContent `json:"on_tape"`
		Refused jsonContent `json:"refused"`
		FoundAt time.Time   `json:"found_at"`
	}
	jsonContent struct {
		Price        float64     `json:"price"`
		Qty          float64     `json:"qty"`
		FirstTradeID int64       `json:"first_trade_id"`
		LastTradeID  int64       `json:"last_trade_id"`
		TradedAt     time.Time   `json:"traded_at"`
		IsBuyerMaker bool        `json:"is_buyer_maker"`
		Source       tape.Source `json:"source"`
		RunID        string      `json:"run_id"`
	}
	jsonSymbol struct {
		Symbol string `json:"symbol"`
		tape.Bounds
		KnownSince    time.Time     `json:"known_since"`
		KnownSinceBy  tape.Evidence `json:"known_since_by"`
		KnownUntil    time.Time     `json:"known_until"`
		KnownUntilBy  tape.Evidence `json:"known_until_by"`
		Trades        int64         `json:"trades"`
		Missing       int64         `json:"missing"`
		Absent        int64         `json:"absent_at_source"`
		Dropped       int64         `json:"dropped"`
		Twice         int64         `json:"twice"`
		Conflicts     int64         `json:"conflicts"`
		Backwards     int64         `json:"backwards"`
		BackwardSteps []jsonStep    `json:"backward_steps"` // the first ones
		Gaps          []jsonGap     `json:"gaps"`
		Days          []jsonDay     `json:"days"`
	}
	jsonStep struct {
		ID     int64     `json:"id"`
		At     time.Time `json:"at"`
		Before time.Time `json:"at_before"`
	}
	jsonGap struct {
		FirstID int64     `json:"first_id"`
		LastID  int64     `json:"last_id"`
		Count   int64     `json:"count"`
		After   time.Time `json:"after"`
		Before  time.Time `json:"before"`
	}
	jsonDay struct {
		Date      string `json:"date"`
		FirstID   *int64 `json:"first_id"`
		LastID    *int64 `json:"last_id"`
		Trades    int64  `json:"trades"`
		Missing   int64  `json:"missing"`
		Absent    int64  `json:"absent_at_source"`
		Conflicts int64  `json:"conflicts"`
		State     string `json:"state"`
	}
)

// WriteJSON writes the whole certificate as one JSON object.
func WriteJSON(w io.Writer, c tape.Certificate) error {
	out := jsonCertificate{
		Complete: c.Complete(), CheckedAt: c.CheckedAt, Files: c.Files, Misplaced: c.Misplaced, Gone: c.Gone,
		Broken: []jsonBroken{}, Strays: []jsonBroken{}, NotSymbols: append([]tape.NotSymbol{}, c.NotSymbols...),
		Conflicts: []jsonConflict{}, Symbols: []jsonSymbol{},
	}
	for _, b := range c.Broken {
		out.Broken = append(out.Broken, jsonBroken{b.Path, b.Err.Error()})
	}
	for _, b := range c.Strays {
		out.Strays = append(out.Strays, jsonBroken{b.Path, b.Err.Error()})
	}
	for _, f := range c.Conflicts {
		out.Conflicts = append(out.Conflicts, jsonConflict{
			f.Symbol, f.ID, contentOf(f.Kept(), f.Source, f.RunID), contentOf(f.Other(), f.OtherSource, f.OtherRunID),
			time.UnixMicro(f.FoundAt).UTC(),
		})
	}
	for _, s := range c.Symbols {
		out.Symbols = append(out.Symbols, symbolOf(s))
	}
	encoder := json.NewEncoder(wording.JSON(w))
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

func contentOf(t tape.Trade, source tape.Source, run string) jsonContent {
	return jsonContent{
		t.Price, t.Qty, t.FirstTradeID, t.LastTradeID, time.UnixMicro(t.TradedAt).UTC(), t.IsBuyerMaker, source, run,
	}
}

func symbolOf(s tape.SymbolCertificate) jsonSymbol {
	out := jsonSymbol{
		Symbol: s.Symbol, Bounds: s.Bounds,
		KnownSince: s.Known.Since, KnownSinceBy: s.Known.SinceBy, KnownUntil: s.Known.Until, KnownUntilBy: s.Known.UntilBy,
		Trades: s.Trades, Missing: s.Missing, Absent: s.Absent, Dropped: s.Dropped, Twice: s.Duplicates,
		Conflicts: s.Conflicts, Backwards: s.Backwards,
		BackwardSteps: []jsonStep{}, Gaps: []jsonGap{}, Days: []jsonDay{},
	}
	for _, b := range s.BackwardSteps {
		out.BackwardSteps = append(out.BackwardSteps, jsonStep{b.ID, b.At, b.Before})
	}
	for _, g := range s.Gaps {
		out.Gaps = append(out.Gaps, jsonGap{g.First, g.Last, g.Count(), g.After, g.Before})
	}
	for _, d := range s.Days {
		out.Days = append(out.Days,
			jsonDay{d.Date, d.FirstID, d.LastID, d.Trades, d.Missing, d.AbsentAtSource, d.Conflicts, d.State})
	}
	return out
}
