package exchange

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
)

// receiveTrades receives n trades and returns their contents.
func receiveTrades(t *testing.T, ws *websocket.Conn, n int) (contents []string) {
	t.Helper()
	for range n {
		var e struct {
			ID    int64  `json:"t"`
			Price string `json:"p"`
			Qty   string `json:"q"`
			Time  int64  `json:"T"`
			Maker bool   `json:"m"`
			Best  bool   `json:"M"`
		}
		if err := json.Unmarshal([]byte(receive(t, ws)), &e); err != nil {
			t.Fatal(err)
		}
		contents = append(contents, fmt.Sprint(e.ID, e.Price, e.Qty, e.Time-t0/1000, e.Maker))
	}
	return contents
}

// contentOf returns a row as receiveTrades does.
func contentOf(r Row) string {
	return fmt.Sprint(r.ID, r.Price, r.Qty, (r.TradedAt-t0)/1000, r.BuyerMaker)
}

// TestConflictIsSentAfterTheTrade requests other contents for two of ten trades.
func TestConflictIsSentAfterTheTrade(t *testing.T) {
	source := numberedTrades(10)
	s := StartTest(t, source, Options{Speed: Manual})
	ws := dial(t, s, "/ws/btcusdt@trade")
	inject(t, s, Fault{Kind: Conflict, Count: 2, Match: "btcusdt@"}, 0)
	advance(t, s, at(10))
	var want []string
	for _, row := range source.Rows(nil, "BTCUSDT", Trade, 1, 10) {
		want = append(want, contentOf(row))
	}
	served := s.Conflicts()
	if len(served) != 2 || served[0].Row.ID != 1 || served[1].Row.ID != 2 || s.Served().Conflicts != 2 || s.Served().Faults[Conflict] != 2 {
		t.Fatalf("served %+v, counted %+v", served, s.Served())
	}
	for i := range 2 {
		if contentOf(served[i].Row) == want[2*i] {
			t.Errorf("%+v is not altered", served[i])
		}
		want = slices.Insert(want, 2*i+1, contentOf(served[i].Row))
	}
	if diff := cmp.Diff(want, receiveTrades(t, ws, 12)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestImpostorSendsAnotherMarket has one of two connections send other contents.
func TestImpostorSendsAnotherMarket(t *testing.T) {
	s := StartTest(t, numberedTrades(40), Options{Speed: Manual})
	honest := dial(t, s, "/ws/btcusdt@trade")
	inject(t, s, Fault{Kind: Impostor}, 0)
	impostor := dial(t, s, "/ws/btcusdt@trade")
	advance(t, s, at(40))
	right, other := receiveTrades(t, honest, 40), receiveTrades(t, impostor, 40)
	for i := range right {
		if right[i] == other[i] {
			t.Errorf("both sent %s", right[i])
		}
	}
	if served := s.Served(); served.Conflicts != 40 || served.Faults[Impostor] != 1 {
		t.Errorf("served %+v", served)
	}
}

// TestRESTConflict requests a page again of which one row is altered.
func TestRESTConflict(t *testing.T) {
	s := history(t, Options{})
	const path = "/api/v3/aggTrades?symbol=BTCUSDT&fromId=101&limit=3"
	_, before, _ := get(t, s.URL()+path)
	inject(t, s, Fault{Kind: RESTConflict}, 0)
	get(t, s.URL()+"/api/v3/time")                                    // has no rows
	get(t, s.URL()+"/api/v3/aggTrades?symbol=BTCUSDT&fromId=1000000") // nor has this
	_, altered, _ := get(t, s.URL()+path)
	_, after, _ := get(t, s.URL()+path)
	one, other := strings.Split(before, "},{"), strings.Split(altered, "},{")
	if before != after || len(one) != 3 || len(other) != 3 || one[0] != other[0] || one[1] == other[1] || one[2] != other[2] {
		t.Errorf("before\n%s\nthen\n%s\nthen\n%s", before, altered, after)
	}
	if served := s.Served(); served.Conflicts != 1 || served.Faults[RESTConflict] != 1 || s.Conflicts()[0].Row.ID != 102 {
		t.Errorf("served %+v, %+v", served, s.Conflicts())
	}
}

// TestArchiveIsRevised downloads a file before and after the archive replaced it, as Binance did with
// ETHUSDT-aggTrades-2024-11-19.
func TestArchiveIsRevised(t *testing.T) {
	s := archiveAt(t, Options{}, "2025-01-02T05:00")
	inject(t, s, Fault{Kind: ArchiveRevised, Match: "2025-01-01"}, 0)
	const name = "BTCUSDT-aggTrades-2025-01-01"
	fetch := func() (lines []string, etag string) {
		status, body, header := get(t, s.URL()+daily+"2025-01-01.zip")
		_, sum, _ := get(t, s.URL()+daily+"2025-01-01.zip.CHECKSUM")
		lines, err := unzip(body, name+".csv")
		if status != 200 || err != nil || !strings.HasPrefix(sum, sumOf(body)+"  ") {
			t.Fatalf("status %d, %v, checksum %s of %s", status, err, sum, sumOf(body))
		}
		return lines, header.Get("ETag")
	}
	first, etag := fetch()
	if served := s.Served(); served.Conflicts != 0 || served.Faults[ArchiveRevised] != 0 {
		t.Errorf("the first download: %+v", served)
	}
	revised, newETag := fetch()
	again, _ := fetch()
	if etag == newETag || !slices.Equal(revised, again) || len(revised) != len(first) {
		t.Errorf("ETag %s and %s, %d, %d and %d lines", etag, newETag, len(first), len(revised), len(again))
	}
	differ := 0
	for i := range first {
		if first[i] != revised[i] {
			differ++
		}
	}
	served := s.Served()
	if differ != 1 || served.Conflicts != 1 || served.Faults[ArchiveRevised] != 1 {
		t.Errorf("%d lines differ, served %+v", differ, served)
	}
}

// TestEndFaults ends a schedule in which everything is dropped, and a request.
func TestEndFaults(t *testing.T) {
	s := StartTest(t, numberedTrades(20), Options{Speed: Manual, Faults: &Faults{Rates: map[FaultKind]float64{Drop: 1}}})
	ws := dial(t, s, "/ws/btcusdt@trade")
	inject(t, s, Fault{Kind: Duplicate, Count: 3}, 0)
	s.EndFaults()
	advance(t, s, at(20))
	if got := receiveIDs(t, ws, 20); got[0] != 1 || got[19] != 20 {
		t.Errorf("received %v", got)
	}
}
