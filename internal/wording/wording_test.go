package wording

import (
	"math"
	"strings"
	"testing"
)

func TestComma(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -999: "-999", -1234: "-1,234", -123456: "-123,456",
		math.MinInt64: "-9,223,372,036,854,775,808", math.MaxInt64: "9,223,372,036,854,775,807",
	} {
		if got := Comma(n); got != want {
			t.Errorf("Comma(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Count(1, "trade"), "1 trade"},
		{Count(0, "trade"), "0 trades"},
		{Count(1204, "trade"), "1,204 trades"},
		{Count(int64(2), "entry"), "2 entries"},
		{Count(uint(2), "query"), "2 queries"},
		{Count(2, "day"), "2 days"},
		{Count(2, "index"), "2 indices"},
		{Count(2, "person", "people"), "2 people"},
		{Count(1, "person", "people"), "1 person"},
		{Noun(1, "file"), "file"},
		{Noun(-1, "file"), "files"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestList(t *testing.T) {
	for _, c := range []struct{ names, want string }{
		{"", ""},
		{"A", "A"},
		{"A B C", "A, B, C"},
		{"A B C D", "A, B, C, D"},
		{"A B C D E", "A, B, C and 2 more"},
	} {
		if got := List(strings.Fields(c.names), 3); got != c.want {
			t.Errorf("List(%q, 3) = %q, want %q", c.names, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"flush_interval", "symbols", "feed"}
	symbols := []string{"BTCUSDT", "ETHUSDT", "币安人生USDT"}
	for _, c := range []struct {
		word       string
		candidates []string
		want       string
	}{
		{"flush_intervall", keys, "flush_interval"},
		{"Flush-Interval", keys, "flush_interval"},
		{"flushinterval", keys, "flush_interval"},
		{"symbol", keys, "symbols"},
		{"colour", keys, ""},
		{"", keys, ""},
		{"BTC-USDT", symbols, "BTCUSDT"},
		{"btc/usdt", symbols, "BTCUSDT"},
		{"ETHUDST", symbols, "ETHUSDT"},
		{"币安人USDT", symbols, "币安人生USDT"},
		{strings.Repeat("symbols", 1000), keys, ""},
		{"feed", nil, ""},
	} {
		if got := Nearest(c.word, c.candidates); got != c.want {
			t.Errorf("Nearest(%q) = %q, want %q", c.word, got, c.want)
		}
	}
}
