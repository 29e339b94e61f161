package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/state"
)

var now = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// files is a StateReader of state files by name. {{N}} stands for the time N seconds before now.
type files map[string]string

func (f files) Read(name string, v any) error {
	text, ok := f[name]
	if !ok {
		return fmt.Errorf("open %q: %w", name, fs.ErrNotExist)
	}
	for {
		before, rest, found := strings.Cut(text, "{{")
		if !found {
			break
		}
		seconds, after, _ := strings.Cut(rest, "}}")
		var n int
		if _, err := fmt.Sscan(seconds, &n); err != nil {
			return err
		}
		text = before + `"` + now.Add(-time.Duration(n)*time.Second).Format(time.RFC3339) + `"` + after
	}
	return json.Unmarshal([]byte(text), v)
}

// Held says that a lock is held, unless there is a file of that name.
func (f files) Held(name string) bool {
	_, free := f[name]
	return !free
}

// Uptime is unknown, unless there is a file of that name.
func (f files) Uptime() (u state.Uptime) {
	if f["uptime"] != "" {
		u.Boot = "boot"
		u.Since, _ = time.ParseDuration(f["uptime"])
	}
	return u
}

const (
	goodSchedule   = `{"beat_at":{{10}},"jobs":[{"name":"heal","next_at":{{-100}},"outcome":"ok"}]}`
	goodConnection = `{"link":"1.1","up":true,"last_received_at":{{1}},"usual_silence_ms":500}`
	goodSymbols    = `{"BTCUSDT":{"last_received_at":{{1}},"usual_silence_ms":900},"ETHUSDT":{"last_received_at":{{2}},"usual_silence_ms":900}}`
	head           = `"started_at":{{7200}},"updated_at":{{3}},"flush_interval_ms":15000`
)

func stream(rest string) string { return "{" + head + "," + rest + "}" }

