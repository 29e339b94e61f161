package binance

import (
	"encoding/json"
	"fmt"
)

// rowFields are the names of the fields that a row of an endpoint must have. first and last are empty
// if the row is one raw trade.
type rowFields struct{ id, price, qty, first, last, time, maker string }

var (
	aggRowFields   = rowFields{id: "a", price: "p", qty: "q", first: "f", last: "l", time: "T", maker: "m"}
	tradeRowFields = rowFields{id: "id", price: "price", qty: "qty", time: "time", maker: "isBuyerMaker"}
)

// required returns the fields as bits.
func (f rowFields) required() uint32 {
	if f.first == "" {
		return hasID | hasPrice | hasQty | hasTime | hasMaker
	}
	return hasID | hasPrice | hasQty | hasTime | hasMaker | hasFirst | hasLast
}

// readPage reads a JSON array of rows, whose prices and quantities alias body; capacity is how many are
// expected. A row that lacks a field, or in which it has another type, is an error that names it. Like
// Decode, it reads the common form in one pass and any other one with encoding/json.
func readPage(body []byte, fields rowFields, capacity int) ([]Row, error) {
	rows := make([]Row, 0, min(capacity, PageLimit))
	if rows, ok := scanRows(body, fields, rows); ok {
		return rows, nil
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	rows = rows[:0]
	for i, row := range list {
		if row == nil {
			return nil, damaged("a row is null")
		}
		read := fieldReader{fields: row}
		out := Row{
			ID: read.int(fields.id), Price: read.text(fields.price), Qty: read.text(fields.qty),
			Time: read.int(fields.time), IsBuyerMaker: read.bool(fields.maker),
		}
		if out.FirstTradeID, out.LastTradeID = out.ID, out.ID; fields.first != "" {
			out.FirstTradeID, out.LastTradeID = read.int(fields.first), read.int(fields.last)
		}
		if read.err != nil {
			return nil, damaged(fmt.Sprintf("row %d of the page: field %v", i+1, read.err))
		}
		rows = append(rows, out)
	}
	return rows, nil
}

// scanRows appends the rows of an array of the form that the exchange sends, and reports whether it
// has this form and each row has all fields.
func scanRows(body []byte, fields rowFields, rows []Row) ([]Row, bool) {
	if len(body) < 2 || body[0] != '[' {
		return rows, false
	}
	if string(body) == "[]" {
		return rows, true
	}
	required := fields.required()
	for i := 1; ; i++ {
		rows = append(rows, Row{})
		next, seen, ok := scanRow(body, i, fields, &rows[len(rows)-1])
		if !ok || seen&required != required || next >= len(body) {
			return rows, false
		}
		i = next
		if body[i] == ']' {
			return rows, i+1 == len(body)
		}
		if body[i] != ',' {
			return rows, false
		}
	}
}

// scanRow reads the object at i. seen are the fields that it has, each at most once.
func scanRow(data []byte, i int, fields rowFields, row *Row) (next int, seen uint32, ok bool) {
	if i >= len(data) || data[i] != '{' {
		return i, 0, false
	}
	for {
		i++ // past '{' or ','
		var name []byte
		if name, i, ok = scanString(data, i); !ok || i >= len(data) || data[i] != ':' {
			return i, seen, false
		}
		i++
		var bit uint32
		switch string(name) {
		case "":
			return i, seen, false
		case fields.id:
			bit = hasID
			row.ID, i, ok = scanInt(data, i)
		case fields.price:
			bit = hasPrice
			row.Price, i, ok = scanString(data, i)
		case fields.qty:
			bit = hasQty
			row.Qty, i, ok = scanString(data, i)
		case fields.first:
			bit = hasFirst
			row.FirstTradeID, i, ok = scanInt(data, i)
		case fields.last:
			bit = hasLast
			row.LastTradeID, i, ok = scanInt(data, i)
		case fields.time:
			bit = hasTime
			row.Time, i, ok = scanInt(data, i)
		case fields.maker:
			bit = hasMaker
			row.IsBuyerMaker, i, ok = scanBool(data, i)
		default:
			i, ok = skipValue(data, i)
		}
		if !ok || seen&bit != 0 || i >= len(data) {
			return i, seen, false
		}
		seen |= bit
		switch data[i] {
		case ',':
		case '}':
			if fields.first == "" {
				row.FirstTradeID, row.LastTradeID = row.ID, row.ID
			}
			return i + 1, seen, true
		default:
			return i, seen, false
		}
	}
}
