package notify

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tapedeck/internal/standin/botapi"
	"tapedeck/internal/tape"
	"tapedeck/internal/telegram"
)

const testToken = "123456789:AAtesttesttesttest_test-test"

// fastClock runs scale times as fast as real time. Processes with the same base agree on the time.
type fastClock struct {
	base  time.Time
	scale int
}

func (c fastClock) now() time.Time {
	return c.base.Add(time.Since(c.base) * time.Duration(c.scale)).UTC()
}

func (c fastClock) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d / time.Duration(c.scale))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

var soakChats = []Chat{{ID: "11"}, {ID: "12"}, {ID: "-1001"}, {ID: "-1002"}, {ID: "@channel"}}

// The environment variables that turn the test binary into the sender.
const (
	childDir    = "NOTIFY_TEST_DIR"
	childServer = "NOTIFY_TEST_SERVER"
	childClock  = "NOTIFY_TEST_CLOCK"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		if err := sendForever(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// sendForever sends until the process is killed or stopped.
func sendForever() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir, err := tape.Open(os.Getenv(childDir))
	if err != nil {
		return err
	}
	base, scale, _ := strings.Cut(os.Getenv(childClock), " ")
	nanos, err := strconv.ParseInt(base, 10, 64)
	if err != nil {
		return err
	}
	clock := fastClock{base: time.Unix(0, nanos)}
	if clock.scale, err = strconv.Atoi(scale); err != nil {
		return err
	}
	outbox, err := Open(dir.State(), Config{Chats: soakChats}, nil)
	if err != nil {
		return err
	}
	token, err := telegram.ReadToken(os.Getenv)
	if err != nil {
		return err
	}
	client, err := telegram.NewClient(os.Getenv(childServer), token, telegram.Options{Timeout: 500 * time.Millisecond})
	if err != nil {
		return err
	}
	fmt.Println("sending")
	return outbox.Run(ctx, client, SendOptions{Now: clock.now, Sleep: clock.sleep})
}

// TestSendingSurvivesKills enqueues messages while another process sends them to a stand-in with
// all faults. The sender is killed repeatedly. TAPEDECK_TELEGRAM_SOAK=full sends 500 messages to 5
// chats with 20 kills.
func TestSendingSurvivesKills(t *testing.T) {
	perChat, kills := 20, 5
	if os.Getenv("TAPEDECK_TELEGRAM_SOAK") == "full" {
		perChat, kills = 100, 20
	} else if testing.Short() {
		t.Skip("takes some seconds")
	}
	clock := fastClock{base: time.Now(), scale: 40}
	dir, err := tape.Create(t.TempDir(), "", clock.base)
	if err != nil {
		t.Fatal(err)
	}
	outbox, err := Open(dir.State(), Config{Chats: soakChats}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int64
	arrivals := make(chan int64, 1<<16)
	standIn := botapi.New(botapi.Options{
		Token: testToken, Now: clock.now, Seed: 5,
		Faults:    botapi.Faults{Limit: 0.03, Server: 0.04, CutBefore: 0.03, CutAfter: 0.03, Late: 0.02},
		OnMessage: func(botapi.Message) { arrivals <- accepted.Add(1) },
	})
	server := httptest.NewServer(standIn)
	defer server.Close()

	total := perChat * len(soakChats)
	ctx := t.Context()
	enqueued := make(chan error, 1)
	go func() {
		for i := range perChat {
			at := clock.now()
			notice := Notice{Key: fmt.Sprintf("message/%d", i), Title: fmt.Sprintf("message %d & <more>", i), At: at}
			if _, err := outbox.EnqueueNotice(ctx, notice, at); err != nil {
				enqueued <- err
				return
			}
			if i >= perChat/2 { // the second half is enqueued while the first is being sent
				clock.sleep(ctx, 2*time.Second)
			}
		}
		enqueued <- nil
	}()

	start := func() *exec.Cmd {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir.Path(), childServer+"="+server.URL,
			childClock+"="+strconv.FormatInt(clock.base.UnixNano(), 10)+" "+strconv.Itoa(clock.scale), telegram.TokenVariable+"="+testToken)
		child.Stderr = os.Stderr
		output, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
			t.Fatalf("the sender did not start: %v", err)
		}
		return child
	}
	child := start()
	killed := 0
	finished := time.NewTicker(50 * time.Millisecond)
	defer finished.Stop()
	for deadline := time.After(4 * time.Minute); ; {
		select {
		case n := <-arrivals:
			// The reply to this message is being sent: some of the kills come before the sender has
			// stored it.
			if killed < kills && n >= int64((killed+1)*total/(kills+1)) {
				child.Process.Kill()
				child.Wait()
				killed++
				child = start()
			}
			continue
		case <-deadline:
			status, err := outbox.Status()
			t.Fatalf("not all messages were sent in time: %+v, %v", status, err)
		case err := <-enqueued:
			if err != nil {
				t.Fatal(err)
			}
			enqueued = nil
		case <-finished.C:
		}
		status, err := outbox.Status()
		if err != nil {
			t.Fatal(err)
		}
		if status.Sent == total {
			break
		}
		if status.GaveUp > 0 || status.Damaged > 0 {
			t.Fatalf("given up or damaged: %+v", status)
		}
	}
	child.Process.Signal(syscall.SIGTERM)
	if err := child.Wait(); err != nil {
		t.Errorf("the stopped sender: %v", err)
	}
	if killed != kills {
		t.Errorf("killed %d times, want %d", killed, kills)
	}
	checkDelivery(t, outbox, standIn, perChat, kills, clock)
}

