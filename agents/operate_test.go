package agents

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// thousands is the counter's successor: it counts in thousands, and brings what it finds into that form, in
// three steps.
var thousands = agenttest.Behaviour{
	"get": func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		b, _, err := t.State.Get([]byte("thousands"))
		return b, err
	},
	"add": func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		b, _, err := t.State.Get([]byte("thousands"))
		if err != nil {
			return nil, err
		}
		var n int
		if _, err := fmt.Sscan(string(b), &n); err != nil {
			return nil, err
		}
		t.Out.Log(fmt.Sprint("it was ", n))
		b = fmt.Append(nil, n+1000)
		return b, t.State.Put([]byte("thousands"), b)
	},
	"migrate": func(_ context.Context, t *shoal.Turn, memory *any) ([]byte, error) {
		step, _ := (*memory).(int)
		*memory = step + 1
		if step < 2 {
			return []byte("more"), nil
		}
		b, _, err := t.State.Get([]byte("n"))
		if err != nil {
			return nil, err
		}
		if err := t.State.Delete([]byte("n")); err != nil {
			return nil, err
		}
		return nil, t.State.Put([]byte("thousands"), fmt.Append(nil, 1000*binary.BigEndian.Uint64(b)))
	},
}

// stubborn cannot deal with what it finds, and notices late.
var stubborn = agenttest.Behaviour{
	"migrate": func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		if err := t.State.Delete([]byte("n")); err != nil {
			return nil, err
		}
		return nil, shoal.E(shoal.Failed, "stubborn", "not with me", "")
	},
}

func (w *world) leaderOf(agent string) *peer {
	w.t.Helper()
	for _, n := range w.nodes {
		if n.Agents == nil {
			continue
		}
		s, err := n.Show(context.Background(), agent)
		must(w.t, err)
		for _, m := range w.nodes {
			if m.id == s.Leader {
				return m
			}
		}
	}
	w.t.Fatal("nobody leads " + agent)
	return nil
}

// TestMove moves an agent to every node in turn, keepers and strangers, while others call it: nothing is lost or
// doubled, and there are as many keepers as before.
func TestMove(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			inBubble(t, 5, func(t *testing.T, w *world) {
				w.nodes[0].create("counter", replicas)
				w.nodes[0].wantCall("1", "counter", "add", "")
				stop, done := make(chan bool), 1
				var wg sync.WaitGroup
				var mu sync.Mutex
				for i := range 3 {
					wg.Go(func() {
						for {
							select {
							case <-stop:
								return
							case <-time.After(7 * time.Millisecond):
							}
							if _, err := w.nodes[i].call("counter", "add", ""); err != nil {
								t.Errorf("a call meanwhile: %v", err)
								return
							}
							mu.Lock()
							done++
							mu.Unlock()
						}
					})
				}
				ctx := context.Background()
				for i := range 8 {
					to := w.nodes[(3*i+1)%5]
					begin := time.Now()
					must(t, w.nodes[i%5].Move(ctx, "counter", to.id))
					if took := time.Since(begin); took > 5*time.Second {
						t.Errorf("move %d took %v", i, took)
					}
					s, err := w.nodes[(i+2)%5].Show(ctx, "counter")
					must(t, err)
					if s.Leader != to.id || len(s.Keepers) != replicas {
						t.Fatalf("move %d: it lives on %s, kept by %d; want %s, %d", i, s.Leader.Short(), len(s.Keepers), to.id.Short(), replicas)
					}
				}
				close(stop)
				wg.Wait()
				w.nodes[4].wantCall(itoa(done), "counter", "get", "")
				list, err := w.nodes[1].History(ctx, "counter")
				must(t, err)
				for i, e := range list {
					if i > 0 && (e.Epoch < list[i-1].Epoch || e.At < list[i-1].At) {
						t.Errorf("history goes back: %+v after %+v", e, list[i-1])
					}
				}
				if len(list) < 8 || list[len(list)-1].Leader != w.nodes[(3*7+1)%5].id {
					t.Errorf("%d lines of history, the last %+v", len(list), list[len(list)-1])
				}
			})
		})
	}
}

// TestMoveRefused: a target that does not fit is named, with the reason.
func TestMoveRefused(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		w.nodes[0].create("counter", 3)
		ctx := context.Background()
		w.setState(w.nodes[3].id, shoal.Down)
		for to, kind := range map[shoal.PeerID]shoal.Kind{w.nodes[3].id: shoal.Refused, "nobody": shoal.NotFound} {
			if err := w.nodes[1].Move(ctx, "counter", to); shoal.KindOf(err) != kind {
				t.Errorf("move to %s: %v, want %v", to, err, kind)
			}
		}
		if err := w.nodes[1].Move(ctx, "nothing", w.nodes[2].id); shoal.KindOf(err) != shoal.NotFound {
			t.Errorf("move of what is not there: %v", err)
		}
	})
}

