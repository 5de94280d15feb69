package cast

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

var (
	seed  = flag.Uint64("seed", 1, "of the first schedule")
	seeds = flag.Int("seeds", 10, "schedules to run")
)

// rough is a mesh that loses, doubles and reorders.
func rough(seed uint64) *mesh {
	m := newMesh(seed)
	m.lose, m.dup, m.late = 0.1, 0.1, 40*time.Millisecond
	return m
}

// The audience grows until gossip carries the messages, and shrinks until streams do again, while messages go on: nothing is lost
// or doubled at any of those who stay.
func TestCarrierChanges(t *testing.T) {
	for _, mild := range []bool{true, false} {
		t.Run(fmt.Sprint("mild ", mild), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				m := newMesh(*seed)
				if !mild {
					m = rough(*seed)
				}
				w := &world{t: t, net: newNet(), cfg: Config{Up: 6, Down: 3}, mesh: m, topics: map[keyed]*agent{key: newAgent()}}
				defer w.close()
				for range 13 {
					w.add()
				}
				pub, other := w.nodes[0], w.nodes[12]
				stay := []*reader{w.nodes[1].read(t, Start{}), w.nodes[2].read(t, Start{}), pub.read(t, Start{})}
				load := func(d time.Duration) {
					for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
						pub.say(t, 3)
						other.say(t, 1)
					}
				}
				load(time.Second)
				if s := pub.Stats(key); s.Gossip || s.Streams != 2 {
					t.Fatalf("before: %+v", s)
				}
				var guests []*reader
				for _, n := range w.nodes[3:12] {
					guests = append(guests, n.read(t, Start{}))
					load(200 * time.Millisecond)
				}
				load(10 * time.Second)
				if s := pub.Stats(key); !s.Gossip || s.Streams != 0 {
					t.Fatalf("with many: %+v", s)
				}
				mid := m.told()
				for _, r := range guests {
					_ = r.sub.Close()
					if r.wrong() != "" {
						t.Error(r.wrong())
					}
				}
				load(15 * time.Second)
				if s := pub.Stats(key); s.Gossip || s.Streams != 2 {
					t.Fatalf("with few again: %+v", s)
				}
				if m.told() == mid || mid == 0 {
					t.Error("gossip carried nothing")
				}
				time.Sleep(30 * time.Second)
				quiet := m.told()
				load(2 * time.Second)
				if m.told() != quiet {
					t.Errorf("gossip goes on: %d envelopes", m.told()-quiet)
				}
				time.Sleep(time.Second)
				for _, r := range stay {
					r.expect(t, pub, 1, pub.Stats(key).Published)
					r.expect(t, other, 1, other.Stats(key).Published)
				}
				for _, n := range w.nodes[:3] {
					n.have(key).mu.Lock()
					if n.have(key).channel != nil {
						t.Errorf("%s still listens to gossip", n.id)
					}
					n.have(key).mu.Unlock()
				}
			})
		})
	}
}

// Messages arrive soon though gossip loses some, and the last ones too.
func TestGossipLoses(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := &world{t: t, net: newNet(), mesh: rough(*seed), topics: map[keyed]*agent{key: newAgent()}}
		w.topics[key].def.Audience = topic.Large
		defer w.close()
		for range 4 {
			w.add()
		}
		pub := w.nodes[0]
		var all []*reader
		for _, n := range w.nodes[1:] {
			all = append(all, n.read(t, Start{}))
		}
		pub.say(t, 1)
		time.Sleep(5 * time.Second)
		for i := range 100 {
			pub.say(t, 1+i%7)
			time.Sleep(12 * time.Second) // each of them is the last for a while
			for _, r := range all {
				r.expect(t, pub, 1, pub.Stats(key).Published)
			}
		}
		if s := pub.Stats(key); !s.Gossip || s.Streams > 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A subscriber that gossip does not reach for a while finds out what it missed.
func TestGossipCutOff(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := newMesh(1)
		w := &world{t: t, net: newNet(), mesh: m, topics: map[keyed]*agent{key: newAgent()}}
		w.topics[key].def.Audience = topic.Large
		defer w.close()
		for range 3 {
			w.add()
		}
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		rb, rc := b.read(t, Start{}), c.read(t, Start{})
		a.say(t, 10)
		time.Sleep(5 * time.Second)
		m.mu.Lock()
		m.cut[b.id] = true
		m.mu.Unlock()
		w.cut(a, b)
		for range 10 {
			a.say(t, 10)
			time.Sleep(time.Second)
		}
		rc.expect(t, a, 1, 110)
		rb.expect(t, a, 1, 10)
		w.heal(a, b)
		m.mu.Lock()
		m.cut[b.id] = false
		m.mu.Unlock()
		time.Sleep(30 * time.Second)
		rb.expect(t, a, 1, 110)
	})
}

