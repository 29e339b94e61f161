// Package archivetest writes files in the format of data.binance.vision, of any size, for tests and
// benchmarks. The same call writes the same bytes.
package archivetest

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/klauspost/compress/flate"
)

// Day is the UTC day of the trades.
var Day = time.Date(2025, 8, 8, 0, 0, 0, 0, time.UTC)

// Symbol is the traded symbol.
const Symbol = "BTCUSDT"

// FirstID is the id of the first aggTrade of the day.
const FirstID = 3_000_000_000

// Files are a day's aggTrades, with consecutive ids from FirstID on.
type Files struct {
	CSV, Zip    string // paths
	First, Last string // lines
}

// WriteDay writes a day of aggTrades into dir: a random walk of prices, and quantities and
// intervals like those of a busy symbol.
func WriteDay(dir string, rows int) (files Files, err error) {
	name := fmt.Sprintf("%s-aggTrades-%s", Symbol, Day.Format(time.DateOnly))
	files.CSV, files.Zip = filepath.Join(dir, name+".csv"), filepath.Join(dir, name+".zip")
	text, err := os.Create(files.CSV)
	if err != nil {
		return files, err
	}
	defer func() { err = errors.Join(err, text.Close()) }()
	packed, err := os.Create(files.Zip)
	if err != nil {
		return files, err
	}
	defer func() { err = errors.Join(err, packed.Close()) }()
	w := zip.NewWriter(packed)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) { return flate.NewWriter(out, 6) })
	member, err := w.Create(name + ".csv")
	if err != nil {
		return files, err
	}
	out := bufio.NewWriterSize(io.MultiWriter(text, member), 1<<20)
	g := newGenerator(rows)
	for i := range rows {
		line := g.next()
		if i == 0 {
			files.First = string(line)
		}
		if i == rows-1 {
			files.Last = string(line)
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return files, err
		}
	}
	if err := out.Flush(); err != nil {
		return files, err
	}
	return files, w.Close()
}

// generator returns one line after the other.
type generator struct {
	random         *rand.Rand
	id, raw, price int64
	at, step       float64 // microseconds since 1970
	line           []byte
}

func newGenerator(rows int) *generator {
	return &generator{
		random: rand.New(rand.NewPCG(1, 2)), id: FirstID, raw: 3_700_000_000, price: 6_183_763,
		at: float64(Day.UnixMicro()), step: float64(24*time.Hour/time.Microsecond) / float64(rows),
	}
}

func (g *generator) next() []byte {
	if g.random.IntN(3) == 0 {
		g.price = max(1, g.price+int64(g.random.NormFloat64()*40))
	}
	count := int64(1)
	if g.random.IntN(4) == 0 {
		count += int64(g.random.IntN(6))
	}
	qty := int64(g.random.ExpFloat64()*2000) + 1
	maker := "False"
	if g.random.IntN(2) == 0 {
		maker = "True"
	}
	line := strconv.AppendInt(g.line[:0], g.id, 10)
	line = appendDecimal(append(line, ','), g.price, 2)
	line = appendDecimal(append(line, ','), qty, 5)
	line = strconv.AppendInt(append(line, ','), g.raw, 10)
	line = strconv.AppendInt(append(line, ','), g.raw+count-1, 10)
	line = strconv.AppendInt(append(line, ','), int64(g.at), 10)
	line = append(append(append(line, ','), maker...), ",True"...)
	g.line = line
	g.id++
	g.raw += count
	g.at = min(g.at+g.step*float64(g.random.IntN(2000))/1000, float64(Day.AddDate(0, 0, 1).UnixMicro()-1))
	return line
}

// appendDecimal appends a number that has so many decimals, padded to eight, as the exchange does.
func appendDecimal(line []byte, number int64, digits int) []byte {
	scale := int64(1)
	for range digits {
		scale *= 10
	}
	line = strconv.AppendInt(line, number/scale, 10)
	line = append(line, '.')
	for rest := number % scale; scale > 1; rest %= scale {
		scale /= 10
		line = append(line, byte('0'+rest/scale))
	}
	for range 8 - digits {
		line = append(line, '0')
	}
	return line
}
