package agents

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

func inBubble(t *testing.T, n int, f func(t *testing.T, w *world)) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, n, Config{})
		f(t, w)
	})
}

func TestCreateAndCall(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		c := w.nodes[1].create("counter", 3)
		if len(c.Keepers) != 3 || c.Note != "" {
			t.Fatalf("created %+v, want three keepers", c)
		}
		w.nodes[0].wantCall("1", "counter", "add", "")
		w.nodes[1].wantCall("2", c.Key, "add", "")
		w.nodes[2].wantCall("3", "counter", "add", "")
		for _, n := range w.nodes {
			if got, err := n.read("counter"); err != nil || got != "3" {
				t.Errorf("read: %q, %v", got, err)
			}
		}
		_, err := w.nodes[2].call("counter", "fail", "")
		if shoal.KindOf(err) != shoal.Failed {
			t.Errorf("a turn that fails: %v", err)
		}
		w.nodes[2].wantCall("4", "counter", "add", "")
		_, err = w.nodes[0].call("nobody", "add", "")
		if shoal.KindOf(err) != shoal.NotFound {
			t.Errorf("an unknown name: %v", err)
		}
		_, err = w.nodes[0].call("counter", "steal", "")
		if shoal.KindOf(err) != shoal.NotFound {
			t.Errorf("an unknown method: %v", err)
		}
		ctx := context.Background()
		_, err = w.nodes[2].Create(ctx, CreateOptions{Name: "counter", Code: "counter"})
		if shoal.KindOf(err) != shoal.Exists {
			t.Errorf("a second agent of the name: %v", err)
		}
		s, err := w.nodes[0].Show(ctx, "counter")
		if err != nil || s.Turns != 4 || len(s.Keepers) != 3 || s.Leader == "" || s.Key != c.Key {
			t.Errorf("show: %+v, %v", s, err)
		}
		list, err := w.nodes[2].List(ctx, "", "", 10)
		if err != nil || len(list) != 1 || list[0].Name != "counter" || list[0].Pending {
			t.Errorf("list: %+v, %v", list, err)
		}
	})
}

// TestFewerKeepers: with fewer peers than wanted an agent begins with the odd number that there is.
func TestFewerKeepers(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		if c := w.nodes[1].create("five", 5); len(c.Keepers) != 3 || c.Note == "" {
			t.Errorf("five wanted of four: %+v, want three and a word about it", c)
		}
		w.nodes[2].wantCall("1", "five", "add", "")
	})
}

// TestMissedBirth: a keeper that did not hear of a birth hears of it when the group first talks to it, and follows.
func TestMissedBirth(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		deaf := w.nodes[2]
		l := (*late)(deaf)
		hears := l.get("agents.birth")
		l.Handle("agents.birth", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
			return nil, shoal.E(shoal.Unavailable, "birth", "away", "")
		})
		c := w.nodes[0].create("one", 3)
		if len(c.Keepers) != 3 {
			t.Fatalf("%+v", c)
		}
		l.set("agents.birth", hears)
		w.nodes[0].wantCall("1", "one", "add", "")
		time.Sleep(5 * time.Second)
		if kept, _ := deaf.Kept(); kept < 1 {
			t.Fatal("it never heard of the birth")
		}
		for _, n := range w.nodes[:2] { // it counts: with one other it is a majority
			if s, err := n.Show(t.Context(), "one"); err != nil || s.Leader != n.id {
				n.kill()
				break
			}
		}
		time.Sleep(10 * time.Second)
		deaf.wantCall("2", "one", "add", "")
	})
}

