package agents

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

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

// TestSurveyRolls: what is kept is looked at in parts, all of it, and not again before it is time or somebody comes.
func TestSurveyRolls(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		for i := range 5 {
			n.create(fmt.Sprint("a", i), 1)
		}
		kept, _ := n.Kept()
		s := surveyor{a: n.Agents, at: n.instant()}
		round := func() (turns int) {
			for s.turn(0); s.next != nil; s.turn(0) {
				if turns++; turns > kept {
					t.Fatal("no end")
				}
			}
			return turns
		}
		if n := round(); n != 0 {
			t.Errorf("%d turns, and nobody came", n)
		}
		w.add()
		if n := round(); n != kept {
			t.Errorf("%d turns for %d agents when somebody came", n, kept)
		}
		if n := round(); n != 0 {
			t.Errorf("%d turns at once again", n)
		}
		time.Sleep(2 * n.cfg.Replace)
		if n := round(); n != kept {
			t.Errorf("%d turns after a while", n)
		}
	})
}

// TestARepairKeepsZones: who takes a lost keeper's place is of a zone in which nobody else keeps the agent.
func TestARepairKeepsZones(t *testing.T) {
	inBubble(t, 7, func(t *testing.T, w *world) {
		w.label(func(i int) string { return []string{"a", "a", "a", "b", "b", "c", "c"}[i] })
		in := func(agent string) (string, int) {
			zones, who := map[string]bool{}, ""
			for _, k := range w.show(agent).Keepers {
				zones[w.zones[k]] = true
				who += " " + k.Short() + " in " + w.zones[k]
			}
			return who, len(zones)
		}
		time.Sleep(time.Minute)
		var lost *peer
		for i := range 8 {
			name := fmt.Sprint("agent-", i)
			c := w.nodes[0].create(name, 3)
			if who, n := in(name); n != 3 {
				t.Fatalf("%s begins with%s", name, who)
			}
			if lost == nil {
				lost = w.nodes[slices.IndexFunc(w.nodes, func(n *peer) bool { return w.zones[n.id] == "b" && slices.Contains(c.Keepers, n.id) })]
			}
		}
		lost.kill()
		w.setState(lost.id, shoal.Down)
		time.Sleep(3 * time.Minute)
		for i := range 8 {
			name := fmt.Sprint("agent-", i)
			if who, n := in(name); n != 3 || strings.Contains(who, lost.id.Short()) {
				t.Errorf("%s is kept by%s", name, who)
			}
		}
	})
}
