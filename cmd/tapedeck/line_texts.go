package main

import (
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"tapedeck/internal/state"
	"tapedeck/internal/wording"
)

// lineText words an entry for people.
type lineText func(m *lineMemory, e entry, form lineForm) string

func newLineMemory() *lineMemory {
	return &lineMemory{
		texts: lineTexts(), downSince: map[string]time.Time{}, repeated: map[string]*repetition{}, output: map[string][]string{},
	}
}

// lineTexts returns the wording of the entries that people see most. What is not here is worded by
// entry.plainText.
func lineTexts() map[string]lineText {
	texts := streamTexts()
	maps.Copy(texts, jobTexts())
	return texts
}

// streamTexts words what the recorder does.
func streamTexts() map[string]lineText {
	return map[string]lineText{
		"stream started": func(_ *lineMemory, e entry, _ lineForm) string {
			return "recording " + e.count("symbols", "symbol") + " (feed " + e.text("feed") + ") from " + e.text("url") +
				", written at least every " + e.length("flush_interval_ms")
		},
		"stream connected": func(m *lineMemory, e entry, _ lineForm) string {
			text := m.connection(e) + "connected"
			if since, ok := m.downSince[e.text("connection")]; ok {
				text += " again after " + wording.Duration(e.at.Sub(since))
			}
			return text + ", " + e.count("streams", "stream")
		},
		"stream connection lost": func(m *lineMemory, e entry, _ lineForm) string {
			return m.subject(e) + " lost after " + wording.Duration(time.Duration(e.int("age_s"))*time.Second) + ": " + e.error()
		},
		"stream not connected": func(m *lineMemory, e entry, _ lineForm) string {
			return m.connection(e) + "not connected, trying again: " + e.error()
		},
		"stream connection replaced": func(m *lineMemory, e entry, _ lineForm) string {
			age := wording.Duration(time.Duration(e.int("age_s")) * time.Second)
			return m.subject(e) + " replaced after " + age + " (" + replaceReason(e.text("reason")) + ")"
		},
		"stream silent": func(m *lineMemory, e entry, _ lineForm) string {
			what := e.text("what")
			if what == "connection" || what == "pings" {
				return m.connection(e) + "nothing received for " + e.length("silent_ms") + "; opening another connection"
			}
			return what + ": no trade for " + e.length("silent_ms") + ", which is unusual; opening another connection"
		},
		"symbols not known yet": func(_ *lineMemory, e entry, _ lineForm) string {
			return "symbols not known yet, trying again in " + e.length("retry_in_ms") + ": " + e.error()
		},
		"symbols changed": func(_ *lineMemory, e entry, _ lineForm) string {
			text := "symbols changed"
			if added := e.text("added"); added != "" {
				text += "; new: " + added
			}
			if removed := e.text("removed"); removed != "" {
				text += "; gone: " + removed
			}
			return text + "; " + e.count("symbols", "symbol") + " now"
		},
		"gap in the stream": func(_ *lineMemory, e entry, _ lineForm) string {
			return e.text("symbol") + ": " + e.count("missing", "trade") + " not received, ids " + e.text("first_id") + " to " + e.text("last_id")
		},
		"ids missing before the start": func(_ *lineMemory, e entry, _ lineForm) string {
			return e.text("symbol") + ": " + e.count("missing", "id") + " missing before the start, " + e.text("first_id") + " to " + e.text("last_id")
		},
		"segment published": func(_ *lineMemory, e entry, _ lineForm) string {
			text := e.count("rows", "trade") + " written, " + humanize.Bytes(uint64(max(e.int("bytes"), 0)))
			if dropped := e.int("dropped"); dropped > 0 {
				text += "; " + wording.Comma(dropped) + " on the tape already"
			}
			return text
		},
		"stream ended": func(_ *lineMemory, e entry, _ lineForm) string {
			return "recording ended: " + e.count("trades", "trade") + " received, " + wording.Comma(e.int("rows")) + " new on the tape, " +
				e.count("gaps", "gap") + ", " + e.count("reconnects", "reconnect")
		},
	}
}

