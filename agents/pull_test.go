package agents

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// shelf says which nodes of a world have which dataset, and counts the bytes that travelled.
type shelf struct {
	mu      sync.Mutex
	holders map[string][]shoal.PeerID
	moved   int
}

func (s *shelf) put(dataset string, at ...shoal.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holders == nil {
		s.holders = map[string][]shoal.PeerID{}
	}
	s.holders[dataset] = at
}

func (s *shelf) travelled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

// library is a node's Data: what lies elsewhere takes 20 ms.
type library struct{ p *peer }

func (l library) Read(ctx context.Context, dataset, _ string, _ int64, b []byte, w Way) (int, error) {
	s := &l.p.w.shelf
	s.mu.Lock()
	at := slices.Clone(s.holders[dataset])
	s.mu.Unlock()
	switch {
	case len(at) == 0:
		return 0, shoal.E(shoal.NotFound, "read "+dataset, "nobody has it", "")
	case slices.Contains(at, l.p.id):
		w.Read(l.p.id, len(b), 0)
		return len(b), nil
	}
	const far = 20 * time.Millisecond
	select {
	case <-time.After(far):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	from := slices.MinFunc(at, func(x, y shoal.PeerID) int { return w.Rank(x) - w.Rank(y) })
	s.mu.Lock()
	s.moved += len(b)
	s.mu.Unlock()
	w.Read(from, len(b), far)
	return len(b), nil
}

func (l library) Files(context.Context, string, string, string, int, Way) ([]shoal.File, error) {
	return nil, nil
}

// noData is the Data of agents that read none.
type noData struct{}

func (noData) Read(context.Context, string, string, int64, []byte, Way) (int, error) {
	return 0, shoal.E(shoal.NotFound, "read", "nobody has it", "")
}

func (noData) Files(context.Context, string, string, string, int, Way) ([]shoal.File, error) {
	return nil, nil
}

// bookworm reads of the dataset that it is told.
var bookworm = agenttest.Behaviour{
	"look": func(ctx context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		n, err := t.Data.Read(ctx, string(t.Payload), "", 0, make([]byte, 1000))
		return fmt.Append(nil, n), err
	},
	"ring": func(ctx context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		return t.Out.Call(ctx, string(t.Payload), "wake", nil)
	},
	"wake": func(context.Context, *shoal.Turn, *any) ([]byte, error) { return nil, nil },
	"fill": func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		return nil, t.State.Put([]byte("k"), make([]byte, 1<<20))
	},
}

// pulls makes a world with an agent that reads.
func pulls(t *testing.T, n int, cfg Config, o CreateOptions, f func(w *world)) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, n, cfg)
		if o.Needs != "" { // all fit but one
			w.label(func(i int) string { return map[bool]string{true: "out", false: "in"}[i == n-2] })
		}
		o.Name, o.Code = "reader", "reader"
		_, err := w.nodes[0].Create(context.Background(), o)
		must(t, err)
		w.nodes[1].wantCall("", "reader", "wake", "")
		f(w)
	})
}

// label puts each node into a zone.
func (w *world) label(zone func(i int) string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.zones = map[shoal.PeerID]string{}
	for i, n := range w.nodes {
		w.zones[n.id] = zone(i)
	}
}

// asker is a node that runs.
func (w *world) asker() *peer {
	return w.nodes[slices.IndexFunc(w.nodes, func(n *peer) bool { return n.Agents != nil })]
}

// look has the agent read of a dataset for a while, ten times a second.
func (w *world) look(dataset string, how shoal.CallRequest, d time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		how.Method, how.Payload = "look", []byte(dataset)
		got, err := w.asker().Call(ctx, "reader", how)
		cancel()
		if err != nil || string(got) != "1000" {
			w.t.Fatalf("look: %q, %v", got, err)
		}
	}
}

func (w *world) show(agent string) *Show {
	w.t.Helper()
	s, err := w.asker().Show(context.Background(), agent)
	must(w.t, err)
	return s
}