// checkDelivery compares what arrived with what was enqueued.
func checkDelivery(t *testing.T, outbox *Outbox, standIn *botapi.Server, perChat, kills int, clock fastClock) {
	type identity struct{ chat, text string }
	times := map[identity]int{}
	next := map[string]int{}
	answers := map[string]int{}
	for _, m := range standIn.Messages() {
		answers[m.Answer]++
		text, _, _ := strings.Cut(m.Text, "\n")
		times[identity{m.Chat, text}]++
		if times[identity{m.Chat, text}] > 1 {
			continue
		}
		if want := fmt.Sprintf("ℹ️ message %d & <more>", next[m.Chat]); text != want {
			t.Errorf("chat %s: %q arrived, want %q", m.Chat, text, want)
		}
		next[m.Chat]++
	}
	for _, chat := range soakChats {
		if next[chat.ID] != perChat {
			t.Errorf("chat %s received %d of %d messages", chat.ID, next[chat.ID], perChat)
		}
	}
	entries, _, err := outbox.scan()
	if err != nil {
		t.Fatal(err)
	}
	lost := map[identity]int{}
	byReason := map[LostReason]int{}
	for _, e := range entries {
		number := strings.TrimPrefix(e.message.Key, "message/")
		who := identity{e.message.Chat, "ℹ️ message " + number + " & <more>"}
		lost[who] = e.message.Parts[0].LostCount
		if times[who] > 1+lost[who] {
			t.Errorf("%v arrived %d times with %d lost replies", who, times[who], lost[who])
		}
		for _, l := range e.message.Parts[0].Lost {
			byReason[l.Reason]++
		}
	}
	twice, more, uncertain := 0, 0, 0
	for who, n := range times {
		if n > 1 {
			twice++
			more += n - 1
		}
		uncertain += lost[who]
	}
	offences := standIn.Offences()
	for rule, n := range offences {
		// A process that is killed after it received a 429 cannot store how long to wait.
		if rule != "before retry_after was over" || n > kills {
			t.Errorf("offence: %s, %d times", rule, n)
		}
	}
	t.Logf("%d messages to %d chats, all arrived in order; the sender was killed %d times; %v of Telegram's time", perChat*len(soakChats), len(soakChats), kills,
		clock.now().Sub(clock.base).Round(time.Second))
	t.Logf("requests %d, accepted %d; faults %s; replies to accepted ones: %s", standIn.Requests(), len(standIn.Messages()), counts(standIn.Injected()), counts(answers))
	t.Logf("arrived twice: %d messages (%d surplus arrivals), each after a lost reply", twice, more)
	t.Logf("attempts whose reply was lost: %d (killed %d, cut or late %d, status 5xx %d); %d of them had been accepted", uncertain,
		byReason[LostCrash], byReason[LostConnection], byReason[LostServer], more)
	t.Logf("offences against the rate: none; against retry_after, by a process killed before it could store it: %d", offences["before retry_after was over"])
}

func counts(m map[string]int) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s %d", key, m[key]))
	}
	return strings.Join(out, ", ")
}