// TestReadIsOfOneMoment: a read that takes long sees what one turn left, and not a part of the next.
func TestReadIsOfOneMoment(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		ctx := context.Background()
		_, err := w.nodes[0].Create(ctx, CreateOptions{Name: "pair", Code: "pair"})
		must(t, err)
		w.nodes[1].wantCall("", "pair", "set", "0")
		for i := range 20 {
			got := make(chan string)
			go func() {
				out, err := w.nodes[i%3].read("pair")
				got <- fmt.Sprint(out, err)
			}()
			time.Sleep(time.Duration(i) * time.Millisecond)
			w.nodes[1].wantCall("", "pair", "set", itoa(i+1))
			was, is := itoa(i), itoa(i+1)
			if s := <-got; s != strings.Repeat(was+" ", 3)+was+"<nil>" && s != strings.Repeat(is+" ", 3)+is+"<nil>" {
				t.Errorf("while %s became %s a read saw %s", was, is, s)
			}
		}
	})
}

func TestFailover(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		w.nodes[1].create("counter", 3)
		w.nodes[3].wantCall("1", "counter", "add", "")
		ctx := context.Background()
		s, err := w.nodes[3].Show(ctx, "counter")
		must(t, err)
		for _, n := range w.nodes {
			if n.id == s.Leader {
				n.kill()
			}
		}
		begin := time.Now()
		asker := w.nodes[3]
		if asker.Agents == nil {
			asker = w.nodes[2]
		}
		asker.wantCall("2", "counter", "add", "")
		if gap := time.Since(begin); gap > 3*time.Second {
			t.Errorf("%v without service", gap)
		}
		again, err := asker.Show(ctx, "counter")
		must(t, err)
		if again.Epoch <= s.Epoch || again.Leader == s.Leader {
			t.Errorf("epoch %d on %s follows %d on %s", again.Epoch, again.Leader.Short(), s.Epoch, s.Leader.Short())
		}
	})
}

// TestMute kills the leader so that streams to it are neither opened nor refused: it is given up as soon as one that refuses.
func TestMute(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		w.nodes[0].create("counter", 3)
		worst := time.Duration(0)
		for n := 1; n < 12; n += 2 {
			time.Sleep(time.Duration(n)*77*time.Millisecond + 3*time.Second)
			w.nodes[0].wantCall(itoa(n), "counter", "add", "")
			leader := w.leaderOf("counter")
			w.mu.Lock()
			w.mute[leader.id] = true
			w.mu.Unlock()
			leader.kill()
			asker := w.nodes[0]
			if asker == leader {
				asker = w.nodes[1]
			}
			start := time.Now()
			asker.wantCall(itoa(n+1), "counter", "add", "")
			worst = max(worst, time.Since(start))
			w.mu.Lock()
			w.mute[leader.id] = false
			w.mu.Unlock()
			leader.restart()
			time.Sleep(5 * time.Second)
		}
		t.Log("worst", worst)
		if worst > 2200*time.Millisecond {
			t.Errorf("an outage of %v", worst)
		}
	})
}

func TestOnceByName(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		w.nodes[0].create("counter", 3)
		ctx := context.Background()
		for _, n := range w.nodes {
			b, err := n.Call(ctx, "counter", shoal.CallRequest{Method: "add", Request: "order 7"})
			if err != nil || string(b) != "1" {
				t.Fatalf("the same request again: %q, %v", b, err)
			}
		}
		_, err := w.nodes[0].Call(ctx, "counter", shoal.CallRequest{Method: "get", Request: "order 7"})
		if shoal.KindOf(err) != shoal.Refused {
			t.Errorf("another request under the name: %v", err)
		}
	})
}