func (w *world) events(what string) (list []turn.Event) {
	w.t.Helper()
	all, err := w.asker().History(context.Background(), "reader")
	must(w.t, err)
	for _, e := range all {
		if e.What == what {
			list = append(list, e)
		}
	}
	return list
}

// strangers are the nodes that do not keep the agent.
func (w *world) strangers() (list []*peer) {
	s := w.show("reader")
	for _, n := range w.nodes {
		if !contains(s.Keepers, n.id) {
			list = append(list, n)
		}
	}
	return list
}

// TestDrawn: an agent that reads what lies on one node moves there, whether that is a keeper or not, by turns and by
// reads alike; nothing travels any more then, it has as many keepers, and the history says why, once.
func TestDrawn(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		for _, read := range []bool{false, true} {
			for _, keeper := range []bool{false, true} {
				if replicas == 1 && keeper {
					continue
				}
				t.Run(fmt.Sprint(replicas, read, keeper), func(t *testing.T) {
					pulls(t, 5, Config{}, CreateOptions{Replicas: replicas}, func(w *world) {
						s := w.show("reader")
						to := w.strangers()[0].id
						if keeper {
							to = s.Keepers[slices.IndexFunc(s.Keepers, func(p shoal.PeerID) bool { return p != s.Leader })]
						}
						w.shelf.put("set", to)
						w.look("set", shoal.CallRequest{Read: read}, 20*time.Second)
						before := w.shelf.travelled()
						w.look("set", shoal.CallRequest{Read: read}, 5*time.Second)
						if moved := w.shelf.travelled() - before; moved > 0 || before == 0 {
							t.Errorf("%d bytes travelled before, %d after", before, moved)
						}
						s = w.show("reader")
						if s.Leader != to || len(s.Keepers) != replicas {
							t.Fatalf("it lives on %s, kept by %d; want %s, %d", s.Leader.Short(), len(s.Keepers), to.Short(), replicas)
						}
						list := w.events(turn.Drawn)
						if len(list) != 1 || list[0].To != to || list[0].Pull == nil || len(w.events(turn.Moved)) > 0 {
							t.Fatalf("history: %+v", list)
						}
						p := *list[0].Pull
						if p.Here <= p.There || p.Here < p.Price || p.Price <= 0 || !strings.Contains(p.Why, to.Short()) {
							t.Errorf("the trigger is %+v", p)
						}
						all, err := w.nodes[2].History(context.Background(), "reader")
						must(t, err)
						if last := all[len(all)-1]; last.What != turn.Lives || last.Leader != to {
							t.Errorf("the last line of the history is %+v", last)
						}
					})
				})
			}
		}
	}
}

// TestNotDrawn: off, an agent stays where it is; and so does one that nobody could take who has what it reads.
func TestNotDrawn(t *testing.T) {
	for name, c := range map[string]struct {
		cfg Config
		o   CreateOptions
	}{
		"off":  {Config{NoGravity: true}, CreateOptions{Replicas: 3}},
		"fits": {Config{}, CreateOptions{Replicas: 3, Needs: `labels.zone == "in"`}},
	} {
		t.Run(name, func(t *testing.T) {
			pulls(t, 5, c.cfg, c.o, func(w *world) {
				was := w.show("reader")
				w.shelf.put("set", w.nodes[3].id) // which is not in, if that is asked for
				if name == "off" {
					w.shelf.put("set", w.strangers()[0].id)
				}
				w.look("set", shoal.CallRequest{}, time.Minute)
				if s := w.show("reader"); s.Leader != was.Leader || s.Epoch != was.Epoch || len(w.events(turn.Drawn)) > 0 {
					t.Errorf("it lives on %s in epoch %d, and lived on %s in %d", s.Leader.Short(), s.Epoch, was.Leader.Short(), was.Epoch)
				}
				if name == "fits" { // another holder does
					to := w.nodes[4].id
					w.shelf.put("set", w.nodes[3].id, to)
					w.look("set", shoal.CallRequest{}, 20*time.Second)
					if s := w.show("reader"); s.Leader != to {
						t.Errorf("it lives on %s, want %s", s.Leader.Short(), to.Short())
					}
				}
			})
		})
	}
}