func TestCheck(t *testing.T) {
	good := stream(`"connections":[` + goodConnection + `],"symbols":` + goodSymbols)
	var many []string
	for i := range 126 {
		many = append(many, fmt.Sprintf(`"DEAD%03dUSDT":{"last_received_at":{{4000}},"usual_silence_ms":20000}`, i))
	}
	for name, c := range map[string]struct {
		files    files
		services []Service
		healthy  bool
		why      string
	}{
		"no state":                    {files{}, nil, false, "nothing runs on this data directory: neither a stream nor a scheduler"},
		"no stream":                   {files{"schedule.json": goodSchedule}, []Service{Stream}, false, "no stream has ever run on this data directory"},
		"no scheduler":                {files{"stream.json": good}, Services(), false, "no scheduler has ever run on this data directory"},
		"both healthy":                {files{"stream.json": good, "schedule.json": goodSchedule}, nil, true, "stream: 2 symbols on 1 connection; scheduler: 1 job"},
		"an outage that is tolerated": {files{"stream.json": stream(`"connections":[{"link":"1.1","down_since":{{48}},"last_received_at":{{50}},"usual_silence_ms":500}],"symbols":` + goodSymbols)}, nil, true, "stream: 2 symbols on 1 connection, not connected for 48s"},
		"only the stream was started": {files{"stream.json": good}, nil, true, "stream: 2 symbols on 1 connection"},
		"stream killed":               {files{"stream.json": `{"started_at":{{900}},"updated_at":{{300}}}`, "schedule.json": goodSchedule}, nil, false, "the stream hangs or was killed: its last sign of life was 5m ago"},
		"stream failed":               {files{"stream.json": `{"started_at":{{900}},"updated_at":{{2}},"ended_at":{{2}},"error":"no space left on device"}`}, nil, false, "the stream ended 2s ago: no space left on device"},
		"stream stopped":              {files{"stream.json": `{"updated_at":{{200}},"ended_at":{{200}}}`, "schedule.json": goodSchedule}, nil, true, "scheduler: 1 job"},
		"stream stopped, named":       {files{"stream.json": `{"updated_at":{{200}},"ended_at":{{200}}}`}, []Service{Stream}, false, "the stream was stopped 3m ago"},
		"all stopped":                 {files{"stream.json": `{"updated_at":{{200}},"ended_at":{{200}}}`}, nil, false, "nothing runs on this data directory: neither a stream nor a scheduler"},
		"just started":                {files{"stream.json": `{"started_at":{{20}},"updated_at":{{1}},"connections":[{"link":"1.1","last_received_at":{{1}}}],"symbols":{"A":{},"B":{}}}`}, nil, true, "stream: started 20s ago"},
		"just started, no data yet":   {files{"stream.json": `{"started_at":{{20}},"updated_at":{{1}},"connections":[{"link":"1.1","up":true}],"symbols":{"A":{}}}`}, nil, false, "the stream started 20s ago and has not received a trade yet"},
		"just started, not ready":     {files{"stream.json": `{"started_at":{{1}},"updated_at":{{1}},"connections":[],"symbols":{}}`}, nil, false, "the stream started 1s ago and has not received a trade yet"},
		"no data, connected":          {files{"stream.json": stream(`"connections":[{"link":"1.1","up":true}],"symbols":{"A":{},"B":{}}`)}, nil, false, "the stream started 2h ago and has not received a trade yet"},
		"never any data":              {files{"stream.json": stream(`"connections":[{"link":"1.1"},{"link":"1.2","trouble":"connection refused"}],"symbols":{"A":{},"B":{}}`)}, nil, false, "the stream started 2h ago and has not received a trade yet: connection 1.2 is down: connection refused"},
		"frozen exchange":             {files{"stream.json": stream(`"connections":[{"link":"1.1","up":true,"last_received_at":{{90}},"usual_silence_ms":500}],"symbols":` + goodSymbols)}, nil, false, "connection 1.1 has delivered no trade for 1m"},
		"a short silence":             {files{"stream.json": stream(`"connections":[{"link":"1.1","up":true,"last_received_at":{{40}},"usual_silence_ms":500}],"symbols":` + goodSymbols)}, nil, true, "stream: 2 symbols on 1 connection"},
		"no connection":               {files{"stream.json": stream(`"connections":[],"symbols":` + goodSymbols)}, nil, false, "the stream has no connection"},
		"no symbol":                   {files{"stream.json": stream(`"connections":[` + goodConnection + `],"symbols":{}`)}, nil, false, "the stream records no symbol"},
		"one fresh of 127":            {files{"stream.json": stream(`"connections":[` + goodConnection + `],"symbols":{"BTCUSDT":{"last_received_at":{{1}},"usual_silence_ms":500},` + strings.Join(many, ",") + `}`)}, nil, false, "126 of 127 symbols have been silent for much longer than usual: DEAD000USDT, DEAD001USDT, DEAD002USDT, DEAD003USDT, DEAD004USDT and 121 more"},
		"a connection without data":   {files{"stream.json": stream(`"connections":[` + goodConnection + `,{"link":"1.2","trouble":"connection refused"}],"symbols":` + goodSymbols)}, nil, false, "connection 1.2 has been down for 2h: connection refused"},
		"half without a trade":        {files{"stream.json": `{"started_at":{{600}},"updated_at":{{3}},"connections":[` + goodConnection + `],"symbols":{"A":{},"B":{},"C":{"last_received_at":{{1}}}}}`}, nil, false, "2 of 3 symbols have not traded once in 10m"},
		"one of many without a trade": {files{"stream.json": stream(`"connections":[` + goodConnection + `],"symbols":{"Z":{},"A":{"last_received_at":{{1}}},"B":{"last_received_at":{{1}}},"C":{"last_received_at":{{1}}},"D":{"last_received_at":{{1}}},"E":{"last_received_at":{{1}}},"F":{"last_received_at":{{1}}},"G":{"last_received_at":{{1}}},"H":{"last_received_at":{{1}}},"I":{"last_received_at":{{1}}}}`)}, nil, true, "stream: 10 symbols on 1 connection"},
		"publishing is stuck":         {files{"stream.json": stream(`"unflushed_since":{{300}},"connections":[` + goodConnection + `],"symbols":` + goodSymbols)}, nil, false, "nothing is written to the tape: trades have waited for 5m"},
		"scheduler killed":            {files{"schedule.json": `{"beat_at":{{61}},"jobs":[{"name":"a"}]}`}, nil, false, "the scheduler hangs or was killed: its last sign of life was 1m ago"},
		"scheduler stopped, named":    {files{"schedule.json": `{"beat_at":{{400000}},"stopped_at":{{400000}}}`}, []Service{Schedule}, false, "the scheduler was stopped 4d ago"},
		"scheduler without jobs":      {files{"schedule.json": `{"beat_at":{{1}}}`}, nil, false, "the scheduler has no job"},
		"a job that did not start":    {files{"schedule.json": `{"beat_at":{{1}},"jobs":[{"name":"heal","next_at":{{200}}}]}`}, nil, false, "job heal was due 3m ago and did not start"},
		"a job that fails":            {files{"schedule.json": `{"beat_at":{{1}},"jobs":[{"name":"heal","next_at":{{-9}},"outcome":"timeout","failures":3}]}`}, nil, false, "job heal failed 3 times in a row (timeout)"},
		"a job that failed once":      {files{"schedule.json": `{"beat_at":{{1}},"jobs":[{"name":"heal","next_at":{{-9}},"outcome":"failed","failures":1}]}`}, nil, true, "scheduler: 1 job"},
		"one healthy, one not":        {files{"stream.json": good, "schedule.json": `{"beat_at":{{100}},"jobs":[{"name":"a"}]}`}, nil, false, "the scheduler hangs or was killed: its last sign of life was 1m ago"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Check(c.files, now, c.services)
			if err != nil {
				t.Fatal(err)
			}
			if got.Healthy != c.healthy || got.Why != c.why {
				t.Errorf("got  %v %s\nwant %v %s", got.Healthy, got.Why, c.healthy, c.why)
			}
			if strings.Contains(got.Why, "\n") {
				t.Error("more than one line")
			}
		})
	}
}