// TestExpiry lets a day pass: what nobody will ask for again is forgotten, and never runs.
func TestExpiry(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		w.nodes[0].create("counter", 3)
		ctx := context.Background()
		once := shoal.CallRequest{Method: "add", Request: "order 7"}
		if b, err := w.nodes[0].Call(ctx, "counter", once); err != nil || string(b) != "1" {
			t.Fatalf("%q, %v", b, err)
		}
		time.Sleep(25 * time.Hour)
		w.nodes[1].wantCall("2", "counter", "add", "") // wakes it; it tidies up
		time.Sleep(5 * time.Second)
		if _, err := w.nodes[2].Call(ctx, "counter", once); shoal.KindOf(err) != shoal.Failed {
			t.Errorf("a request whose reply expired: %v, want that it never runs", err)
		}
		if got, err := w.nodes[2].read("counter"); err != nil || got != "2" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestMessages(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		w.nodes[0].create("a", 3)
		w.nodes[1].create("b", 3)
		w.nodes[2].wantCall("1", "a", "pass", "b")
		w.nodes[2].wantCall("", "a", "tell", "b")
		w.nodes[2].wantCall("", "a", "tell", "b")
		w.nodes[2].wantCall("", "a", "later", "")
		time.Sleep(5 * time.Second)
		if got, err := w.nodes[1].read("b"); err != nil || got != "3" {
			t.Errorf("b is %q, %v, want 3", got, err)
		}
		_, err := w.nodes[2].call("a", "pass", "a")
		if shoal.KindOf(err) != shoal.Refused {
			t.Errorf("a call to itself: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if got, err := w.nodes[1].read("a"); err != nil || got != "1" {
			t.Errorf("a is %q, %v, want 1 by its timer", got, err)
		}
	})
}

func TestSleep(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		w.nodes[0].create("counter", 3)
		w.nodes[1].wantCall("1", "counter", "add", "")
		time.Sleep(3 * time.Minute)
		for _, n := range w.nodes {
			if _, awake := n.Kept(); awake != 0 {
				t.Errorf("%d agents are awake on %s", awake, n.id.Short())
			}
		}
		begin := time.Now()
		w.nodes[2].wantCall("2", "counter", "add", "")
		if d := time.Since(begin); d > time.Second {
			t.Errorf("waking took %v", d)
		}
	})
}

func TestRestart(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		w.nodes[0].create("counter", 3)
		w.nodes[1].wantCall("1", "counter", "add", "")
		for _, n := range w.nodes {
			n.kill()
		}
		for _, n := range w.nodes {
			n.restart()
		}
		w.nodes[1].wantCall("2", "counter", "add", "")
	})
}

func TestRemove(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		c := w.nodes[0].create("counter", 3)
		w.nodes[1].wantCall("1", "counter", "add", "")
		w.nodes[1].wantCall("", "counter", "later", "")
		must(t, w.nodes[2].Remove(context.Background(), "counter"))
		for _, agent := range []string{"counter", c.Key} {
			if _, err := w.nodes[0].call(agent, "add", ""); shoal.KindOf(err) != shoal.NotFound {
				t.Errorf("%s after it was removed: %v", agent, err)
			}
		}
		if err := w.nodes[0].Remove(context.Background(), "directory"); shoal.KindOf(err) != shoal.Refused {
			t.Errorf("the directory: %v", err)
		}
		again := w.nodes[0].create("counter", 3)
		if again.Key == c.Key {
			t.Error("two births have one key")
		}
		w.nodes[1].wantCall("1", "counter", "add", "") // it knew the first by that name
		time.Sleep(2 * time.Minute)                    // the timer of the first is gone with it
		if got, err := w.nodes[2].read("counter"); err != nil || got != "1" {
			t.Errorf("%q, %v", got, err)
		}
		left := 0
		for _, n := range w.nodes {
			for p, err := range n.table.Scan(nil, nil) {
				must(t, err)
				k := []byte(parsedKey(t, c.Key))
				if p.Key[0] != atGone && (bytes.HasPrefix(p.Key[1:], k) || p.Key[0] == atDue && bytes.HasPrefix(p.Key[9:], k)) {
					left++
				}
			}
		}
		if left > 0 {
			t.Errorf("%d pairs of the removed agent are left", left)
		}
	})
}

func parsedKey(t *testing.T, text string) shoal.Key {
	k, _, _, err := parseAgent(text)
	must(t, err)
	return k
}

