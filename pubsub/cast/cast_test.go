package cast

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

func TestNodeAlone(t *testing.T) {
	inWorld(t, 1, Config{}, func(t *testing.T, w *world) {
		n := w.nodes[0]
		n.say(t, 3)
		r := n.read(t, Start{})
		old := n.read(t, Start{Recent: true})
		n.say(t, 5)
		time.Sleep(time.Second)
		r.expect(t, n, 4, 8)
		old.expect(t, n, 1, 8)
		list := []topic.Message{{Body: []byte("m9"), Key: "k", Trace: "t"}, {Data: "bafy"}}
		if err := n.Publish(t.Context(), key, list...); err != nil {
			t.Fatal(err)
		}
		if m := list[1]; m.Seq != 10 || m.Epoch == 0 || m.At == 0 || m.Publisher != string(n.id) {
			t.Errorf("it was not filled in: %+v", m)
		}
		time.Sleep(time.Second)
		if e := r.events()[len(r.events())-2]; e.Key != "k" || e.Trace != "t" || string(e.Body) != "m9" || e.At != list[0].At {
			t.Errorf("came as %+v", e.Message)
		}
		if e := r.events()[len(r.events())-1]; e.Data != "bafy" || e.Body != nil {
			t.Errorf("came as %+v", e.Message)
		}
		if s := n.Stats(key); s.Published != 10 || s.Locals != 2 || s.Lost != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestTwoNodes(t *testing.T) {
	inWorld(t, 2, Config{}, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		early := b.read(t, Start{}) // before the publisher came: nothing of it may be missed
		a.say(t, 100)
		time.Sleep(time.Second)
		early.expect(t, a, 1, 100)
		recent := b.read(t, Start{Recent: true})
		late := b.read(t, Start{})
		at := time.Now()
		time.Sleep(time.Millisecond)
		a.say(t, 100)
		time.Sleep(time.Second)
		since := b.read(t, Start{Since: at})
		time.Sleep(time.Second)
		early.expect(t, a, 1, 200)
		recent.expect(t, a, 1, 200)
		late.expect(t, a, 101, 200)
		since.expect(t, a, 101, 200)
		if n := w.net.Asked(followMethod); n != 1 {
			t.Errorf("%d streams for four subscriptions of one node", n)
		}
		for _, r := range []*reader{early, recent, late, since} {
			_ = r.sub.Close()
			<-r.done
		}
		time.Sleep(time.Second)
		if s := a.Stats(key); s.Streams != 0 {
			t.Errorf("%d streams after the last subscription", s.Streams)
		}
		w.mu.Lock()
		v := w.topics[key].join(topic.Presence{}, time.Now())
		w.mu.Unlock()
		if v.Subscribed != 0 || len(v.Pubs) != 1 {
			t.Errorf("the topic's agent still has %d subscribers and %d publishers", v.Subscribed, len(v.Pubs))
		}
		again := b.read(t, Start{})
		a.say(t, 3)
		time.Sleep(time.Second)
		again.expect(t, a, 201, 203)
	})
}

func TestLateSubscriberBeginsWithWhatIsRecent(t *testing.T) {
	inWorld(t, 2, Config{Ring: 8 << 10}, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		a.say(t, 1000)
		time.Sleep(time.Second)
		r := b.read(t, Start{Recent: true})
		time.Sleep(time.Second)
		if len(r.events()) < 10 || len(r.events()) > 900 || r.events()[0].Gap != nil {
			t.Fatalf("%d came", len(r.events()))
		}
		r.expect(t, a, r.events()[0].Seq, 1000)
	})
}

// Cut off for a while: what is missed is pulled, of what the ring has lost a gap tells.
func TestCutOff(t *testing.T) {
	for _, ring := range []int{8 << 20, 8 << 10} {
		t.Run(fmt.Sprint(ring), func(t *testing.T) {
			inWorld(t, 3, Config{Ring: ring}, func(t *testing.T, w *world) {
				a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
				rb, rc := b.read(t, Start{}), c.read(t, Start{})
				a.say(t, 10)
				time.Sleep(time.Second)
				w.cut(a, b)
				synctest.Wait() // the stream breaks
				for range 100 {
					a.say(t, 10)
					time.Sleep(100 * time.Millisecond)
				}
				rb.expect(t, a, 1, 10)
				rc.expect(t, a, 1, 1010)
				w.heal(a, b)
				time.Sleep(10 * time.Second)
				if ring > 1<<20 {
					rb.expect(t, a, 1, 1010)
					return
				}
				if rb.wrong() != "" || rb.upTo(a) != 1011 {
					t.Error(rb.wrong(), rb.upTo(a))
				}
				gaps := 0
				for _, e := range rb.events() {
					if e.Gap != nil {
						gaps++
						if e.Gap.From != 11 || e.Gap.Publisher != string(a.id) {
							t.Errorf("gap %+v", *e.Gap)
						}
					}
				}
				if gaps != 1 || b.Stats(key).Lost == 0 {
					t.Errorf("%d gaps, %+v", gaps, b.Stats(key))
				}
			})
		})
	}
}

func TestPublisherStartsAnew(t *testing.T) {
	inWorld(t, 3, Config{}, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		r := b.read(t, Start{})
		a.say(t, 10)
		time.Sleep(time.Second)
		a.down()
		time.Sleep(3 * time.Second)
		a.up()
		a.say(t, 7)
		time.Sleep(10 * time.Second)
		if r.wrong() != "" || len(r.events()) != 17 || r.events()[16].Seq != 7 || r.events()[10].Seq != 1 || r.events()[10].Epoch <= r.events()[9].Epoch {
			t.Errorf("%d came; %s", len(r.events()), r.wrong())
		}
	})
}

