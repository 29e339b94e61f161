package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

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
	gaveUp int // messages that Send gave up
}

// newNotifier opens the outbox of the data directory. It warns about filters in config.yaml that
// select nothing.
func (a *app) newNotifier(ctx context.Context, dir *tape.Dir, flags telegramFlags, queriesDir string) (*notifier, error) {
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
	if err := a.warnAboutFilters(ctx, dir, config, queriesDir); err != nil {
		return nil, err
	}
	return &notifier{outbox: outbox, sender: sender, app: a}, nil
}

// serviceNotifier is newNotifier for a service, which runs without a token, too: messages wait in the
// outbox. It warns about that.
func (a *app) serviceNotifier(ctx context.Context, dir *tape.Dir, flags telegramFlags) (*notifier, error) {
	queriesDir := cmp.Or(a.env[envName("sql_dir")], a.config.values["sql_dir"].text)
	n, err := a.newNotifier(ctx, dir, flags, queriesDir)
	if err == nil && n.outbox.HasChats() && n.sender == nil {
		a.log.Warn("messages stay in the outbox: there are chats but no token; set " + tokenVariables)
	}
	return n, err
}

const tokenVariables = "TAPEDECK_TELEGRAM_TOKEN or TAPEDECK_TELEGRAM_TOKEN_FILE"

// checkToken returns an error if there are chats for messages of the kind but no token.
func (n *notifier) checkToken(kind notify.Kind) error {
	if n.outbox.Accepts(kind) && n.sender == nil {
		return withHint(misuse("nothing can be sent to the chats in %s: there is no token of a Telegram bot", n.app.config.path),
			"set "+tokenVariables)
	}
	return nil
}

// checkReports returns an error if a report cannot be sent to any chat.
func (n *notifier) checkReports() error {
	switch {
	case !n.outbox.HasChats() && n.app.config.path == "":
		return withHint(misuse("--send: there is nobody to send the report to: there is no config.yaml, which lists the chats"),
			"create one, for example with: telegram: {chats: [{id: -1001234567890}]}")
	case !n.outbox.HasChats():
		return withHint(misuse("--send: there is nobody to send the report to: no chats in %s", n.app.config.path),
			"list chats in it under telegram, for example: telegram: {chats: [{id: -1001234567890}]}")
	case !n.outbox.Accepts(notify.ReportKind):
		return withHint(misuse("--send: there is nobody to send the report to: no chat in %s receives reports", n.app.config.path),
			"add reports to send: of a chat")
	}
	return n.checkToken(notify.ReportKind)
}

// chatConfig parses the key telegram of config.yaml.
func (a *app) chatConfig() (notify.Config, error) {
	if a.config.telegram == nil {
		return notify.Config{}, nil
	}
	config, err := notify.ParseConfig(a.config.path, a.config.telegram)
	if err != nil {
		return config, &statusError{exitMisuse, err}
	}
	return config, nil
}

// warnAboutFilters names the filters of chats that select nothing. A job of the scheduler says
// nothing about them, because the scheduler did when it started.
func (a *app) warnAboutFilters(ctx context.Context, dir *tape.Dir, config notify.Config, queriesDir string) error {
	if len(config.Chats) == 0 || a.env[schedule.RunIDVariable] != "" {
		return nil
	}
	queries, problems := analytics.Load(queriesDir, analytics.Detect)
	var detectors, symbols []string
	for _, query := range queries {
		detectors = append(detectors, query.Name)
	}
	for _, problem := range problems { // a broken detector exists, and other commands name its error
		var syntax *analytics.SyntaxError
		if errors.As(problem, &syntax) {
			detectors = append(detectors, strings.TrimSuffix(filepath.Base(syntax.Path), ".sql"))
		}
	}
	if config.FiltersSymbols() {
		index := dir.Index()
		if err := index.Refresh(ctx); err != nil {
			return fmt.Errorf("read the tape's index: %w", err)
		}
		symbols = index.Symbols()
	}
	for _, line := range config.UnmatchedFilters(detectors, symbols) {
		a.say("warning: %s, %s", a.config.path, line)
	}
	return nil
}

// Send sends what is in the outbox, for a limited time. A failure to send does not fail the
// command, because unsent messages stay in the outbox.
func (n *notifier) Send(ctx context.Context) {
	if n.sender == nil {
		return
	}
	summary, err := n.outbox.Send(ctx, n.sender, notify.SendOptions{Now: n.app.stopwatch, For: notify.CommandSendTime})
	switch {
	case err != nil:
		n.app.say("not sent, stays in the outbox: %v", err)
	case summary.Busy:
		n.app.say("another tapedeck process is sending and will send this, too")
	default:
		n.app.say("%s sent, %s in the outbox", wording.Count(summary.Sent, "message"), wording.Comma(summary.Waiting))
	}
	n.gaveUp += summary.GaveUp
}

// refused returns an error if messages were given up, because Telegram accepts them never, or nil.
func (n *notifier) refused() error {
	if n.gaveUp == 0 {
		return nil
	}
	return withHint(partial("Telegram refuses %s, which will not be sent again", wording.Count(n.gaveUp, "message")),
		"the log line \"message given up\" says why")
}

// Run sends what any process puts into the outbox, until ctx is done.
func (n *notifier) Run(ctx context.Context) error {
	return n.outbox.Run(ctx, n.sender, notify.SendOptions{Now: n.app.stopwatch})
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
	case r.Empty && r.Complete:
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