// TestStreamKilled requires a killed stream to be noticed at once by its lock, and without one, or if
// the process hangs, when its state is older than the flush interval and 5 s.
func TestStreamKilled(t *testing.T) {
	known := func(updated int, more string) string {
		return fmt.Sprintf(`{"started_at":{{900}},"updated_at":{{%d}},"flush_interval_ms":15000%s,"connections":[%s],"symbols":%s}`, updated, more, goodConnection, goodSymbols)
	}
	for why, files := range map[string]files{
		"the stream was killed: its last sign of life was 1s ago":           {"stream.json": known(1, `,"locked":true`), "stream.lock": "free"},
		"the stream hangs or was killed: its last sign of life was 21s ago": {"stream.json": known(21, "")},
		"the stream hangs or was killed: its last sign of life was 22s ago": {"stream.json": known(22, `,"locked":true`)},
		"stream: 2 symbols on 1 connection":                                 {"stream.json": known(19, "")},
		"the stream was stopped 3m ago":                                     {"stream.json": known(200, `,"locked":true,"ended_at":{{200}}`), "stream.lock": "free"},
		"the stream ended 3m ago: BTCUSDT: another market answers":          {"stream.json": known(200, `,"locked":true,"ended_at":{{200}},"error":"BTCUSDT: another market answers"`), "stream.lock": "free"},
	} {
		got, err := Check(files, now, []Service{Stream})
		if err != nil || got.Why != why {
			t.Errorf("%q, %v, want %q", got.Why, err, why)
		}
	}
}

