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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gobinance "github.com/adshao/go-binance/v2"
	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"

	"tapedeck/analytics/tape"
)

// The sender of the benchmarks is this test binary in a process of its own, so that what is measured is
// the recorder alone. It plays when it finds firehoseEnv: symbols, trades, trades a second (0: as fast as
// they are taken).
const firehoseEnv = "TAPEDECK_TEST_FIREHOSE"

func TestMain(m *testing.M) {
	if setting := os.Getenv(firehoseEnv); setting != "" {
		var symbols, trades, rate int
		if _, err := fmt.Sscan(setting, &symbols, &trades, &rate); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		newFirehose(symbols).run(trades, rate)
		return
	}
	os.Exit(m.Run())
}

// firehose sends pre-encoded aggTrades. Each symbol's ids are consecutive and the times are near the present.
type firehose struct {
	frames  []byte
	ids     []int // offsets of the ids' 10 digits
	ends    []int // offsets after each frame
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
			f.ends = append(f.ends, len(f.frames))
		}
	}
	return f
}

// run serves one connection after the other until it is killed.
func (f *firehose) run(trades, rate int) {
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
		f.send(conn, &writing, trades, rate)
	}))
}

// answer agrees to every request.
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

// send writes whole rounds of all symbols until there were n trades, and closes normally.
func (f *firehose) send(conn net.Conn, writing *sync.Mutex, n, rate int) {
	id := int64(3_000_000_000)
	var digits []byte
	began := time.Now()
	for sent := 0; sent < n; {
		for i, offset := range f.ids {
			digits = strconv.AppendInt(digits[:0], id+int64(i/len(f.symbols)), 10)
			copy(f.frames[offset:offset+10], digits)
		}
		id += int64(f.rounds)
		from := 0
		for i := 0; i < len(f.ends); {
			burst := len(f.ends)
			if rate > 0 {
				burst = max(1, rate/200) // every 5 ms
				time.Sleep(time.Until(began.Add(time.Duration(float64(sent) / float64(rate) * float64(time.Second)))))
			}
			i = min(i+burst, len(f.ends))
			writing.Lock()
			_, err := conn.Write(f.frames[from:f.ends[i-1]])
			writing.Unlock()
			if err != nil {
				return
			}
			sent += burst
			from = f.ends[i-1]
		}
	}
	_, _ = conn.Write([]byte{0x88, 2, 1000 >> 8, 1000 & 0xff})
	time.Sleep(time.Second) // the other side closes
}

// startFirehose starts the sender and returns its URL.
func startFirehose(b *testing.B, symbols, trades, rate int) string {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	sender := exec.CommandContext(b.Context(), self)
	sender.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d", firehoseEnv, symbols, trades, rate))
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

// BenchmarkReadLoop compares recording (frames read, decoded, each id checked, published as Parquet) with
// reading the same frames and dropping them, which is what the websocket library itself costs, and with
// go-binance's stream loop, which reads and decodes them for a handler that does nothing. The three take
// turns; what is compared is the processor time that a trade takes, which others that use the machine
// disturb less than the time it takes.
func BenchmarkReadLoop(b *testing.B) {
	const symbols, trades, rounds = 200, 2_000_000, 1
	var bare, recorded, rival time.Duration
	for range b.N * rounds {
		bare += readBare(b, symbols, trades)
		recorded += processorTimeOf(func() { record(b, symbols, trades, 0, DefaultFlushInterval) })
		rival += readWithGoBinance(b, symbols, trades/10) * 10
	}
	each := float64(b.N * rounds * trades)
	b.ReportMetric(float64(bare)/each, "bare-ns/trade")
	b.ReportMetric(float64(recorded)/each, "stream-ns/trade")
	b.ReportMetric(float64(rival)/each, "go-binance-ns/trade")
	b.ReportMetric(float64(bare)/float64(recorded), "of-bare")
	b.ReportMetric(float64(rival)/float64(recorded), "of-go-binance")
}

// readBare reads frames and drops them.
func readBare(b *testing.B, symbols, trades int) time.Duration {
	b.Helper()
	conn, _, err := coder.Dial(b.Context(), startFirehose(b, symbols, trades, 0), nil)
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
	gobinance.BaseCombinedMainURL = startFirehose(b, symbols, trades, 0) + "/stream?streams="
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
	before := processorTime()
	act()
	return processorTime() - before
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkSteady records 20,000 trades a second over 1,000 symbols for as many seconds as -benchtime says
// (-benchtime 180x), and 5,000 over 300, and reports the processor time and the memory that this takes.
func BenchmarkSteady(b *testing.B) {
	for _, load := range []struct{ symbols, rate int }{{1000, 20_000}, {300, 5_000}} {
		b.Run(fmt.Sprintf("symbols=%d/rate=%d", load.symbols, load.rate), func(b *testing.B) {
			before := processorTime()
			record(b, load.symbols, load.rate*b.N, load.rate, DefaultFlushInterval)
			b.ReportMetric(100*(processorTime()-before).Seconds()/b.Elapsed().Seconds(), "%core")
			var used syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
			b.ReportMetric(float64(used.Maxrss)/1024, "MB-peak-rss")
		})
	}
}

// record runs the stream against a sender of its own and fails where a trade is missing.
func record(b *testing.B, symbols, trades, rate int, interval time.Duration) Summary {
	b.Helper()
	names := make([]string, symbols)
	for i := range names {
		names[i] = firehoseSymbol(i)
	}
	dir, err := tape.Create(b.TempDir(), tape.AggTrade, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	address := startFirehose(b, symbols, trades, rate)
	summary, err := Run(b.Context(), dir, Options{
		URL: address, Symbols: List(names...), StreamsPerConnection: 1024, FlushInterval: interval, Once: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	if summary.Rows != summary.Trades || summary.Duplicates+summary.Unknown+summary.Malformed > 0 || summary.Rows < int64(trades) || summary.Gaps > 0 || summary.Connects != 1 {
		b.Fatalf("%+v", summary)
	}
	return summary
}
