package exchange

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/internal/standin/botapi"
)

// serveTelegram starts the stand-in for Telegram. It delivers nothing and prints each message to Out.
func (e *Exchange) serveTelegram(
	ctx context.Context, services *errgroup.Group, exchangeLn net.Listener,
) (api *botapi.Server, url string, err error) {
	host, _, err := net.SplitHostPort(exchangeLn.Addr().String())
	if err != nil {
		return nil, "", err
	}
	ln, err := listen(cmp.Or(e.opt.TelegramListen, net.JoinHostPort(host, "0")))
	if err != nil {
		return nil, "", fmt.Errorf("stand-in for Telegram: %w", err)
	}
	var printing sync.Mutex
	api = botapi.New(botapi.Options{Token: telegramToken, Now: time.Now, OnMessage: func(message botapi.Message) {
		if e.opt.Out == nil {
			return
		}
		printing.Lock()
		defer printing.Unlock()
		text := strings.ReplaceAll(message.Text, "\n", "\n    ")
		if message.FileName != "" {
			text = fmt.Sprintf("[%s, %d bytes] %s", message.FileName, len(message.File), text)
		}
		// The message was accepted, even if printing it fails.
		_, _ = fmt.Fprintf(e.opt.Out, "telegram: to %s: %s\n", message.Chat, text)
	}})
	services.Go(func() error { return api.Run(ctx, ln) })
	return api, "http://" + ln.Addr().String(), nil
}