// TestMovedByHandStays: where somebody has an agent move it stays, whatever it reads, for as long as is said; then it
// is drawn again.
func TestMovedByHandStays(t *testing.T) {
	pulls(t, 4, Config{Stay: 2 * time.Minute}, CreateOptions{Replicas: 3}, func(w *world) {
		ctx := context.Background()
		at := w.strangers()[0].id
		w.shelf.put("set", at)
		w.look("set", shoal.CallRequest{}, 20*time.Second)
		if s := w.show("reader"); s.Leader != at {
			t.Fatalf("it lives on %s", s.Leader.Short())
		}
		to := w.strangers()[0].id
		must(t, w.nodes[1].Move(ctx, "reader", to))
		w.look("set", shoal.CallRequest{}, 100*time.Second)
		if s := w.show("reader"); s.Leader != to || len(s.Keepers) != 3 {
			t.Fatalf("it lives on %s, kept by %d, and was moved to %s", s.Leader.Short(), len(s.Keepers), to.Short())
		}
		if list := w.events(turn.Moved); len(list) != 1 || list[0].To != to || list[0].By != w.nodes[1].id {
			t.Errorf("history: %+v", list)
		}
		w.look("set", shoal.CallRequest{}, 30*time.Second)
		if s := w.show("reader"); s.Leader != at {
			t.Errorf("it lives on %s still", s.Leader.Short())
		}
	})
}

// TestDrawnAndRepaired: after a move by what it reads an agent's keepers are in as many zones as before, and a keeper
// that is lost is replaced, with the agent where it is.
func TestDrawnAndRepaired(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 6, Config{Replace: 5 * time.Second})
		w.label(func(i int) string { return fmt.Sprint("zone", i%3) })
		_, err := w.nodes[0].Create(context.Background(), CreateOptions{Name: "reader", Code: "reader", Replicas: 3})
		must(t, err)
		w.nodes[1].wantCall("", "reader", "wake", "")
		was := w.show("reader")
		zones := func() int {
			in := map[string]bool{}
			for _, k := range w.show("reader").Keepers {
				in[w.zones[k]] = true
			}
			return len(in)
		}
		if zones() != 3 {
			t.Fatalf("%d zones to begin with", zones())
		}
		var to, twin *peer
		for _, n := range w.strangers() {
			if w.zones[n.id] == w.zones[was.Leader] {
				twin = n
			} else {
				to = n
			}
		}
		w.shelf.put("near", twin.id) // in the leader's own zone: two keepers would be there
		w.look("near", shoal.CallRequest{}, 30*time.Second)
		if s := w.show("reader"); s.Leader != was.Leader || zones() != 3 {
			t.Errorf("it lives on %s, in %d zones", s.Leader.Short(), zones())
		}
		w.shelf.put("far", to.id)
		w.look("far", shoal.CallRequest{}, 30*time.Second)
		s := w.show("reader")
		if s.Leader != to.id || zones() != 3 {
			t.Fatalf("it lives on %s, want %s, in %d zones", s.Leader.Short(), to.id.Short(), zones())
		}
		var lost *peer
		for _, n := range w.nodes {
			if contains(s.Keepers, n.id) && n != to {
				lost = n
			}
		}
		if lost == nil {
			t.Fatalf("kept by %v", s.Keepers)
		}
		w.setState(lost.id, shoal.Down)
		lost.kill()
		w.look("far", shoal.CallRequest{}, 30*time.Second)
		if s := w.show("reader"); s.Leader != to.id || len(s.Keepers) != 3 || contains(s.Keepers, lost.id) {
			t.Errorf("after the loss of a keeper it lives on %s, kept by %d", s.Leader.Short(), len(s.Keepers))
		}
	})
}

