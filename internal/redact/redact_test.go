package redact

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestTextHasNoSecrets(t *testing.T) {
	for text, want := range map[string]string{
		"wss://alice:topsecret@stream.example:9443/ws":                                          "wss://***@stream.example:9443/ws",
		`get "https://topsecret@host/x?y=1": refused`:                                           `get "https://***@host/x?y=1": refused`,
		"https://alice:top%40secret:more@host?symbol=BTCUSDT":                                   "https://***@host?symbol=BTCUSDT",
		"https://a:topsecret@one and https://b:topsecret@two":                                   "https://***@one and https://***@two",
		"https://host/x?api_key=topsecret&symbol=BTCUSDT":                                       "https://host/x?api_key=***&symbol=BTCUSDT",
		"https://host/x?symbol=A&X-Amz-Signature=topsecret#part":                                "https://host/x?symbol=A&X-Amz-Signature=***#part",
		"https://host/?Access_Token=topsecret, and more":                                        "https://host/?Access_Token=*** and more",
		"htps//alice:topsecret@host":                                                            "htps//***@host",
		"https://api.telegram.org/bot123456789:AAtopsecret_abcdefghijklmnopqrstuvw/sendMessage": "https://api.telegram.org/bot***/sendMessage",
		"the token 123456789:AAtopsecret_abcdefghijklmnopqrstuvw is wrong":                      "the token *** is wrong",
		// What is no secret stays.
		"wss://stream.example/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade&timeUnit=MICROSECOND": "",
		"subscribe to btcusdt@aggTrade at 12:30:00":                                                  "",
		"crontab.yaml:12: key=value":                                                                 "",
		"2026-01-15T12:00:00Z BTCUSDT: 5 trades":                                                     "",
		"":                                                                                           "",
	} {
		if want == "" {
			want = text
		}
		if got := Text(text); got != want {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
		if Text(Text(text)) != Text(text) {
			t.Errorf("%s: changed by a second call", text)
		}
	}
}

func TestHandlerLogsNoSecrets(t *testing.T) {
	const address = "https://alice:topsecret@host/"
	var out bytes.Buffer
	log := slog.New(Handler(slog.NewJSONHandler(&out, nil))).With("url", address).WithGroup("g")
	log.Info("started", "error", fmt.Errorf("get %q: %w", address, errors.New("refused")), "urls", []string{address},
		slog.Group("more", "url", address), "n", 7)
	if text := out.String(); strings.Contains(text, "topsecret") || strings.Count(text, "***@host") != 4 || !strings.Contains(text, `"n":7`) {
		t.Error(text)
	}
}
