package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/jobs/notify"
	"tapedeck/jobs/schedule"
)

// telegramPlace says where Telegram is, for the commands that send.
type telegramPlace struct {
	TelegramURL restURL `key:"telegram_url" placeholder:"URL" default:"https://api.telegram.org" help:"Where Telegram's Bot API is. The bot's token comes from TAPEDECK_TELEGRAM_TOKEN or the file that TAPEDECK_TELEGRAM_TOKEN_FILE names, the chats from config.yaml."`
}

// sendTime bounds how long a command waits for Telegram; what is left then is sent by the next command or the scheduler.
const sendTime = 20 * time.Second

// mailbox is the outbox with what sends from it. Where no chat is configured it tells the log, and sends nothing.
type mailbox struct {
	*notify.Outbox
	sender notify.Sender // nil: there is no chat or no token
	app    *app
	chats  int
}

// mailbox opens the outbox on the volume.
func (a *app) mailbox(dir *tape.Dir, place telegramPlace) (*mailbox, error) {
	config, err := a.chats()
	if err != nil {
		return nil, err
	}
	box, err := notify.Open(dir, config, a.log)
	if err != nil {
		return nil, err
	}
	token, err := notify.ReadToken(func(name string) string { return a.env[name] })
	if err != nil {
		return nil, &statusError{exitMisuse, err}
	}
	out := &mailbox{Outbox: box, app: a, chats: len(config.Chats)}
	switch {
	case len(config.Chats) == 0:
		return out, nil
	case !token.Given():
		a.log.Warn("messages stay in the outbox: there are chats and no token; set TAPEDECK_TELEGRAM_TOKEN or TAPEDECK_TELEGRAM_TOKEN_FILE")
		return out, nil
	}
	if out.sender, err = notify.NewSender(string(place.TelegramURL), token, a.log); err != nil {
		return nil, &statusError{exitMisuse, err}
	}
	return out, nil
}

// chats are those of config.yaml.
func (a *app) chats() (notify.Config, error) {
	if a.config.telegram == nil {
		return notify.Config{}, nil
	}
	queries, _ := analytics.Load("")
	var detectors []string
	for _, query := range queries {
		if query.Kind == analytics.Detect {
			detectors = append(detectors, query.Name)
		}
	}
	if len(a.config.values["sql_dir"].text) > 0 {
		detectors = nil // a detector of one's own is told about like any other
	}
	config, err := notify.ParseConfig(a.config.path, a.config.telegram, detectors)
	if err != nil {
		return config, &statusError{exitMisuse, err}
	}
	return config, nil
}

// send sends what waits, for a bounded time. What cannot be sent stays in the outbox: no reason for a command to fail.
func (m *mailbox) send(ctx context.Context) {
	if m.sender == nil {
		return
	}
	summary, err := m.Outbox.Send(ctx, m.sender, notify.SendOptions{Now: m.app.clock, For: sendTime})
	switch {
	case err != nil:
		m.app.say("not sent, stays in the outbox: %v", err)
	case summary.Busy:
		m.app.say("another tapedeck is sending; it sends this, too")
	default:
		m.app.say("%s sent, %s in the outbox", counted(summary.Sent, "message"), grouped(int64(summary.Waiting)))
	}
}

// serve sends whatever any process writes down, until ctx is done.
func (m *mailbox) serve(ctx context.Context) error {
	if m.sender == nil {
		<-ctx.Done()
		return nil
	}
	return m.Outbox.Run(ctx, m.sender, notify.SendOptions{Now: m.app.clock})
}

// Notify implements schedule.Notifier: people are told that a job fails, and that it is well again.
func (m *mailbox) Notify(ctx context.Context, notice schedule.Notice) error {
	title, text := fmt.Sprintf("Job %s: %s", notice.Job, notice.Outcome), notice.Message
	if notice.Recovered {
		title = fmt.Sprintf("Job %s is well again", notice.Job)
	}
	// The error is the message already, and mostly all of the output.
	if output := strings.TrimSpace(strings.TrimPrefix(notice.Output, "tapedeck: "+notice.Message)); !notice.Recovered && output != "" && output != notice.Message {
		text += "\n\n" + output
	}
	_, err := m.EnqueueNotice(ctx, notify.Notice{Topic: "job/" + notice.Job, Over: notice.Recovered, Title: title, Text: text, At: notice.FinishedAt}, m.app.clock())
	return err
}
