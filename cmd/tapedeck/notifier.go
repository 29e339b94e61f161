package main

import (
	"context"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/telegram"
	"tapedeck/internal/wording"
	"tapedeck/jobs/notify"
	"tapedeck/jobs/report"
	"tapedeck/jobs/schedule"
)

// telegramFlags are the flags of the commands that send messages.
type telegramFlags struct {
	TelegramURL httpURL `key:"telegram_url" placeholder:"URL" default:"https://api.telegram.org" help:"Address of Telegram's Bot API. The bot's token is read from TAPEDECK_TELEGRAM_TOKEN or from the file that TAPEDECK_TELEGRAM_TOKEN_FILE names; the chats are listed in config.yaml."`
}

// notifier enqueues messages and sends them. It implements report.Outbox and schedule.Notifier.
type notifier struct {
	outbox *notify.Outbox
	sender notify.Sender // nil if there are no chats or no token
	app    *app
}

// newNotifier opens the outbox of the data directory.
func (a *app) newNotifier(dir *tape.Dir, flags telegramFlags) (*notifier, error) {
	config, err := a.chatConfig()
	if err != nil {
		return nil, err
	}
	outbox, err := notify.Open(dir.State(), config, a.log)
	if err != nil {
		return nil, err
	}
	token, err := telegram.ReadToken(func(name string) string { return a.env[name] })
	if err != nil {
		return nil, &statusError{exitMisuse, err}
	}
	sender, err := outbox.NewSender(string(flags.TelegramURL), token)
	if err != nil {
		return nil, &statusError{exitMisuse, err}
	}
	return &notifier{outbox: outbox, sender: sender, app: a}, nil
}

// chatConfig parses the key telegram of config.yaml.
func (a *app) chatConfig() (notify.Config, error) {
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
		detectors = nil // chats may also name the user's own detectors
	}
	config, err := notify.ParseConfig(a.config.path, a.config.telegram, detectors)
	if err != nil {
		return config, &statusError{exitMisuse, err}
	}
	return config, nil
}

// Send sends what is in the outbox, for a limited time. A failure to send does not fail the
// command, because unsent messages stay in the outbox.
func (n *notifier) Send(ctx context.Context) {
	if n.sender == nil {
		return
	}
	summary, err := n.outbox.Send(ctx, n.sender, notify.SendOptions{Now: n.app.clock, For: notify.CommandSendTime})
	switch {
	case err != nil:
		n.app.say("not sent, stays in the outbox: %v", err)
	case summary.Busy:
		n.app.say("another tapedeck process is sending and will send this, too")
	default:
		n.app.say("%s sent, %s in the outbox", wording.Count(summary.Sent, "message"), wording.Comma(summary.Waiting))
	}
}

// Run sends what any process puts into the outbox, until ctx is done.
func (n *notifier) Run(ctx context.Context) error {
	return n.outbox.Run(ctx, n.sender, notify.SendOptions{Now: n.app.clock})
}

// Notify implements schedule.Notifier.
func (n *notifier) Notify(ctx context.Context, notice schedule.Notice) error {
	_, err := n.outbox.EnqueueNotice(ctx, notify.JobNotice(notify.JobResult{
		Job: notice.Job, Outcome: notice.Outcome, Message: notice.Message, Output: notice.Output,
		Recovered: notice.Recovered, FinishedAt: notice.FinishedAt,
	}), n.app.clock())
	return err
}

// Enqueue implements report.Outbox. A report without trades is enqueued as a message that says so.
func (n *notifier) Enqueue(ctx context.Context, r *report.Report) error {
	message := notify.Report{Key: r.Key(), Title: r.Title(), HTML: report.Message(r)}
	switch {
	case r.Empty:
		message.State, message.Reason = notify.Empty, r.Statements[0].Text
	case r.Partial():
		message.State, message.Reason = notify.Partial, r.Statements[0].Text
	}
	if !r.Empty {
		pictures, workbook, err := report.Attachments(r)
		if err != nil {
			return err
		}
		for _, picture := range pictures {
			message.Pictures = append(message.Pictures, notify.File(picture))
		}
		message.Documents = []notify.File{notify.File(workbook)}
	}
	_, err := n.outbox.EnqueueReport(ctx, message, n.app.now())
	return err
}
