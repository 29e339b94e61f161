package stream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gobinance "github.com/adshao/go-binance/v2"
	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"

	"tapedeck/internal/benchtest"
	"tapedeck/internal/tape"
)

// The sender of the benchmarks is this test binary in another process, so that only the recorder is
// measured. It runs if firehoseEnv is set, to the number of symbols and that of trades. It sends as
// fast as the recorder reads.
const firehoseEnv = "TAPEDECK_TEST_FIREHOSE"

func TestMain(m *testing.M) {
	if setting := os.Getenv(firehoseEnv); setting != "" {
		var symbols, trades int
		if _, err := fmt.Sscan(setting, &symbols, &trades); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		newFirehose(symbols).run(trades)
		return
	}
	os.Exit(m.Run())
}

// firehose sends encoded aggTrades. Each symbol's ids are consecutive, and the times are near the present.
type firehose struct {
	frames  []byte
	ids     []int // offsets in frames of the ids, which have 10 digits
	symbols []string
	rounds  int // trades of each symbol in frames
}

func firehoseSymbol(i int) string { return fmt.Sprintf("TOK%04dUSDT", i) }

func newFirehose(symbols int) *firehose {
	f := &firehose{rounds: max(1, 10_000/symbols)}
	at := time.Now().UnixMicro()
	for round := range f.rounds {
		for i := range symbols {
			if round == 0 {
				f.symbols = append(f.symbols, firehoseSymbol(i))
			}
			at += 37
			head := fmt.Sprintf(`{"stream":"%s@aggTrade","data":{"e":"aggTrade","E":%d,"s":"%s","a":`, strings.ToLower(firehoseSymbol(i)), at+600, firehoseSymbol(i))
			tail := fmt.Sprintf(`,"p":"%d.%02d000000","q":"0.%05d000","f":%d,"l":%d,"T":%d,"m":%v,"M":true}}`, 100+i, at%100, at%99991+1, at, at+int64(i%3), at, at%3 == 0)
			n := len(head) + 10 + len(tail)
			f.frames = append(f.frames, 0x81, 126, byte(n>>8), byte(n))
			f.frames = append(f.frames, head...)
			f.ids = append(f.ids, len(f.frames))
			f.frames = append(f.frames, "0000000000"...)
			f.frames = append(f.frames, tail...)
		}
	}
	return f
}

// run serves one connection after another until it is killed.
func (f *firehose) run(trades int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(ln.Addr())
	_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		conn := ws.NetConn()
		var writing sync.Mutex
		go f.answer(ws, conn, &writing)
		f.send(conn, &writing, trades)
	}))
}

// answer confirms every request.
func (f *firehose) answer(ws *websocket.Conn, conn net.Conn, writing *sync.Mutex) {
	for {
		var request struct{ ID int64 }
		if err := ws.ReadJSON(&request); err != nil {
			return
		}
		list, _ := json.Marshal(f.symbols)
		list = bytes.ReplaceAll(list, []byte(`USDT"`), []byte(`USDT@aggTrade"`))
		answer := fmt.Appendf(nil, `{"result":%s,"id":%d}`, list, request.ID)
		writing.Lock()
		_, _ = conn.Write([]byte{0x81, 126, byte(len(answer) >> 8), byte(len(answer))})
		_, _ = conn.Write(answer)
		writing.Unlock()
	}
}

// send writes rounds of all symbols until n trades were sent, and then closes the connection normally.
func (f *firehose) send(conn net.Conn, writing *sync.Mutex, n int) {
	id := int64(3_000_000_000)
	var digits []byte
	for sent := 0; sent < n; sent += len(f.ids) {
		for i, offset := range f.ids {
			digits = strconv.AppendInt(digits[:0], id+int64(i/len(f.symbols)), 10)
			copy(f.frames[offset:offset+10], digits)
		}
		id += int64(f.rounds)
		writing.Lock()
		_, err := conn.Write(f.frames)
		writing.Unlock()
		if err != nil {
			return
		}
	}
	_, _ = conn.Write([]byte{0x88, 2, 1000 >> 8, 1000 & 0xff})
	time.Sleep(time.Second) // until the recorder has closed its side
}

// startFirehose starts the sender and returns its URL.
func startFirehose(b *testing.B, symbols, trades int) string {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	sender := exec.CommandContext(b.Context(), self)
	sender.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", firehoseEnv, symbols, trades))
	sender.Stderr = os.Stderr
	out, err := sender.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := sender.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = sender.Process.Kill()
		_ = sender.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "ws://" + strings.TrimSpace(address)
}