// TestPriceOfMoving: a large state makes a move to a stranger dear, and one to a keeper not.
func TestPriceOfMoving(t *testing.T) {
	pulls(t, 4, Config{}, CreateOptions{Replicas: 3}, func(w *world) {
		stranger := w.strangers()[0].id
		price := func(to shoal.PeerID) float64 {
			x, err := w.leaderOf("reader").get(mustKey(t, w, "reader"))
			must(t, err)
			x.mu.Lock()
			defer x.mu.Unlock()
			return x.price(to)
		}
		s := w.show("reader")
		keeper := s.Keepers[slices.IndexFunc(s.Keepers, func(p shoal.PeerID) bool { return p != s.Leader })]
		before := price(stranger)
		w.nodes[0].wantCall("", "reader", "fill", "")
		if after := price(stranger); after < before+0.9*(1<<20)/unknownRate || price(keeper) >= before {
			t.Errorf("it costs %.3f s, then %.3f s; to a keeper %.3f s", before, after, price(keeper))
		}
		for _, p := range []shoal.PeerID{s.Leader, "nobody"} {
			if v := price(p); v != 0 {
				t.Errorf("a move to %s costs %.3f s", p.Short(), v)
			}
		}
		w.setState(stranger, shoal.Suspect)
		if v := price(stranger); v != 0 {
			t.Errorf("a move to a suspect costs %.3f s", v)
		}
	})
}

func mustKey(t *testing.T, w *world, agent string) shoal.Key {
	t.Helper()
	k, err := w.nodes[0].Resolve(context.Background(), agent)
	must(t, err)
	return k
}

// TestDrawnThoughItSleeps: an agent that reads seldom, and sleeps in between, is drawn all the same.
func TestDrawnThoughItSleeps(t *testing.T) {
	pulls(t, 4, Config{Idle: 5 * time.Second}, CreateOptions{Replicas: 3}, func(w *world) {
		to := w.strangers()[0].id
		w.shelf.put("set", to)
		for range 20 {
			w.look("set", shoal.CallRequest{}, 300*time.Millisecond) // three times: too few for a move
			time.Sleep(30 * time.Second)
			for _, n := range w.nodes {
				if _, awake := n.Kept(); awake > 1 { // the directory may be in use
					t.Fatalf("%d agents are awake on %s", awake, n.id.Short())
				}
			}
		}
		if list := w.events(turn.Drawn); len(list) == 0 || list[0].To != to {
			t.Errorf("it is not drawn to %s: %+v", to.Short(), list)
		}
	})
}

// TestCallersComeTogether: of two agents that call one another one moves to the other, once, and neither ever moves again;
// while they are apart by nothing that was measured, none does.
func TestCallersComeTogether(t *testing.T) {
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond} {
		t.Run(fmt.Sprint(rtt), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t, 4, Config{})
				w.rtt = rtt
				names := []string{"reader", "other"}
				for i, name := range names {
					_, err := w.nodes[i].Create(context.Background(), CreateOptions{Name: name, Code: "reader", Replicas: 1})
					must(t, err)
					w.nodes[i].wantCall("", name, "wake", "")
				}
				if w.show(names[0]).Leader == w.show(names[1]).Leader {
					t.Fatal("they are together from the beginning")
				}
				for i := range 2000 {
					w.nodes[3].wantCall("", names[i%2], "ring", names[1-i%2])
					time.Sleep(50 * time.Millisecond)
				}
				drawn := 0
				for _, name := range names {
					list, err := w.nodes[0].History(context.Background(), name)
					must(t, err)
					for _, e := range list {
						if e.What == turn.Drawn {
							drawn++
						}
					}
				}
				together := w.show(names[0]).Leader == w.show(names[1]).Leader
				if together != (rtt > 0) || drawn > 1 || together != (drawn == 1) {
					t.Errorf("together: %v, after %d moves", together, drawn)
				}
			})
		})
	}
}