// TestNothingSpins: while a message finds no receiver, or a timer's turn fails or waits, nothing is done over and over
// at one moment: that would hold up virtual time for ever.
func TestNothingSpins(t *testing.T) {
	watch := time.AfterFunc(20*time.Second, func() { panic("time stands still: something spins") })
	defer watch.Stop()
	inBubble(t, 4, func(t *testing.T, w *world) {
		w.nodes[3].create("alone", 1)
		w.nodes[0].create("a", 3)
		w.nodes[0].wantCall("", "a", "tell", "alone")
		time.Sleep(time.Second)
		w.nodes[3].kill()
		w.nodes[0].wantCall("", "a", "tell", "alone")
		time.Sleep(30 * time.Second)
		w.nodes[3].restart()
		time.Sleep(5 * time.Second)
		if got, err := w.nodes[0].read("alone"); err != nil || got != "2" {
			t.Errorf("alone is %q, %v, want 2", got, err)
		}
		for _, method := range []string{"fail", "wait"} {
			begin := time.Now()
			w.nodes[0].wantCall("", "a", "soon", method)
			time.Sleep(20 * time.Second)
			w.nodes[1].wantCall("0", "a", "get", "") // and it still works
			if method == "fail" {
				if n := fails.Swap(0); n < maxTries || n > 2*maxTries { // who leads next counts anew
					t.Errorf("a timer's turn that fails was tried %d times in %v, want %d", n, time.Since(begin), maxTries)
				}
				if d := lastFail.Load() - begin.UnixMilli(); d < 2000 {
					t.Errorf("all its tries were over after %d ms", d)
				}
			}
		}
	})
}

// TestNothingStaysDue: a message that was under way when its nodes were started again leaves nothing to be looked
// at once it has arrived, and the agent sleeps.
func TestNothingStaysDue(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		w.nodes[3].create("alone", 1)
		w.nodes[0].create("a", 3)
		w.nodes[0].wantCall("", "a", "tell", "alone")
		time.Sleep(time.Second)
		w.nodes[3].kill()
		w.nodes[0].wantCall("", "a", "tell", "alone")
		time.Sleep(time.Second)
		for _, n := range w.nodes[:3] {
			n.kill()
		}
		for _, n := range w.nodes {
			n.restart()
		}
		time.Sleep(30 * time.Second)
		if got, err := w.nodes[0].read("alone"); err != nil || got != "2" {
			t.Errorf("alone is %q, %v, want 2", got, err)
		}
		time.Sleep(3 * time.Minute)
		for _, n := range w.nodes {
			if _, awake := n.Kept(); awake > 0 {
				t.Errorf("%d agents are awake on %s", awake, n.id.Short())
			}
			for p := range n.Table.Scan([]byte{atDue}, []byte{atDue + 1}) {
				t.Errorf("%s still has %q due", n.id.Short(), p.Key)
			}
		}
	})
}

// TestNobodyIsSuspectedInPeace: agents that sleep and wake again, on nodes that live, have nobody taken for dead.
func TestNobodyIsSuspectedInPeace(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		said := &lines{}
		w := newWorld(t, 3, Config{Idle: time.Second, Log: slog.New(slog.NewTextHandler(said, nil))})
		w.nodes[0].create("a", 3)
		for i := range 20 {
			w.nodes[i%3].wantCall(itoa(i+1), "a", "add", "")
			time.Sleep(time.Duration(1500+i*250) * time.Millisecond)
		}
		if n := said.count("silent"); n > 0 {
			t.Errorf("%d times a peer was taken for dead", n)
		}
	})
}

// TestAMessageWaits: a receiver that nobody can find now, as the machines that keep it are off, has not refused.
func TestAMessageWaits(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		w.nodes[3].create("alone", 1)
		w.nodes[0].create("a", 3)
		w.nodes[0].wantCall("", "a", "tell", "alone")
		time.Sleep(time.Second)
		w.nodes[3].kill()
		w.dirs.Expire(w.nodes[3].id)
		w.nodes[0].wantCall("", "a", "tell", "alone")
		for _, n := range w.nodes[:3] {
			n.kill()
		}
		for _, n := range w.nodes[:3] {
			n.restart()
		}
		time.Sleep(20 * time.Second)
		w.nodes[3].restart()
		time.Sleep(10 * time.Second)
		if got, err := w.nodes[0].read("alone"); err != nil || got != "2" {
			t.Errorf("alone is %q, %v, want 2", got, err)
		}
	})
}