// jobTexts words what the scheduler, its jobs and other commands do.
func jobTexts() map[string]lineText {
	return map[string]lineText{
		"scheduler started": func(_ *lineMemory, e entry, _ lineForm) string { return e.count("jobs", "job") + " scheduled" },
		"crontab reloaded": func(_ *lineMemory, e entry, _ lineForm) string {
			return "schedule read again: " + e.count("jobs", "job")
		},
		"run started": func(_ *lineMemory, e entry, _ lineForm) string {
			return "started: " + e.text("command")
		},
		"run finished": runFinished,
		"run will be retried": func(_ *lineMemory, e entry, _ lineForm) string {
			return "attempt " + e.text("attempt") + " in " + e.length("wait_ms")
		},
		"run skipped": func(_ *lineMemory, e entry, form lineForm) string {
			return "run of " + e.clock("scheduled_at", form.zone) + " skipped: " + e.text("reason")
		},
		"missed runs given up": func(_ *lineMemory, e entry, form lineForm) string {
			return "missed runs until " + e.clock("until", form.zone) + " given up: " + e.text("reason")
		},
		"one run makes up for several missed ones": func(_ *lineMemory, e entry, form lineForm) string {
			return "one run makes up for those missed since " + e.clock("since", form.zone)
		},
		"runs missed while no scheduler ran": func(_ *lineMemory, e entry, form lineForm) string {
			return "runs missed since " + e.clock("since", form.zone) + ", while no scheduler ran (catch_up: " + e.text("catch_up") + ")"
		},
		"request failed, trying again": func(_ *lineMemory, e entry, _ lineForm) string {
			return "a request to the exchange failed, trying again: " + e.error()
		},
		"ids are missing from the exchange's answers, not proven absent": func(_ *lineMemory, e entry, _ lineForm) string {
			return e.text("symbol") + ": " + e.count("ids", "trade") + " not in the exchange's answers (ids " + e.text("first_id") +
				" to " + e.text("last_id") + "), and not proven absent"
		},
		"metrics served": func(_ *lineMemory, e entry, _ lineForm) string {
			return "metrics at http://" + e.text("address") + "/metrics"
		},
		"exchange listening": func(_ *lineMemory, e entry, _ lineForm) string { return "listening at " + e.text("url") },
		"market.duckdb created": func(_ *lineMemory, e entry, _ lineForm) string {
			return "created " + e.text("path") + ", for DuckDB and other tools"
		},
	}
}

// runFinished words the end of a run of a job.
func runFinished(_ *lineMemory, e entry, _ lineForm) string {
	outcome, text := e.text("outcome"), shortError(e.text("message"))
	switch {
	case outcome == string(state.OK):
		if text == "" {
			text = "done"
		}
	case outcome == string(state.Failed) && e.int("exit") > 0:
		text = strings.TrimSuffix("exit status "+e.text("exit")+": "+text, ": ")
	default:
		text = strings.TrimSuffix(outcome+": "+text, ": ")
	}
	if took := e.length("elapsed_ms"); took != "0 s" {
		text += " (" + took + ")"
	}
	return text
}

// replaceReason says why the recorder replaced a connection.
func replaceReason(reason string) string {
	switch reason {
	case "age":
		return "before the exchange ends it"
	case "server_shutdown":
		return "the exchange announced its end"
	case "silence":
		return "it was silent"
	case "request_failed":
		return "it did not answer"
	}
	return reason
}

// subject returns the name of the connection that an entry is about, for the start of a sentence.
func (m *lineMemory) subject(e entry) string {
	if m.connections < 2 {
		return "connection"
	}
	return "connection " + e.text("connection")
}

// connection returns the name of the connection, for the start of a line, or "" if there is only
// one.
func (m *lineMemory) connection(e entry) string {
	if m.connections < 2 {
		return ""
	}
	return m.subject(e) + ": "
}