// BenchmarkReadLoop compares recording (read frames, decode them, check each id, publish Parquet) with
// reading and dropping the same frames, which is what the websocket library itself costs, and with
// go-binance's stream loop, which decodes them for a handler that does nothing. Each uses one
// processor, as the program does while it records, and the sender uses another. They take turns in
// short pieces, because the machine's speed changes within seconds. The figure is the processor time
// per trade. Reading alone is also measured with the recorder's larger buffer, which the library does
// not have by itself.
func BenchmarkReadLoop(b *testing.B) {
	const symbols, pieces, trades = 200, 3, 1_000_000
	benchtest.Turns(b, func(b *testing.B) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		var bare, larger, recorded, goBinance time.Duration
		var allocations uint64
		var all Summary
		for range pieces {
			bare += readBare(b, symbols, trades, nil)
			larger += readBare(b, symbols, trades, inPieces)
			summary, took, allocated := record(b, symbols, trades)
			recorded += took
			allocations += allocated
			all.Rows, all.Bytes, all.Flushes = all.Rows+summary.Rows, all.Bytes+summary.Bytes, all.Flushes+summary.Flushes
			goBinance += readWithGoBinance(b, symbols, trades/20) * 20
		}
		const n = pieces * trades
		b.ReportMetric(float64(bare)/n, "bare-ns/trade")
		b.ReportMetric(float64(recorded)/n, "stream-ns/trade")
		b.ReportMetric(n/recorded.Seconds()/1e6, "Mtrades/s")
		b.ReportMetric(float64(goBinance)/n, "go-binance-ns/trade")
		b.ReportMetric(float64(bare)/float64(recorded), "of-bare")
		b.ReportMetric(float64(larger)/float64(recorded), "of-bare-in-pieces")
		b.ReportMetric(float64(goBinance)/float64(recorded), "of-go-binance")
		b.ReportMetric(float64(allocations)/n, "allocs/trade")
		b.ReportMetric(float64(allocations)/float64(all.Flushes), "allocs/flush")
		b.ReportMetric(float64(all.Bytes)/float64(all.Rows), "B/trade")
	})
}

// inPieces dials a connection that reads from the network in pieces as large as the recorder's.
func inPieces(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return bufferedConn{conn, bufio.NewReaderSize(conn, 64<<10)}, nil
}

type bufferedConn struct {
	net.Conn
	in *bufio.Reader
}

func (c bufferedConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// readBare reads frames and drops them.
func readBare(
	b *testing.B, symbols, trades int, dial func(ctx context.Context, network, address string) (net.Conn, error),
) time.Duration {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	conn, _, err := coder.Dial(b.Context(), startFirehose(b, symbols, trades), &coder.DialOptions{HTTPClient: client})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.CloseNow()
	ctx := context.WithoutCancel(b.Context())
	buffer := make([]byte, 4096)
	n := 0
	took := processorTimeOf(func() {
		for {
			_, r, err := conn.Reader(ctx)
			if err != nil {
				return
			}
			for {
				if _, err := r.Read(buffer); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
			n++
		}
	})
	if n < trades {
		b.Fatalf("%d of %d trades", n, trades)
	}
	return took
}

// readWithGoBinance decodes frames for a handler that does nothing.
func readWithGoBinance(b *testing.B, symbols, trades int) time.Duration {
	b.Helper()
	names := make([]string, symbols)
	for i := range names {
		names[i] = firehoseSymbol(i)
	}
	gobinance.BaseCombinedMainURL = startFirehose(b, symbols, trades) + "/stream?streams="
	n := 0
	took := processorTimeOf(func() {
		done, _, err := gobinance.WsCombinedAggTradeServe(names, func(*gobinance.WsAggTradeEvent) { n++ }, func(error) {})
		if err != nil {
			b.Fatal(err)
		}
		<-done
	})
	if n < trades {
		b.Fatalf("%d of %d trades", n, trades)
	}
	return took
}

func processorTimeOf(act func()) time.Duration {
	before := benchtest.ProcessorTime()
	act()
	return benchtest.ProcessorTime() - before
}

// record runs the recorder against a sender of its own. A missing trade fails the benchmark.
func record(b *testing.B, symbols, trades int) (summary Summary, took time.Duration, allocations uint64) {
	b.Helper()
	names := make([]string, symbols)
	for i := range names {
		names[i] = firehoseSymbol(i)
	}
	dir, err := tape.Create(b.TempDir(), tape.AggTrade, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	address := startFirehose(b, symbols, trades)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	took = processorTimeOf(func() {
		summary, err = runRecorder(b.Context(), dir, Options{
			URL: address, Symbols: fixedSymbols(names...), StreamsPerConnection: 1024, Once: true,
		})
	})
	runtime.ReadMemStats(&after)
	if err != nil {
		b.Fatal(err)
	}
	if summary.Rows != summary.Trades || summary.Duplicates+summary.Unknown+summary.Malformed > 0 ||
		summary.Rows < int64(trades) || summary.Gaps > 0 || summary.Connects != 1 {
		b.Fatalf("%+v", summary)
	}
	return summary, took, after.Mallocs - before.Mallocs
}
