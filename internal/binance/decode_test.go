package binance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"tapedeck/internal/recorded"

	"github.com/google/go-cmp/cmp"
)

// TestDecodeReadsTheDocumentedPayloads in every form in which they arrive.
func TestDecodeReadsTheDocumentedPayloads(t *testing.T) {
	const us = 1_672_515_782_136_000
	trade := Message{
		Kind: KindTrade, Symbol: []byte("BNBBTC"), ID: 12345, FirstTradeID: 12345, LastTradeID: 12345,
		Price: []byte("0.001"), Qty: []byte("100"), Time: us, EventTime: us, BuyerMaker: true,
	}
	combined := trade
	combined.Stream = []byte("bnbbtc@trade")
	agg := Message{
		Kind: KindAggTrade, Symbol: []byte("BNBBTC"), ID: 12345, FirstTradeID: 100, LastTradeID: 105,
		Price: []byte("0.001"), Qty: []byte("100"), Time: us, EventTime: us, BuyerMaker: true,
	}
	seller := trade
	seller.BuyerMaker, seller.Time, seller.EventTime = false, us+7, us+9
	foreign := trade
	foreign.Symbol = []byte("币安人生USDT")
	voided := agg
	voided.Price, voided.Qty, voided.FirstTradeID, voided.LastTradeID, voided.Damaged = []byte("0"), []byte("0"), -1, -1, true
	zeroPrice := trade
	zeroPrice.Price, zeroPrice.Damaged = []byte("0.00000000"), true
	zeroQty := trade
	zeroQty.Qty, zeroQty.Damaged = []byte("0.000"), true
	negative := trade
	negative.ID, negative.FirstTradeID, negative.LastTradeID, negative.Damaged = -1, -1, -1, true

	cases := map[string]struct {
		input string
		want  Message
	}{
		"trade": {`{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`, trade},
		"combined": {`{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}}`,
			combined},
		"aggTrade":             {`{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,"m":true,"M":true}`, agg},
		"microseconds, seller": {`{"e":"trade","E":1672515782136009,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136007,"m":false,"M":true}`, seller},
		"reversed keys":        {`{"M":true,"m":true,"T":1672515782136,"q":"100","p":"0.001","t":12345,"s":"BNBBTC","E":1672515782136,"e":"trade"}`, trade},
		"white space":          {"{ \"e\": \"trade\",\n\"E\":1672515782136,\"s\":\"BNBBTC\",\"t\":12345,\"p\":\"0.001\",\"q\":\"100\",\"T\":1672515782136,\"m\":true,\"M\":true}", trade},
		"data before stream": {`{"data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true},"stream":"bnbbtc@trade"}`,
			combined},
		"new field":                {`{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true,"new":{"x":[1]}}`, trade},
		"new field, long name":     {`{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true,"venue":"x","x":-5,"y":null}`, trade},
		"order ids as before 2024": {`{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","b":88,"a":50,"T":1672515782136,"m":true,"M":true}`, trade},
		"without M":                {`{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true}`, trade},
		"non-ASCII symbol":         {`{"e":"trade","E":1672515782136,"s":"币安人生USDT","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`, foreign},
		"escaped symbol":           {`{"e":"trade","E":1672515782136,"s":"\u5e01\u5b89\u4eba\u751fUSDT","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`, foreign},
		"voided aggTrade":          {`{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0","q":"0","f":-1,"l":-1,"T":1672515782136,"m":true,"M":true}`, voided},
		"price zero":               {`{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00000000","q":"100","T":1672515782136,"m":true,"M":true}`, zeroPrice},
		"quantity zero":            {`{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"0.000","T":1672515782136,"m":true,"M":true}`, zeroQty},
		"negative id":              {`{"e":"trade","E":1672515782136,"s":"BNBBTC","t":-1,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`, negative},
		"shutdown":                 {`{"e":"serverShutdown","E":1770123456789}`, Message{Kind: KindServerShutdown, EventTime: 1_770_123_456_789_000}},
		"shutdown, combined": {`{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}`,
			Message{Kind: KindServerShutdown, Stream: []byte("!serverShutdown"), EventTime: 1_770_123_456_789_000}},
		"answer":          {`{"result":null,"id":1}`, Message{Kind: KindAnswer, HasRequestID: true, RequestID: 1, Result: []byte("null")}},
		"list":            {`{"result":["btcusdt@trade"],"id":3}`, Message{Kind: KindAnswer, HasRequestID: true, RequestID: 3, Result: []byte(`["btcusdt@trade"]`)}},
		"answer, text id": {`{"result":null,"id":"abc"}`, Message{Kind: KindAnswer, Result: []byte("null")}},
		"error":           {`{"code":2,"msg":"Invalid request: unknown variant"}`, Message{Kind: KindError, Code: 2, Text: []byte("Invalid request: unknown variant")}},
		"error, nested":   {`{"error":{"code":2,"msg":"no"},"id":4}`, Message{Kind: KindError, HasRequestID: true, RequestID: 4, Code: 2, Text: []byte("no")}},
		"depth":           {`{"stream":"btcusdt@depth","data":{"e":"depthUpdate","b":[["1","2"]]}}`, Message{Stream: []byte("btcusdt@depth")}},
		"block trade":     {`{"e":"blockTrade","s":"BNBBTC","t":1,"p":"1","q":"1","T":1672515782136,"m":true}`, Message{}},
		"book ticker":     {`{"u":400900217,"s":"BNBUSDT","b":"25.3","B":"31.2","a":"25.4","A":"40.6"}`, Message{}},
		"array of events": {`{"stream":"!ticker@arr","data":[{"e":"24hrTicker"}]}`, Message{Stream: []byte("!ticker@arr")}},
		"REST snapshot":   {`{"lastUpdateId":50093239218,"bids":[["1","2"]],"asks":[]}`, Message{}},
		"empty object":    {`{}`, Message{}},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			var got Message
			if err := Decode([]byte(test.input), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDecodeRefusesMalformedMessages(t *testing.T) {
	for name, input := range map[string]string{
		"empty":              ``,
		"text":               `hello`,
		"null":               `null`,
		"array":              `[]`,
		"truncated":          `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":123`,
		"truncated envelope": `{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`,
		"two messages":       `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}{}`,
		"no id":              `{"e":"trade","E":1672515782136,"s":"BNBBTC","p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`,
		"T but no t":         `{"e":"trade","E":1672515782136,"s":"BNBBTC","T":1672515782136,"p":"0.001","q":"100","m":true,"M":true}`,
		"t but no T":         `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":1672515782136,"p":"0.001","q":"100","m":true,"M":true}`,
		"M but no m":         `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"M":true}`,
		"aggTrade without f": `{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100","l":105,"T":1672515782136,"m":true}`,
		"id is a string":     `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":"12345","p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`,
		"price is a number":  `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":0.001,"q":"100","T":1672515782136,"m":true,"M":true}`,
		"id too long":        `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":99999999999999999999,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`,
		"id of 19 digits":    `{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":9223372036854775807,"p":"0.001","q":"100","f":7,"l":8,"T":1672515782136,"m":true}`,
		"many raw trades":    `{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":7,"p":"0.001","q":"100","f":0,"l":4611686018427387904,"T":1672515782136,"m":true}`,
		"id with fraction":   `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":1.5,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`,
		"leading zero":       `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":012,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`,
		"time in seconds":    `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782,"m":true,"M":true}`,
		"negative time":      `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":-1672515782136,"m":true,"M":true}`,
		"m is null":          `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":null,"M":true}`,
		"empty symbol":       `{"e":"trade","E":1672515782136,"s":"","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`,
		"empty price":        `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"","q":"100","T":1672515782136,"m":true,"M":true}`,
		"e is a number":      `{"e":5}`,
		"line break":         "{\"e\":\"trade\",\"E\":1672515782136,\"s\":\"BNB\nBTC\",\"t\":12345,\"p\":\"0.001\",\"q\":\"100\",\"T\":1672515782136,\"m\":true}",
	} {
		t.Run(name, func(t *testing.T) {
			var m Message
			if err := Decode([]byte(input), &m); !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v and %+v, want ErrMalformed", err, m)
			}
		})
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	for _, input := range [][]byte{
		benchTrade, benchAggTrade, append(bytes.Clone(benchTrade[:len(benchTrade)-2]), `,"venue":"x","x":5}}`...),
		[]byte(`{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":1}}`),
	} {
		var m Message
		if allocs := testing.AllocsPerRun(100, func() { _ = Decode(input, &m) }); allocs != 0 {
			t.Errorf("%s: %v allocations", input, allocs)
		}
	}
}

// TestDecodeReadsTheRecordedStreams requires the scanner to decode each trade of real streams, and
// with the same result as encoding/json.
func TestDecodeReadsTheRecordedStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("slow with the race detector; make test-all runs it")
	}
	want := map[string]int{
		"btcusdt_20240808.gz": 9757, "btcusdt_20240809.gz": 10147, "ethusdt_20240808.gz": 6106, "ethusdt_20240809.gz": 8409,
		"aggtrade_3symbols_20210404.txt.gz": 1227 + 506 + 177,
	}
	for name, trades := range want {
		t.Run(name, func(t *testing.T) {
			file, err := os.Open(recorded.Path(t, filepath.Join("stream", name)))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			unzipped, err := gzip.NewReader(file)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(unzipped)
			lines.Buffer(nil, 4<<20)
			found := 0
			for lines.Scan() {
				_, line, ok := bytes.Cut(lines.Bytes(), []byte(" "))
				if !ok || len(line) == 0 || line[0] != '{' {
					continue
				}
				var m, slow Message
				if err := Decode(line, &m); err != nil {
					t.Fatal(err)
				}
				if m.Kind == KindTrade || m.Kind == KindAggTrade {
					found++
					if !scan(line, &m) {
						t.Fatalf("the scanner refused %s", line)
					}
					if err := decodeSlowly(line, &slow); err != nil {
						t.Fatal(err)
					}
					if !reflect.DeepEqual(m, slow) {
						t.Fatalf("%s\n-slow +fast:\n%s", line, cmp.Diff(slow, m))
					}
				}
			}
			if err := lines.Err(); err != nil {
				t.Fatal(err)
			}
			if found != trades {
				t.Errorf("found %d trades, want %d", found, trades)
			}
		})
	}
}

// FuzzDecode compares the scanner with encoding/json: a trade that the scanner decodes must be
// equal.
func FuzzDecode(f *testing.F) {
	for _, seed := range [][]byte{
		benchTrade, benchAggTrade,
		[]byte(`{"e":"trade","E":1672515782136,"s":"币安人生USDT","t":-0,"p":"0","q":"1","T":1672515782136,"m":false}`),
		[]byte(`{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}`),
		[]byte(`{"result":["btcusdt@trade"],"id":3}`),
		[]byte(`{"error":{"code":2,"msg":"no"},"id":4}`),
		[]byte(`{"e":"trade","stream":"x","data":{},"venue":"x","x":-5,"y":null,"z":true,"":1}`),
		[]byte(`{"stream":"a","data":{"e":"trade","e":"aggTrade"}}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var fast, slow Message
		if err := Decode(data, &fast); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("error %v, want ErrMalformed", err)
		}
		fast = Message{}
		if !scan(data, &fast) || fast.Kind == KindOther {
			return
		}
		if err := decodeSlowly(data, &slow); err != nil {
			t.Fatalf("the scanner decoded %q, encoding/json failed: %v", data, err)
		}
		if diff := cmp.Diff(slow, fast); diff != "" {
			t.Fatalf("%q\n-slow +fast:\n%s", data, diff)
		}
	})
}

var (
	benchTrade = []byte(`{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343123,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342456,"m":true,"M":true}}`)

	benchAggTrade = []byte(`{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1723161255343123,"s":"BTCUSDT","a":3135683259,"p":"61837.63000000","q":"0.02000000","f":3735683259,"l":3735683261,"T":1723161255342456,"m":true,"M":true}}`)
)

// BenchmarkDecode decodes many different messages, because for a repeated one the processor's
// branch prediction learns the length of each number.
func BenchmarkDecode(b *testing.B) {
	for name, input := range map[string][]byte{"trade": benchTrade, "aggTrade": benchAggTrade} {
		inputs := varied(input)
		b.Run("scan/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(input)))
			b.ReportAllocs()
			var m Message
			for i := 0; b.Loop(); i++ {
				if err := Decode(inputs[i%len(inputs)], &m); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("encoding-json/"+name, func(b *testing.B) {
			b.ReportAllocs()
			var m Message
			for i := 0; b.Loop(); i++ {
				if err := decodeSlowly(inputs[i%len(inputs)], &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// varied returns thousands of variants of a message, with other symbols, prices and quantities.
func varied(message []byte) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	price, qty, symbol := regexp.MustCompile(`"p":"[^"]*"`), regexp.MustCompile(`"q":"[^"]*"`), regexp.MustCompile(`"s":"[^"]*"`)
	out := make([][]byte, 4096)
	for i := range out {
		scale := math.Pow(10, float64(random.IntN(9)-3))
		text := price.ReplaceAll(message, fmt.Appendf(nil, `"p":"%.8f"`, scale*(1+random.Float64())))
		text = qty.ReplaceAll(text, fmt.Appendf(nil, `"q":"%.8f"`, (1+random.Float64())/scale*10))
		out[i] = symbol.ReplaceAll(text, fmt.Appendf(nil, `"s":"%.*sUSDT"`, 2+random.IntN(5), "ABCDEFG"))
	}
	return out
}