// TestMoveGivenUp: a move whose target dies on the way leaves the agent as it was, without a learner.
func TestMoveGivenUp(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		c := w.nodes[0].create("counter", 3)
		w.nodes[0].wantCall("1", "counter", "add", "")
		var out *peer
		for _, n := range w.nodes {
			if !contains(c.Keepers, n.id) {
				out = n
			}
		}
		go func() {
			time.Sleep(time.Millisecond)
			out.kill()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		err := w.nodes[0].Move(ctx, "counter", out.id)
		if err == nil {
			t.Fatal("the move was over before its target died: the test shows nothing")
		}
		w.setState(out.id, shoal.Down)
		time.Sleep(3 * time.Minute)
		w.nodes[0].wantCall("2", "counter", "add", "")
		s, err := w.nodes[0].Show(context.Background(), "counter")
		must(t, err)
		if len(s.Keepers) != 3 || contains(s.Keepers, out.id) {
			t.Errorf("%+v after a move that was given up", s)
		}
	})
}

// TestUpgrade gives an agent other code while it is called: no call is lost, migrate has run before any turn of the
// new code, and another leader goes on with it.
func TestUpgrade(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		w.nodes[1].create("counter", 3)
		ctx := context.Background()
		w.nodes[0].wantCall("1", "counter", "add", "")
		_, err := w.nodes[2].Upgrade(ctx, "counter", "stubborn")
		if err == nil || !strings.Contains(err.Error(), "not with me") {
			t.Errorf("an upgrade whose migrate fails: %v", err)
		}
		w.nodes[0].wantCall("2", "counter", "add", "")
		if _, err := w.nodes[2].Upgrade(ctx, "counter", "nonsense"); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("an upgrade to no module: %v", err)
		}
		up, err := w.nodes[2].Upgrade(ctx, "counter", "thousands")
		must(t, err)
		if up.Ready < 2 || fmt.Sprint(up.Missing) != "[fail later pass soon tell wait]" || up.Manifest != 1 {
			t.Errorf("%+v", up)
		}
		w.nodes[0].wantCall("3000", "counter", "add", "")
		if _, err := w.nodes[0].Upgrade(ctx, "counter", "thousands"); shoal.KindOf(err) != shoal.Exists {
			t.Errorf("the same upgrade again: %v", err)
		}
		if _, err := w.nodes[0].call("counter", "migrate", ""); shoal.KindOf(err) != shoal.NotFound {
			t.Errorf("migrate called from outside: %v", err)
		}
		leader := w.leaderOf("counter")
		lines, err := w.nodes[3].Logs(ctx, "counter", Tail{})
		must(t, err)
		if len(lines) != 1 || lines[0].Text != "it was 2000" || lines[0].Peer != leader.id {
			t.Errorf("its log: %+v", lines)
		}
		leader.kill()
		asker := w.nodes[0]
		if asker == leader {
			asker = w.nodes[2]
		}
		asker.wantCall("4000", "counter", "add", "")
		list, err := asker.History(ctx, "counter")
		must(t, err)
		what := whats(list) // it may have lived on another keeper at first: two may be woken by calls at once
		if what != "lives upgraded lives" && what != "lives lives upgraded lives" {
			t.Errorf("history: %s: %+v", what, list)
		}
		s, err := asker.Show(ctx, "counter")
		if err != nil || s.Code != "thousands" || s.Manifest != 1 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

func whats(list []turn.Event) string {
	var out []string
	for _, e := range list {
		out = append(out, e.What)
	}
	return strings.Join(out, " ")
}