func TestSubscriberStartsAnew(t *testing.T) {
	inWorld(t, 2, Config{}, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		r := b.read(t, Start{})
		a.say(t, 10)
		time.Sleep(time.Second)
		b.down()
		<-r.done
		at := time.Now()
		time.Sleep(time.Second)
		a.say(t, 10)
		b.up()
		r = b.read(t, Start{Since: at})
		a.say(t, 10)
		time.Sleep(time.Second)
		r.expect(t, a, 11, 30)
	})
}

// Who reads slowly has gaps, and keeps nobody waiting.
func TestSlowReader(t *testing.T) {
	inWorld(t, 3, Config{Inbox: 16 << 10}, func(t *testing.T, w *world) {
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		slow, err := b.Subscribe(t.Context(), key, Start{})
		if err != nil {
			t.Fatal(err)
		}
		fast := b.read(t, Start{})
		for range 200 {
			a.say(t, 5)
			c.say(t, 1)
			time.Sleep(10 * time.Millisecond)
		}
		fast.expect(t, a, 1, 1000)
		fast.expect(t, c, 1, 200)
		r := watch(t, slow)
		time.Sleep(time.Second)
		a.say(t, 1)
		time.Sleep(time.Second)
		if r.wrong() != "" {
			t.Error(r.wrong())
		}
		gaps := map[string]uint64{}
		for _, e := range r.events() {
			if e.Gap != nil {
				gaps[e.Gap.Publisher] += e.Gap.To - e.Gap.From + 1
			}
		}
		if gaps[string(a.id)] < 100 || gaps[string(c.id)] < 10 {
			t.Errorf("gaps %v", gaps)
		}
		for _, n := range []*node{a, c} {
			if next := r.upTo(n); next != n.Stats(key).Published+1 {
				t.Errorf("of %s it is at %d", n.id, next)
			}
		}
	})
}

func (n *node) epochOf() uint64 { return n.have(key).epoch }