// lines words an entry, which may need several lines or none. everything means that nothing is left
// out.
func (m *lineMemory) lines(e entry, everything bool, form lineForm) []line {
	job := e.text("job")
	if e.message == "run output" {
		return m.outputLines(e, job, everything, form)
	}
	if e.message == "stream started" {
		m.connections = int(e.int("connections"))
	}
	var out []line
	if e.message == "run finished" {
		out = m.unreported(e, job)
	}
	if everything || !m.superseded(e, form) {
		text := e.plainText(form.zone)
		if words := m.texts[e.message]; words != nil {
			text = words(m, e, form)
		}
		if shown, suffix := m.isNews(e, job); everything || shown {
			out = append(out, line{e.level, job, text + suffix})
		}
	}
	switch connection := e.text("connection"); e.message {
	case "stream connected":
		delete(m.downSince, connection)
	case "stream connection lost", "stream not connected":
		if _, down := m.downSince[connection]; !down {
			m.downSince[connection] = e.at
		}
	}
	return out
}

// superseded reports whether the status line or a later line says the same as an entry.
func (m *lineMemory) superseded(e entry, form lineForm) bool {
	switch e.message {
	case "run started": // "run finished" follows
		return true
	case "segment published":
		return form.status
	case "stream ended":
		return form.summary
	}
	return false
}

// repeatEvery is how often a warning about the same continuing trouble is shown.
const repeatEvery = time.Minute

// isNews reports whether an entry is shown. Attempts that fail for the same reason as the one before are
// shown once a minute, with the number of those that were not shown.
func (m *lineMemory) isNews(e entry, job string) (shown bool, suffix string) {
	if e.int("attempt") == 0 || e.level < slog.LevelWarn || e.text("error") == "" {
		return true, ""
	}
	key := strings.Join([]string{job, e.text("connection"), e.message, e.error()}, "\x00")
	last := m.repeated[key]
	if last != nil && e.at.Sub(last.shownAt) < repeatEvery && e.at.After(last.shownAt) {
		last.hidden++
		return false, ""
	}
	if len(m.repeated) > 1000 {
		clear(m.repeated) // texts that differ each time must not fill memory
	}
	m.repeated[key] = &repetition{shownAt: e.at}
	if last != nil && last.hidden > 0 && e.at.Sub(last.shownAt) < 2*repeatEvery {
		suffix = " (" + wording.Count(last.hidden, "more attempt") + " in between)"
	}
	return true, suffix
}

// keptOutput is how many lines of a run's output are kept until it has finished.
const keptOutput = 5

// outputLines words a line of a run's output. A warning or an error that the run logged is shown as
// if it had been logged here. Other lines are kept: they are shown if the run says nothing when it
// finishes.
func (m *lineMemory) outputLines(e entry, job string, everything bool, form lineForm) []line {
	if record := e.text("record"); record != "" {
		if logged, ok := parseEntry(record); ok {
			if logged.level < slog.LevelWarn && !everything {
				return nil
			}
			logged.at = e.at
			logged.values = append(logged.values, slog.String("job", job))
			return m.lines(logged, everything, form)
		}
		return []line{{e.level, job, record}}
	}
	if everything {
		return []line{{e.level, job, e.text("line")}}
	}
	run := e.text("run_id")
	if kept := m.output[run]; len(kept) <= keptOutput {
		m.output[run] = append(kept, e.text("line"))
	}
	return nil
}

// unreported returns the first lines of the output of a run that has finished without a message.
func (m *lineMemory) unreported(e entry, job string) []line {
	run := e.text("run_id")
	kept := m.output[run]
	delete(m.output, run)
	if e.text("message") != "" {
		return nil
	}
	var out []line
	for i, text := range kept {
		if i == keptOutput {
			text = "… (tapedeck runs shows the end of it)"
		}
		out = append(out, line{slog.LevelInfo, job, text})
	}
	return out
}