// TestManifest: one with a wrong signature, for another agent or out of order is refused.
func TestManifest(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		c := w.nodes[0].create("counter", 3)
		k, _, _, err := parseAgent(c.Key)
		must(t, err)
		m := Manifest{Fabric: "test", Agent: []byte(k), Number: 1, Code: "thousands"}
		ctx := context.Background()
		try := func(what string, sealed []byte, kind shoal.Kind) {
			t.Helper()
			_, err := w.nodes[0].operate(ctx, c.Key, question{Op: opUpgrade, Payload: sealed})
			if shoal.KindOf(err) != kind {
				t.Errorf("%s: %v, want %v", what, err, kind)
			}
		}
		try("a stranger's", m.seal(key(77)), shoal.Refused)
		other := m
		other.Agent = []byte("another")
		try("another agent's", other.seal(w.nodes[0].key), shoal.Invalid)
		broken := m.seal(w.nodes[0].key)
		broken[len(broken)-1] ^= 1
		try("a broken one", broken, shoal.Invalid)
		late := m
		late.Number = 3
		try("one that comes too early", late.seal(w.nodes[0].key), shoal.Refused)
		w.nodes[1].wantCall("1", "counter", "add", "")
		_, err = w.nodes[0].operate(ctx, c.Key, question{Op: opUpgrade, Payload: m.seal(w.nodes[0].key)})
		must(t, err)
		old := m
		old.Code = "counter"
		try("one with an old number", old.seal(w.nodes[0].key), shoal.Refused)
		w.nodes[1].wantCall("2000", "counter", "add", "")
	})
}

// TestUpgradedMoves: a newcomer is shipped the code in force, not that of the birth.
func TestUpgradedMoves(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, w *world) {
		w.nodes[1].create("counter", 1)
		w.nodes[0].wantCall("1", "counter", "add", "")
		ctx := context.Background()
		_, err := w.nodes[2].Upgrade(ctx, "counter", "thousands")
		must(t, err)
		must(t, w.nodes[0].Move(ctx, "counter", w.nodes[4].id))
		w.nodes[3].wantCall("2000", "counter", "add", "")
		if l := w.leaderOf("counter"); l != w.nodes[4] {
			t.Error("it lives elsewhere")
		}
	})
}

// TestNeeds: only peers that fulfil an agent's requirement keep it: at its birth, when one is replaced, and after a move.
func TestNeeds(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, w *world) {
		zones := map[shoal.PeerID]string{}
		for i, n := range w.nodes {
			zones[n.id] = []string{"b", "a", "a", "a", "a"}[i]
		}
		w.mu.Lock()
		w.zones = zones
		w.mu.Unlock()
		ctx := context.Background()
		if _, err := w.nodes[0].Create(ctx, CreateOptions{Name: "x", Code: "counter", Needs: `labels.zon == "a" &&`}); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("a malformed requirement: %v", err)
		}
		if _, err := w.nodes[0].Create(ctx, CreateOptions{Name: "x", Code: "counter", Needs: strings.Repeat(" ", maxNeeds) + "true"}); shoal.KindOf(err) != shoal.Invalid ||
			!strings.Contains(err.Error(), "say it shorter") {
			t.Errorf("a long one: %v", err)
		}
		if _, err := w.nodes[0].Create(ctx, CreateOptions{Name: "x", Code: "counter", Needs: `labels.zone == "c"`}); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "labels.zone") {
			t.Errorf("one that nobody fulfils: %v", err)
		}
		if _, err := w.nodes[0].Create(ctx, CreateOptions{Name: "x", Code: "counter", Replicas: 5, Strict: true, Needs: `labels.zone == "a"`}); shoal.KindOf(err) != shoal.Refused ||
			!strings.Contains(err.Error(), w.nodes[0].id.Short()+" does not fit") {
			t.Errorf("one that too few fulfil: %v", err)
		}
		c, err := w.nodes[0].Create(ctx, CreateOptions{Name: "hits", Code: "counter", Needs: `labels.zone == "a"`})
		must(t, err)
		if len(c.Keepers) != 3 || slices.Contains(c.Keepers, w.nodes[0].id) {
			t.Fatalf("%+v", c)
		}
		w.nodes[0].wantCall("1", "hits", "add", "")
		if err := w.nodes[0].Move(ctx, "hits", w.nodes[0].id); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "labels.zone") {
			t.Errorf("a move to who does not fit: %v", err)
		}
		fits := func() (in []shoal.PeerID) {
			s, err := w.nodes[0].Show(ctx, "hits")
			if err != nil {
				return nil
			}
			if s.Needs != `labels.zone == "a"` {
				t.Errorf("%+v", s)
			}
			return s.Keepers
		}
		for _, n := range w.nodes[1:] { // the fourth that fits takes the place of one that is gone
			if n.id == c.Keepers[2] {
				n.kill()
				w.setState(n.id, shoal.Down)
			}
		}
		for range 200 {
			if in := fits(); len(in) == 3 && !slices.Contains(in, c.Keepers[2]) {
				break
			}
			time.Sleep(time.Second)
		}
		if in := fits(); len(in) != 3 || slices.Contains(in, w.nodes[0].id) || slices.Contains(in, c.Keepers[2]) {
			t.Errorf("after a loss: %v of %v", in, c.Keepers)
		}
		w.nodes[0].wantCall("2", "hits", "add", "")
	})
}