// While the topic's agent cannot be reached, who knows the topic goes on.
func TestAgentAway(t *testing.T) {
	inWorld(t, 3, Config{}, func(t *testing.T, w *world) {
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		r := b.read(t, Start{})
		a.say(t, 1)
		time.Sleep(time.Second)
		w.mu.Lock()
		w.down = true
		w.mu.Unlock()
		a.say(t, 9)
		own := a.read(t, Start{}) // it has a view
		a.say(t, 10)
		time.Sleep(5 * time.Minute)
		r.expect(t, a, 1, 20)
		own.expect(t, a, 11, 20)
		if _, err := c.Subscribe(t.Context(), key, Start{}); shoal.KindOf(err) != shoal.Unavailable {
			t.Errorf("a topic that is not known: %v", err)
		}
		c.say(t, 5) // nobody can know of it yet
		time.Sleep(time.Minute)
		w.mu.Lock()
		w.down = false
		w.mu.Unlock()
		time.Sleep(time.Minute)
		r.expect(t, c, 1, 5)
	})
}

func TestNoSuchTopic(t *testing.T) {
	inWorld(t, 1, Config{}, func(t *testing.T, w *world) {
		other := shoal.NameKey("agent", "none")
		if _, err := w.nodes[0].Subscribe(t.Context(), other, Start{}); shoal.KindOf(err) != shoal.NotFound {
			t.Error(err)
		}
		_ = w.nodes[0].Publish(t.Context(), other, topic.Message{})
		time.Sleep(time.Second)
		if err := w.nodes[0].Publish(t.Context(), other, topic.Message{}); shoal.KindOf(err) != shoal.NotFound {
			t.Error(err)
		}
		if err := w.nodes[0].Publish(t.Context(), key, topic.Message{Publisher: "peer-007"}); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("in another node's name: %v", err)
		}
		if err := w.nodes[0].Publish(t.Context(), key, topic.Message{Body: make([]byte, topic.MaxBody+1)}); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("too long: %v", err)
		}
	})
}

func TestSubscriptionEnds(t *testing.T) {
	inWorld(t, 1, Config{}, func(t *testing.T, w *world) {
		sub, err := w.nodes[0].Subscribe(t.Context(), key, Start{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := sub.Next(ctx); shoal.KindOf(err) != shoal.Timeout {
			t.Errorf("at its deadline: %v", err)
		}
		_ = sub.Close()
		if _, err := sub.Next(t.Context()); shoal.KindOf(err) != shoal.Canceled {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A topic that nobody uses is forgotten, and comes back as another life.
func TestForgotten(t *testing.T) {
	inWorld(t, 2, Config{}, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		a.say(t, 10)
		was := a.epochOf()
		time.Sleep(2 * idleFor)
		synctest.Wait()
		if a.have(key) != nil || a.kept.Load() != 0 {
			t.Fatalf("it is still there, and %d bytes", a.kept.Load())
		}
		r := b.read(t, Start{})
		a.say(t, 3)
		time.Sleep(time.Second)
		r.expect(t, a, 1, 3)
		if a.epochOf() <= was {
			t.Error("the same life")
		}
	})
}

// All topics together keep no more than they may.
func TestRingsAreBounded(t *testing.T) {
	inWorld(t, 1, Config{Rings: 1 << 20}, func(t *testing.T, w *world) {
		n := w.nodes[0]
		for i := range 20 {
			k := shoal.NameKey("agent", fmt.Sprint(i))
			w.mu.Lock()
			w.topics[k] = &agent{until: map[topic.Presence]time.Time{}}
			w.mu.Unlock()
			for range 100 {
				if err := n.Publish(t.Context(), k, topic.Message{Body: make([]byte, 2000)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		sum := 0
		for _, l := range n.all() {
			l.mu.Lock()
			sum += l.ring.bytes
			if l.ring.next-l.ring.first < 1 {
				t.Error("a topic keeps nothing")
			}
			l.mu.Unlock()
		}
		little := shoal.NameKey("agent", "0")
		if r := &n.have(little).ring; r.next-r.first < 10 { // the first topic was not emptied for those that came after it
			t.Errorf("a topic keeps %d messages", r.next-r.first)
		}
		if int64(sum) != n.kept.Load() || sum > 1<<20 {
			t.Errorf("%d bytes are kept, counted as %d", sum, n.kept.Load())
		}
	})
}