// TestSignsOfLifeOfAClockThatWasSet requires signs of life to be judged by the uptime of the system
// where it is known, whatever the clock says, and never to be trusted if they are in the future. The
// clock of the test says 2026-01-15 12:00; negative times are in its future.
func TestSignsOfLifeOfAClockThatWasSet(t *testing.T) {
	const hour = 3600
	stream := func(started, updated int, uptime time.Duration, more string) string {
		return fmt.Sprintf(`{"boot":"boot","uptime_ns":%d,"started_at":{{%d}},"updated_at":{{%d}},"flush_interval_ms":15000%s,`+
			`"connections":[{"link":"1.1","up":true,"last_received_at":{{%d}},"usual_silence_ms":500}],`+
			`"symbols":{"BTCUSDT":{"last_received_at":{{%d}},"usual_silence_ms":900}}}`, uptime, started, updated, more, updated, updated)
	}
	const dated, clock = "2026-01-15 12:59:57", "2026-01-15 12:00:00"
	for name, c := range map[string]struct {
		uptime, stream, why string
	}{
		"frozen, clock set back an hour": {"5m", stream(hour-3300, -hour+3, 10*time.Second, ""),
			"the stream hangs or was killed: its last sign of life was 4m ago"},
		"alive, clock set back an hour since": {"12s", stream(-hour+1000, -hour+3, 10*time.Second, ""),
			"this machine's clock was set back: the last sign of life of the stream, 2s ago, is dated " + dated + ", and the clock says " + clock + " (UTC)"},
		"alive, clock set forward an hour since":             {"12s", stream(hour+1000, hour+3, 10*time.Second, ""), "stream: 1 symbol on 1 connection"},
		"alive, clock set forward a day since, just started": {"12s", stream(24*hour+20, 24*hour+3, 10*time.Second, ""), "stream: started 19s ago"},
		"frozen, clock set back to the beat": {"2h", stream(1000, 0, 10*time.Second, ""),
			"the stream hangs or was killed: its last sign of life was 1h ago"},
		"of another boot, in the future": {"", stream(-hour+1000, -hour+3, 10*time.Second, ""),
			"the last sign of life of the stream is from the future, so nothing proves that it is alive: it is dated " + dated + ", and this machine's clock says " + clock + " (UTC)"},
		"of another boot": {"", stream(1000, 3, time.Hour, ""), "stream: 1 symbol on 1 connection"},
		"stopped in the future": {"", stream(1000, 3, time.Hour, `,"ended_at":{{-3597}}`),
			"the stream was stopped at " + dated + ", in the future of this machine's clock, which says " + clock + " (UTC)"},
		"killed in the future": {"", stream(-hour+1000, -hour+3, time.Hour, `,"locked":true`),
			"the stream was killed: its last sign of life was at " + dated + ", in the future of this machine's clock, which says " + clock + " (UTC)"},
	} {
		files := files{"stream.json": c.stream, "uptime": c.uptime}
		if strings.HasPrefix(name, "killed") {
			files["stream.lock"] = "free"
		}
		got, err := Check(files, now, []Service{Stream})
		if err != nil || got.Why != c.why || got.Healthy != strings.HasPrefix(c.why, "stream") {
			t.Errorf("%s:\n%q, %v, want\n%q", name, got.Why, err, c.why)
		}
	}
	for why, files := range map[string]files{
		"the scheduler hangs or was killed: its last sign of life was 2m ago": {
			"schedule.json": `{"boot":"boot","uptime_ns":60000000000,"beat_at":{{-3600}},"jobs":[{"name":"a"}]}`, "uptime": "3m"},
		"the last sign of life of the scheduler is from the future, so nothing proves that it is alive: it is dated 2026-01-15 13:00:00, and this machine's clock says " + clock + " (UTC)": {
			"schedule.json": `{"beat_at":{{-3600}},"jobs":[{"name":"a"}]}`},
		"scheduler: 1 job": {"schedule.json": `{"boot":"boot","uptime_ns":60000000000,"beat_at":{{7200}},"jobs":[{"name":"a"}]}`, "uptime": "61s"},
	} {
		if got, err := Check(files, now, []Service{Schedule}); err != nil || got.Why != why {
			t.Errorf("%q, %v, want\n%q", got.Why, err, why)
		}
	}
}

// TestKnownAndClock covers what a stream says about up to when it is known, and a clock that is wrong.
func TestKnownAndClock(t *testing.T) {
	for _, c := range []struct {
		exchange, btc, eth int
		why, warning       string
	}{
		{4, 20, 25, "stream: 2 symbols on 1 connection, known until 21s ago at least (ETHUSDT)", ""},
		{4, 20, 300, "stream: 2 symbols on 1 connection, known until 4m ago at least (ETHUSDT)", "the stream does not prove that 1 symbol is recorded completely: ETHUSDT"},
		{62, 70, 70, "stream: 2 symbols on 1 connection, known until 8s ago at least (BTCUSDT)", ""},
		{64, 70, 70, "the exchange's clock is 1m behind this machine's, or its trades arrive that late: 2026-01-15 11:58:56 there when it was 2026-01-15 11:59:57 here (UTC)", ""},
		{-7200, -7190, -7190, "the exchange's clock is 2h ahead of this machine's, or its trades arrive that late: 2026-01-15 14:00:00 there when it was 2026-01-15 11:59:57 here (UTC)", ""},
	} {
		symbols := fmt.Sprintf(`{"BTCUSDT":{"last_received_at":{{1}},"watched_until":{{%d}}},"ETHUSDT":{"last_received_at":{{2}},"watched_until":{{%d}}}}`, c.btc, c.eth)
		got, err := Check(files{"stream.json": stream(fmt.Sprintf(`"exchange_at":{{%d}},"connections":[%s],"symbols":%s`, c.exchange, goodConnection, symbols))}, now, nil)
		if err != nil || got.Why != c.why || got.Warning != c.warning || got.Healthy != strings.HasPrefix(c.why, "stream") {
			t.Errorf("%+v\n%v; want %q and %q", got, err, c.why, c.warning)
		}
	}
}

