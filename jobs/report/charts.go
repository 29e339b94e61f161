package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/wording"
)

const (
	chartedMovers  = 10 // on each side
	chartedSymbols = 8  // symbols with a chart of their own, the most traded
	hourlySymbols  = 4  // of these, symbols with a chart of their volume by hour
)

// chartKind is a kind of chart.
type chartKind int

const (
	moversChart chartKind = iota // horizontal bars by symbol
	hoursChart                   // columns by hour
	priceChart                   // prices as candles over volume as columns, with alerts as marks
)

// chartSpec selects what a chart shows: the rows [from, to) of a section. Pages, pictures and
// workbooks show the same charts.
type chartSpec struct {
	kind    chartKind
	title   string
	level   Level // Good or Bad, of movers
	section *Section
	symbolRun
	category int     // column
	value    int     // column; of a priceChart, the volume
	prices   []int   // columns of a priceChart: open, high, low, close
	alerts   []alert // of a priceChart
}

func (c chartSpec) rows() [][]any { return c.section.Result.Rows[c.from:c.to] }

// chartGroups chooses the report's charts: the top movers, the trades by hour, then the price and
// the volume by hour of the most traded symbols. A group is one or two charts that belong side by
// side.
func (r *Report) chartGroups() (groups [][]chartSpec) {
	movers := r.moverCharts()
	if section, columns, ok := r.sectionColumns("breadth", "hour", "trades"); ok && len(section.Result.Rows) > 1 {
		trades := chartSpec{
			kind: hoursChart, title: "Raw trades by hour, " + r.symbolsTitle(), section: section,
			symbolRun: symbolRun{to: len(section.Result.Rows)}, category: columns[0], value: columns[1],
		}
		if len(movers) != 1 {
			groups = append(groups, []chartSpec{trades})
		} else {
			movers = append(movers, trades)
		}
	}
	if len(movers) > 0 {
		groups = slices.Insert(groups, 0, movers)
	}
	candles, columns, ok := r.sectionColumns("candles", "bucket", "volume", "open", "high", "low", "close")
	if !ok {
		return groups
	}
	alerts := r.alertsBySymbol()
	for i, run := range mostTraded(candles.Result) {
		group := []chartSpec{{
			kind: priceChart, title: wording.Name(run.symbol) + ": price and volume (base asset)", symbolRun: run,
			section: candles, category: columns[0], value: columns[1], prices: columns[2:], alerts: alerts[run.symbol],
		}}
		if volume, ok := r.volumeChart(run.symbol); ok && i < hourlySymbols {
			group = append(group, volume)
		}
		groups = append(groups, group)
	}
	return groups
}

// symbolsTitle names the report's symbols in a title.
func (r *Report) symbolsTitle() string {
	if len(r.Symbols) == 0 {
		return "all symbols"
	}
	return wording.List(r.Symbols, 3)
}

// moverCharts chooses the top movers, one chart for each side.
func (r *Report) moverCharts() (out []chartSpec) {
	section, columns, ok := r.sectionColumns("movers", "side", "symbol", "change")
	if !ok {
		return nil
	}
	side := columns[0]
	rows := section.Result.Rows
	for from := 0; from < len(rows); {
		to := from
		for to < len(rows) && rows[to][side] == rows[from][side] {
			to++
		}
		spec := chartSpec{
			kind: moversChart, title: "Top gainers", level: Good,
			section: section, symbolRun: symbolRun{from: from, to: min(to, from+chartedMovers)},
			category: columns[1], value: columns[2],
		}
		if rows[from][side] == "loser" {
			spec.title, spec.level = "Top losers", Bad
		}
		out = append(out, spec)
		from = to
	}
	return out
}

// volumeChart chooses a symbol's volume by hour. A single hour is not worth a chart.
func (r *Report) volumeChart(symbol string) (chartSpec, bool) {
	section, columns, ok := r.sectionColumns(hourlyName, "symbol", "hour", "quote_volume")
	if !ok {
		return chartSpec{}, false
	}
	runs := symbolRuns(section.Result)
	i := slices.IndexFunc(runs, func(run symbolRun) bool { return run.symbol == symbol })
	if i < 0 || runs[i].to-runs[i].from < 2 {
		return chartSpec{}, false
	}
	return chartSpec{
		kind: hoursChart, title: wording.Name(symbol) + ": quote volume by " + r.hourlyUnit(), symbolRun: runs[i],
		section: section, category: columns[1], value: columns[2],
	}, true
}

// sectionColumns returns a section and the indices of its columns. It returns false if the section
// or a column does not exist.
func (r *Report) sectionColumns(name string, columns ...string) (*Section, []int, bool) {
	section := r.Section(name)
	if section == nil {
		return nil, nil, false
	}
	indices := columnIndices(section.Result, columns...)
	return section, indices, indices != nil
}

// symbolRun is the rows [from, to) of a symbol.
type symbolRun struct {
	symbol   string
	from, to int
	trades   int64 // 0 if the section has no column trades
}

// symbolRuns splits the rows of a section that is sorted by symbol.
func symbolRuns(result analytics.Result) (runs []symbolRun) {
	symbol, trades := columnIndex(result, "symbol"), columnIndex(result, "trades")
	for i, row := range result.Rows {
		name, _ := row[symbol].(string)
		if len(runs) == 0 || runs[len(runs)-1].symbol != name {
			runs = append(runs, symbolRun{symbol: name, from: i})
		}
		last := &runs[len(runs)-1]
		last.to = i + 1
		if trades >= 0 {
			n, _ := row[trades].(int64)
			last.trades += n
		}
	}
	return runs
}

// mostTraded returns the symbols with the most trades, the most first. Their volumes cannot be
// compared because their quote assets may differ.
func mostTraded(candles analytics.Result) []symbolRun {
	runs := symbolRuns(candles)
	slices.SortStableFunc(runs, func(a, b symbolRun) int {
		return cmp.Or(cmp.Compare(b.trades, a.trades), strings.Compare(a.symbol, b.symbol))
	})
	return runs[:min(len(runs), chartedSymbols)]
}

// timeFormat returns the Excel format and the Go layout of the times on a chart's axis.
func (r *Report) timeFormat() (excel, layout string) {
	switch window := r.Window.Duration(); {
	case window <= 2*time.Hour:
		return "hh:mm:ss", "15:04:05"
	case window <= 48*time.Hour:
		return "hh:mm", "15:04"
	}
	if r.Window.Duration() <= 10*24*time.Hour {
		return "mm-dd hh:mm", "01-02 15:04"
	}
	return "mm-dd", "01-02"
}
