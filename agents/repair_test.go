package agents

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
)

// TestLacks holds what is changed against what must never be: too few voters left, an even number of them, a
// change while one is under way.
func TestLacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := group.Conf{Next: 1}
		dead := map[shoal.PeerID]bool{}
		voters := 0
		for i := range rapid.SampledFrom([]int{1, 3, 5}).Draw(t, "voters") {
			p := shoal.PeerID(rune('a' + i))
			c.Members = append(c.Members, group.Member{ID: c.Next, Keeper: group.Keeper{Peer: p}})
			c.Next++
			voters++
			dead[p] = i > 0 && rapid.Bool().Draw(t, "dead")
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "learners") {
			p := shoal.PeerID(rune('m' + i))
			c.Members = append(c.Members, group.Member{ID: c.Next, Role: group.Learner, Keeper: group.Keeper{Peer: p}})
			c.Next++
			dead[p] = rapid.Bool().Draw(t, "dead")
		}
		target := rapid.SampledFrom([]int{1, 3, 5}).Draw(t, "target")
		free := rapid.IntRange(0, 4).Draw(t, "free")
		w := lacks(c, target, free, func(p shoal.PeerID) bool { return dead[p] })
		if w.learn > free || w.learn > 0 && len(w.promote)+len(w.remove) > 0 {
			t.Fatalf("%+v with %d free", w, free)
		}
		alive := 0
		for _, m := range c.Members {
			if m.Role == group.Voter && !dead[m.Peer] {
				alive++
			}
		}
		removed := 0
		for _, id := range w.remove {
			m, _ := c.Member(id)
			if !dead[m.Peer] {
				t.Fatalf("%s lives and is removed: %+v", m.Peer, w)
			}
			if m.Role == group.Voter {
				removed++
			}
		}
		if after := voters + len(w.promote) - removed; len(w.promote)+removed > 0 && (after%2 == 0 || after < min(alive, target)) {
			t.Fatalf("%d voters after %+v; %+v, %v", after, w, c, dead)
		}
		for _, id := range w.promote {
			if m, _ := c.Member(id); m.Role != group.Learner || dead[m.Peer] {
				t.Fatalf("%+v is promoted", m)
			}
		}
	})
}

func (w *world) keepers(agent string, want int, within time.Duration) {
	w.t.Helper()
	begin := time.Now()
	last := ""
	for time.Since(begin) < within {
		for _, n := range w.nodes {
			if n.Agents == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			s, err := n.Show(ctx, agent)
			cancel()
			if err == nil && len(s.Keepers) == want {
				return
			}
			if err != nil {
				last = err.Error()
			} else {
				last = s.Note
			}
			break
		}
		time.Sleep(time.Second)
	}
	w.t.Fatalf("%s has not %d keepers after %v: %s", agent, want, within, last)
}

// TestFounderLost is the story of a fabric that grows: what was made alone survives its machine.
func TestFounderLost(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, w *world) {
		first := w.nodes[0]
		c := first.create("a", 3)
		if len(c.Keepers) != 1 || c.Note == "" {
			t.Fatalf("made alone: %+v, want one keeper and a word about it", c)
		}
		first.create("b", 3)
		first.wantCall("1", "a", "add", "")
		w.add()
		w.add()
		for _, name := range []string{"directory", "a", "b"} {
			w.keepers(name, 3, time.Minute)
		}
		first.wantCall("2", "a", "add", "")
		first.kill()
		w.setState(first.id, shoal.Down)
		n := w.nodes[1]
		n.wantCall("3", "a", "add", "")
		n.wantCall("4", c.Key, "add", "")
		w.nodes[2].wantCall("1", "b", "add", "")
		w.nodes[2].create("c", 3)
	})
}

func TestReplaceKeeper(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		w.nodes[1].create("a", 3)
		w.nodes[1].wantCall("1", "a", "add", "")
		s, err := w.nodes[1].Show(context.Background(), "a")
		must(t, err)
		var lost, asker *peer
		for _, n := range w.nodes {
			switch {
			case n.id == s.Leader:
				asker = n
			case contains(s.Keepers, n.id):
				lost = n
			}
		}
		lost.kill()
		w.setState(lost.id, shoal.Suspect)
		for i := range 90 { // in use all the time
			want := i + 2
			got, err := asker.call("a", "add", "")
			if err != nil || got != itoa(want) {
				t.Fatalf("call %d: %q, %v", i, got, err)
			}
			time.Sleep(time.Second)
		}
		again, err := asker.Show(context.Background(), "a")
		must(t, err)
		if len(again.Keepers) != 3 || contains(again.Keepers, lost.id) {
			t.Errorf("keepers %v after one was gone for 90 s", again.Keepers)
		}
		lost.restart() // it is told that it is none any more, or stays silent
		w.setState(lost.id, shoal.Alive)
		time.Sleep(10 * time.Second)
		for _, n := range w.nodes {
			if got, err := n.read("a"); err != nil || got != "91" {
				t.Errorf("read from %s: %q, %v", n.id.Short(), got, err)
			}
		}
	})
}

// TestLeave has nodes leave one after the other: each hands over what it keeps, until nobody is left to take it.
func TestLeave(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		first := w.nodes[0]
		w.keepers("directory", 3, time.Minute)
		c := w.nodes[1].create("a", 3)
		w.nodes[1].wantCall("1", "a", "add", "")
		w.nodes[3].create("alone", 1)
		w.nodes[3].wantCall("1", "alone", "add", "")
		leave := func(p *peer, kind shoal.Kind) {
			t.Helper()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			err := p.Drain(ctx, nil)
			if (err == nil) != (kind == shoal.Internal) || err != nil && shoal.KindOf(err) != kind {
				t.Fatalf("leave of %s: %v", p.id.Short(), err)
			}
			if err == nil {
				p.kill()
				w.setState(p.id, shoal.Left)
			}
		}
		leave(w.nodes[3], shoal.Internal)
		first.wantCall("2", "alone", "add", "")
		first.wantCall("2", "a", "add", "")
		leave(w.nodes[1], shoal.Internal) // two are left: an agent with three keepers goes on with two of them
		first.wantCall("3", c.Key, "add", "")
		first.wantCall("3", "alone", "add", "")
		leave(w.nodes[2], shoal.Refused) // alone, the other would be no majority
		w.nodes[2].wantCall("4", "a", "add", "")
	})
}