// Seeded schedules: nodes publish, subscribe, leave, are cut off and start anew, the audience passes the thresholds, gossip loses.
// What every reader may rely on holds, and whoever stayed has everything in the end, but for what was said by a life that ended.
func TestSchedules(t *testing.T) {
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		t.Run(fmt.Sprint("seed ", s), func(t *testing.T) { bubble.Test(t, func(t *testing.T) { schedule(t, s) }) })
	}
}

func schedule(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	m := rough(seed)
	w := &world{t: t, net: newNet(), cfg: Config{Up: 4, Down: 2}, mesh: m, topics: map[keyed]*agent{key: newAgent()}}
	defer w.close()
	const nodes = 8
	for range nodes {
		w.add()
	}
	stay := w.nodes[0].read(t, Start{}) // node 0 only reads, node 1 only publishes, and neither dies
	pub := w.nodes[1]
	readers := map[*node]*reader{}
	cut := map[*node]bool{}
	for range 300 {
		n := w.nodes[2+rnd.IntN(nodes-2)]
		switch rnd.IntN(12) {
		case 0, 1:
			if readers[n] == nil {
				if sub, err := n.Subscribe(t.Context(), key, Start{Recent: rnd.IntN(2) == 0}); err == nil {
					readers[n] = watch(t, sub)
				}
			}
		case 2:
			if r := readers[n]; r != nil && rnd.IntN(2) == 0 {
				_ = r.sub.Close()
				<-r.done
				if r.wrong() != "" {
					t.Error(r.wrong())
				}
				delete(readers, n)
			}
		case 3:
			if rnd.IntN(4) == 0 {
				n.down()
				if r := readers[n]; r != nil {
					<-r.done
					if r.wrong() != "" {
						t.Error(r.wrong())
					}
					delete(readers, n)
				}
				time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
				n.up()
			}
		case 4:
			a := w.nodes[0]
			if rnd.IntN(2) == 0 {
				a = n
			}
			if cut[a] = !cut[a]; cut[a] {
				w.cut(pub, a)
			} else {
				w.heal(pub, a)
			}
			m.mu.Lock()
			m.cut[a.id] = cut[a]
			m.mu.Unlock()
		case 5, 6:
			n.say(t, 1+rnd.IntN(20))
		default:
			pub.say(t, 1+rnd.IntN(50))
		}
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
	}
	for a := range cut {
		w.heal(pub, a)
		m.mu.Lock()
		m.cut[a.id] = false
		m.mu.Unlock()
	}
	time.Sleep(3 * time.Minute)
	stay.expect(t, pub, 1, pub.Stats(key).Published)
	for n, r := range readers {
		if r.wrong() != "" {
			t.Error(n.id, r.wrong())
		}
		for _, of := range w.nodes[1:] {
			if l := of.have(key); l != nil && l.ring.next > 1 && of != n && r.upTo(of) != 0 && r.upTo(of) != l.ring.next {
				t.Errorf("%s is at %d of %s's %d", n.id, r.upTo(of), of.id, l.ring.next)
			}
		}
	}
	if m.told() == 0 {
		t.Log("gossip was not used")
	}
}
