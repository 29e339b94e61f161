package report

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"strconv"
	"time"
)

// Schema names the form that JSON writes. It changes when a reader of the old form would misread the new one; new keys may be
// added under the same name.
const Schema = "tapedeck.report/1"

// JSON writes the report as one object:
//
//	schema        "tapedeck.report/1"
//	made_at       when it was made
//	feed          "aggTrade" or "trade"
//	window        {start, end}: half-open
//	symbols       those that were asked for; [] means all
//	empty         true where nothing traded in the window
//	complete      true where the tape holds all that traded in it
//	missing       how many ids are missing and may be had
//	statements    [{mood, text}]: what to know first; mood is bad, fair, good or note
//	sections      [{name, title, doc, key, columns, rows}], or with "error" in place of rows
//
// A column is {name, type, unit, doc}; a row is an object of the columns' names, in their order, with null for what is not
// known or is not a number. Times are RFC 3339 in UTC with as many digits as they need, dates are YYYY-MM-DD, numbers have
// every digit of the value.
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
		Mood Mood   `json:"mood"`
		Text string `json:"text"`
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
		Statements []statement `json:"statements"`
		Sections   []section   `json:"sections"`
	}{
		Schema: Schema, MadeAt: instant(r.MadeAt), Feed: string(r.Feed), Window: window{instant(r.Window.Start), instant(r.Window.End)},
		Symbols: append([]string{}, r.Symbols...), Empty: r.Empty, Complete: r.Complete, Missing: r.Missing, Sections: []section{},
	}
	for _, s := range r.Statements {
		out.Statements = append(out.Statements, statement(s))
	}
	for _, s := range r.Sections {
		made := section{Name: s.Query.Name, Title: s.Query.Title, Doc: s.Query.Doc, Key: s.Query.Key, Columns: []column{}}
		for _, c := range s.Query.Columns {
			unit, _ := unitOf(c)
			made.Columns = append(made.Columns, column{c.Name, c.Type, unit, c.Doc})
		}
		if s.Err != nil {
			made.Error = s.Err.Error()
		} else {
			made.Rows = make([]json.RawMessage, 0, len(s.Result.Rows))
			for _, row := range s.Result.Rows {
				object, err := jsonRow(s, row)
				if err != nil {
					return err
				}
				made.Rows = append(made.Rows, object)
			}
		}
		out.Sections = append(out.Sections, made)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

// jsonRow writes an object whose keys keep the columns' order.
func jsonRow(s Section, row []any) (json.RawMessage, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, column := range s.Result.Columns {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := jsonValue(column.Name)
		if err != nil {
			return nil, err
		}
		value := row[i]
		switch v := value.(type) {
		case time.Time:
			value = instant(v)
			if kindOf(column) == kindDate {
				value = v.UTC().Format(time.DateOnly)
			}
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) {
				value = nil
			}
		}
		text, err := jsonValue(value)
		if err != nil {
			return nil, err
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(text)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func jsonValue(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimRight(out.Bytes(), "\n"), err
}

func instant(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.999999Z07:00") }

// number writes a double as short as it can be read back.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
