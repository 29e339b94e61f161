package tape

import (
	"path/filepath"
	"time"
)

// Touching gives the segments of trades, by path, that hold a run of ids for which keep says yes, given the symbol and the traded_at of the
// run's ends, and says of a path whether the index knows it at all. Both are as of the last Refresh.
func (x *Index) Touching(keep func(symbol string, first, last time.Time) bool) (touching, known map[string]bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	touching, known = map[string]bool{}, map[string]bool{}
	for date, part := range x.parts {
		for name, symbols := range part.files {
			path := filepath.Join(string(Trades), "date="+date, name)
			known[path] = true
			for symbol, runs := range symbols {
				for _, run := range runs {
					if !touching[path] && keep(symbol, timeOf(run.firstAt), timeOf(run.lastAt)) {
						touching[path] = true
					}
				}
				if touching[path] {
					break
				}
			}
		}
	}
	return touching, known
}