// TestDelayAndLag: how far the tape is behind is said, and a stream whose trades arrive ever later is
// unhealthy, however well the clocks agree.
func TestDelayAndLag(t *testing.T) {
	const symbols = `{"BTCUSDT":{"last_received_at":{{1}},"last_traded_at":{{10}},"written_until":{{12}}},
		"ETHUSDT":{"last_received_at":{{2}},"last_traded_at":{{10}},"written_until":{{24}}},"NEWUSDT":{"last_received_at":{{1}},"last_traded_at":{{10}}}}`
	for _, c := range []struct {
		delay, least int
		why          string
	}{
		{29000, 0, "stream: 3 symbols on 1 connection, the newest row 14s behind the newest trade at most (ETHUSDT)"},
		{3629000, 3600000, "stream: 3 symbols on 1 connection, the newest row 14s behind the newest trade at most (ETHUSDT)"},
		{75000, -1000, "the stream falls behind: trades arrive 1m later than they did, because the connection or this machine is too slow for them"},
	} {
		got, err := Check(files{"stream.json": stream(fmt.Sprintf(`"delay_ms":%d,"least_delay_ms":%d,"connections":[%s],"symbols":%s`,
			c.delay, c.least, goodConnection, symbols))}, now, nil)
		if err != nil || got.Why != c.why || got.Healthy != strings.HasPrefix(c.why, "stream") {
			t.Errorf("%+v, %v; want %q", got, err, c.why)
		}
	}
}

func TestWarnings(t *testing.T) {
	got, err := Check(files{"schedule.json": `{"beat_at":{{1}},"crontab_error":"c.yaml:2: the entry has no run\nc.yaml:9: more","crontab_error_at":{{7300}},"jobs":[{"name":"a"}]}`}, now, nil)
	want := Verdict{Healthy: true, Why: "scheduler: 1 job", Warning: "the crontab was changed 2h ago and is wrong, so the previous version stays in force: c.yaml:2: the entry has no run"}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = Check(files{"schedule.json": `{"beat_at":{{1}},"unwritten_runs":3,"jobs":[{"name":"a"}]}`}, now, nil)
	if err != nil || got.Healthy || got.Why != "3 runs could not be written to the ledger" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMeasureRoom(t *testing.T) {
	dir := t.TempDir()
	write := func(date string, bytes int, age time.Duration) {
		path := filepath.Join(dir, "trades", "date="+date)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(path, fmt.Sprint(age, ".parquet"))
		if err := os.WriteFile(file, make([]byte, bytes), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	perDay := func() uint64 {
		room, err := MeasureRoom(dir, now)
		if err != nil || room.Free == 0 {
			t.Fatalf("%+v, %v", room, err)
		}
		return room.PerDay
	}
	write("2026-01-15", 1000, 30*time.Minute)
	if got := perDay(); got != 0 {
		t.Errorf("rate %d after half an hour, want none", got)
	}
	write("2026-01-15", 1000, 6*time.Hour)
	if got := perDay(); got != 8000 { // 2000 bytes in 6 hours
		t.Errorf("rate of today %d", got)
	}
	write("2026-01-14", 5000, 24*time.Hour)
	write("2026-01-13", 7000, 48*time.Hour)
	write("2026-01-01", 90000, 14*24*time.Hour)
	if got := perDay(); got != 6000 {
		t.Errorf("rate of the last days %d", got)
	}
	for _, c := range []struct {
		room Room
		want string
	}{
		{Room{Free: 1e9}, ""},
		{Room{Free: 70e9, PerDay: 10e9}, ""},
		{Room{Free: 35e9, ReadOnly: true}, "the file system is read-only, so nothing can be recorded"},
		{Room{PerDay: 10e9}, "the disk is full, so nothing can be recorded"},
		{Room{Free: 35e9, PerDay: 10e9}, "the disk is full in 3d at the present rate: 35 GB free, 10 GB a day"},
		{Room{Free: 35e9, PerDay: 10e9, Summaries: 2e9}, "the disk is full in 3d at the present rate: 35 GB free, 10 GB a day; " +
			".state/summaries takes 2.0 GB and can be deleted"},
		{Room{Free: 5e6, PerDay: 120e6}, "the disk is full in 1h at the present rate: 5.0 MB free, 120 MB a day"},
	} {
		if got := c.room.Warning(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.room, got, c.want)
		}
	}
	if _, err := MeasureRoom(filepath.Join(dir, "absent"), now); err == nil {
		t.Error("measured a directory that does not exist")
	}
}

func TestUnreadableStateIsAnError(t *testing.T) {
	_, err := Check(files{"stream.json": `{"started_at":`}, now, nil)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
