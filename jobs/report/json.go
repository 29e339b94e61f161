package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"time"

	"tapedeck/internal/wording"
)

// Schema names the format that JSON writes. It changes when readers of the old format would misread
// the new one. New keys may be added without a new name.
const Schema = "tapedeck.report/1"

// JSON writes the report as one object:
//
//	schema        "tapedeck.report/1"
//	made_at       when the report was made
//	feed          "aggTrade" or "trade"
//	window        {start, end}: half-open
//	symbols       the symbols asked for; [] means all
//	empty         true if the tape holds no trades in the window
//	complete      true if the tape is proven to hold all trades of the window
//	missing       number of missing ids that the exchange may still have
//	known         [{symbol, complete, known_since, known_since_by, known_until, known_until_by}]: where
//	              the record of each symbol is known; what proves it is trade, stream or exchange
//	judged        {minutes, judged_minutes, detectors, all_detectors, text}: minutes of the window, over
//	              all symbols; those that all detectors in use judged; how many of all detectors those are
//	statements    [{mood, text}]: how complete the data are, worst first; mood is bad, fair, good or note
//	sections      [{name, title, doc, key, columns, rows}], or with "error" instead of rows
//
// A column is {name, type, unit, doc}. A row is an object with the column names as keys, in order;
// null stands for an unknown value and for a number that is NaN or infinite. Times are RFC 3339 in
// UTC with as many digits as they need, dates are YYYY-MM-DD, and numbers have all their digits.
func JSON(w io.Writer, r *Report) error {
	type column struct {
		Name string `json:"name"`
		Type string `json:"type"`
		Unit string `json:"unit,omitempty"`
		Doc  string `json:"doc"`
	}
	type section struct {
		Name    string            `json:"name"`
		Title   string            `json:"title"`
		Doc     string            `json:"doc"`
		Key     []string          `json:"key"`
		Columns []column          `json:"columns"`
		Rows    []json.RawMessage `json:"rows,omitzero"`
		Error   string            `json:"error,omitempty"`
	}
	type statement struct {
		Level Level  `json:"mood"`
		Text  string `json:"text"`
	}
	type known struct {
		Symbol       string `json:"symbol"`
		Complete     bool   `json:"complete"`
		KnownSince   string `json:"known_since"`
		KnownSinceBy string `json:"known_since_by"`
		KnownUntil   string `json:"known_until"`
		KnownUntilBy string `json:"known_until_by"`
	}
	type judged struct {
		Minutes       int64  `json:"minutes"`
		JudgedMinutes int64  `json:"judged_minutes"`
		Detectors     int    `json:"detectors"`
		All           int    `json:"all_detectors"`
		Text          string `json:"text"`
	}
	type window struct {
		Start string `json:"start"`
		End   string `json:"end"`
	}
	out := struct {
		Schema     string      `json:"schema"`
		MadeAt     string      `json:"made_at"`
		Feed       string      `json:"feed"`
		Window     window      `json:"window"`
		Symbols    []string    `json:"symbols"`
		Empty      bool        `json:"empty"`
		Complete   bool        `json:"complete"`
		Missing    int64       `json:"missing"`
		Known      []known     `json:"known"`
		Judged     judged      `json:"judged"`
		Statements []statement `json:"statements"`
		Sections   []section   `json:"sections"`
	}{
		Schema: Schema, MadeAt: formatInstant(r.MadeAt), Feed: string(r.Feed),
		Window:  window{formatInstant(r.Window.Start), formatInstant(r.Window.End)},
		Symbols: append([]string{}, r.Symbols...), Empty: r.Empty, Complete: r.Complete, Missing: r.Missing,
		Known: []known{}, Judged: judged(r.Judged), Sections: []section{},
	}
	for _, k := range r.Known {
		out.Known = append(out.Known, known{k.Symbol, k.Complete, formatInstant(k.Since), string(k.SinceBy),
			formatInstant(k.Until), string(k.UntilBy)})
	}
	for _, s := range r.Statements {
		out.Statements = append(out.Statements, statement(s))
	}
	for _, s := range r.Sections {
		object := section{Name: s.Query.Name, Title: s.Query.Title, Doc: s.Query.Doc, Key: s.Query.Key,
			Columns: []column{}}
		for _, c := range s.Query.Columns {
			unit, _ := unitOf(c)
			object.Columns = append(object.Columns, column{c.Name, c.Type, unit, c.Doc})
		}
		if s.Err != nil {
			object.Error = s.Err.Error()
		} else {
			object.Rows = make([]json.RawMessage, 0, len(s.Result.Rows))
			for _, row := range s.Result.Rows {
				encoded, err := jsonRow(s, row)
				if err != nil {
					return err
				}
				object.Rows = append(object.Rows, encoded)
			}
		}
		out.Sections = append(out.Sections, object)
	}
	encoder := json.NewEncoder(wording.JSON(w))
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

// jsonRow returns a row as an object whose keys are in the order of the columns.
func jsonRow(s Section, row []any) (json.RawMessage, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	separator := byte('{')
	for i, column := range s.Result.Columns {
		value := row[i]
		switch v := value.(type) {
		case time.Time:
			value = csvValue(kindOf(column), v)
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) {
				value = nil
			}
		}
		out.WriteByte(separator)
		separator = ','
		err := encoder.Encode(column.Name)
		out.WriteByte(':')
		if err := errors.Join(err, encoder.Encode(value)); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// formatInstant formats a time as RFC 3339 with up to six decimals.
func formatInstant(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.999999Z07:00") }
