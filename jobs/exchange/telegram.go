package exchange

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"tapedeck/internal/standin/botapi"
)

// standInToken is the one bot's of the stand-in Telegram, in the form that a bot's token has.
const standInToken = "1:STAND-IN-FOR-A-BOT"

// messenger is the stand-in Telegram, on a port of its own. It delivers to no one and prints what it would have.
type messenger struct {
	url    string
	api    *botapi.Server
	server *http.Server
	served chan error
}

// startMessenger serves it on any free port of host until close. Messages go to out as lines.
func startMessenger(host string, out io.Writer) (*messenger, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, fmt.Errorf("listen for Telegram: %w", err)
	}
	var writing sync.Mutex
	m := &messenger{url: "http://" + ln.Addr().String(), served: make(chan error, 1)}
	m.api = botapi.New(botapi.Options{Token: standInToken, Now: time.Now, OnMessage: func(message botapi.Message) {
		writing.Lock()
		defer writing.Unlock()
		text := strings.ReplaceAll(message.Text, "\n", "\n    ")
		if message.FileName != "" {
			text = fmt.Sprintf("[%s, %d bytes] %s", message.FileName, len(message.File), text)
		}
		// A message that cannot be printed was accepted all the same.
		_, _ = fmt.Fprintf(out, "telegram: to %s: %s\n", message.Chat, text)
	}})
	m.server = &http.Server{Handler: m.api, ReadHeaderTimeout: 10 * time.Second}
	go func() { m.served <- m.server.Serve(ln) }()
	return m, nil
}

func (m *messenger) close() error {
	err := m.server.Close()
	if served := <-m.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// exports are the lines that point tapedeck at it.
func (m *messenger) exports() string {
	return fmt.Sprintf("export TAPEDECK_TELEGRAM_URL=%s\nexport TAPEDECK_TELEGRAM_TOKEN=%s\n", m.url, standInToken)
}
