package keepers

import (
	"slices"
	"testing"

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
		w := Lacks(c, target, free, func(p shoal.PeerID) bool { return dead[p] })
		if w.Learn > free || w.Learn > 0 && len(w.Promote)+len(w.Remove) > 0 {
			t.Fatalf("%+v with %d free", w, free)
		}
		alive := 0
		for _, m := range c.Members {
			if m.Role == group.Voter && !dead[m.Peer] {
				alive++
			}
		}
		removed := 0
		for _, id := range w.Remove {
			m, _ := c.Member(id)
			if !dead[m.Peer] && (m.Role != group.Learner || alive < target) { // a learner too many may go
				t.Fatalf("%s lives and is removed: %+v", m.Peer, w)
			}
			if m.Role == group.Voter {
				removed++
			}
		}
		if after := voters + len(w.Promote) - removed; len(w.Promote)+removed > 0 && (after%2 == 0 || after < min(alive, target)) {
			t.Fatalf("%d voters after %+v; %+v, %v", after, w, c, dead)
		}
		for _, id := range w.Promote {
			if m, _ := c.Member(id); m.Role != group.Learner || dead[m.Peer] {
				t.Fatalf("%+v is promoted", m)
			}
		}
	})
}

// TestSwap: a move replaces one voter by the target and leaves as many as there were; it takes whoever is
// gone first, then one in the target's zone, and the leader only if there is nobody else.
func TestSwap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := group.Conf{Next: 1}
		dead, near := map[shoal.PeerID]bool{}, map[shoal.PeerID]bool{}
		n := rapid.SampledFrom([]int{1, 3, 5}).Draw(t, "voters")
		for i := range n {
			p := shoal.PeerID(rune('a' + i))
			c.Members = append(c.Members, group.Member{ID: c.Next, Keeper: group.Keeper{Peer: p}})
			c.Next++
			dead[p] = i > 0 && rapid.Bool().Draw(t, "dead")
			near[p] = rapid.Bool().Draw(t, "near")
		}
		leader := c.Members[0].ID
		kind := rapid.SampledFrom([]string{"voter", "learner", "stranger"}).Draw(t, "target")
		to := shoal.PeerID("z")
		switch kind {
		case "voter":
			to = c.Members[rapid.IntRange(0, n-1).Draw(t, "which")].Peer
		case "learner":
			c.Members = append(c.Members, group.Member{ID: c.Next, Role: group.Learner, Keeper: group.Keeper{Peer: to}})
			c.Next++
		}
		s := Swap(c, to, leader, func(p shoal.PeerID) bool { return dead[p] }, func(p shoal.PeerID) bool { return near[p] })
		switch kind {
		case "voter":
			if m, _ := c.Member(s.Lead); m.Peer != to || s.Learn || len(s.Promote)+len(s.Remove) > 0 {
				t.Fatalf("to a voter: %+v", s)
			}
			return
		case "stranger":
			if !s.Learn || s.Lead != 0 || len(s.Promote)+len(s.Remove) > 0 {
				t.Fatalf("to a stranger: %+v", s)
			}
			return
		}
		if s.Learn || len(s.Promote) != 1 || len(s.Remove) != 1 || s.Lead != 0 {
			t.Fatalf("to a learner: %+v", s)
		}
		out, _ := c.Member(s.Remove[0])
		anyDead, anyNear := false, false
		for _, m := range c.Members {
			anyDead, anyNear = anyDead || dead[m.Peer], anyNear || near[m.Peer] && m.ID != leader
		}
		if out.Role != group.Voter || out.ID == leader && n > 1 || anyDead && !dead[out.Peer] ||
			!anyDead && anyNear && !near[out.Peer] {
			t.Fatalf("%+v leaves %+v; dead %v", s, out, dead)
		}
	})
}

// TestAnew: who knows enough keepers looks for others in fewer and fewer rounds, and who does not in each.
func TestAnew(t *testing.T) {
	var at []int
	for round := range 100 {
		if Anew(round, 3) {
			at = append(at, round)
		}
		if !Anew(round, 0) || !Anew(round, 1) {
			t.Errorf("round %d: nobody is known, and nobody is looked for", round)
		}
	}
	if want := []int{1, 2, 4, 8, 16, 32, 64}; !slices.Equal(at, want) {
		t.Errorf("it looks in the rounds %v, not %v", at, want)
	}
}

// TestSpread: learners and peers without a zone do not count; one zone counts once.
func TestSpread(t *testing.T) {
	zones := map[shoal.PeerID]string{"a": "x", "b": "y", "c": "y", "d": "z"}
	zone := func(p shoal.PeerID) string { return zones[p] }
	var c group.Conf
	for i, p := range []shoal.PeerID{"a", "b", "c", "nowhere", "d"} {
		m := group.Member{ID: uint64(i + 1), Keeper: group.Keeper{Peer: p}}
		if p == "d" {
			m.Role = group.Learner
		}
		c.Members = append(c.Members, m)
	}
	for _, x := range []struct {
		without uint64
		with    string
		want    int
	}{{0, "", 2}, {0, "z", 3}, {0, "x", 2}, {1, "", 1}, {2, "", 2}, {1, "z", 2}} {
		if n := Spread(c, zone, x.without, x.with); n != x.want {
			t.Errorf("without %d, with %q: %d zones, want %d", x.without, x.with, n, x.want)
		}
	}
}
