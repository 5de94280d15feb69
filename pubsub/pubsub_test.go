package pubsub

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

var (
	seeds = flag.Int("seeds", 8, "schedules that TestDurable runs")
	first = flag.Uint64("seed", 1, "of the first")
)

// ledger is a bound agent that notes what it processes.
type ledger struct {
	mu   sync.Mutex
	last map[string]int
	all  int
	bad  []string
}

func (l *ledger) take(_, payload string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var key string
	var n int
	fmt.Sscan(payload, &key, &n)
	if n != l.last[key]+1 {
		l.bad = append(l.bad, fmt.Sprintf("%s after %d", payload, l.last[key]))
	}
	l.last[key], l.all = n, l.all+1
	return nil
}

func (l *ledger) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

func newLedger() *ledger { return &ledger{last: map[string]int{}} }

// In seeded schedules questions and answers get lost, one agent fails now and then, and the topic moves to another node again and
// again: every message is processed once by each that is bound, and those of a key in their order.
func TestDurable(t *testing.T) {
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { durableSchedule(t, seed) })
		})
	}
}

func durableSchedule(t *testing.T, seed uint64) {
	const keys, each = 5, 60
	s := newStage(t, seed, 3)
	defer s.close()
	ctx := t.Context()
	if _, err := s.rooms[0].Create(ctx, "a/b", topic.Definition{Durable: true, Tries: 1000}, 0); err != nil {
		t.Fatal(err)
	}
	sure, shaky := newLedger(), newLedger()
	s.targets["sure"] = sure.take // before anybody is bound
	s.targets["shaky"] = func(method, payload string) error {
		if s.rng.IntN(10) == 0 {
			return shoal.E(shoal.Failed, "shaky", "not now", "")
		}
		return shaky.take(method, payload)
	}
	for _, name := range []string{"sure", "shaky"} {
		if _, err := s.rooms[1].Bind(ctx, "a/b", topic.Binding{Kind: topic.Agent, To: name, Method: "take", Mode: topic.Each}); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	s.loss = 0.05
	s.mu.Unlock()
	var all sync.WaitGroup
	for k := range keys {
		all.Go(func() {
			for n := 1; n <= each; {
				m := topic.Message{Key: fmt.Sprint("k", k), Body: fmt.Appendf(nil, "k%d %d", k, n)}
				if err := s.rooms[k%3].Publish(ctx, "a/b", m); err == nil { // else it was not told what the topic is
					n++
				}
				time.Sleep(3 * time.Millisecond)
			}
		})
	}
	for i := range 12 {
		time.Sleep(25 * time.Millisecond)
		s.follow(i % 3)
	}
	all.Wait()
	for range 600 { // the topic's own timer goes on calling it
		time.Sleep(time.Second)
		if sure.taken() == keys*each && shaky.taken() == keys*each {
			break
		}
		s.mu.Lock()
		lead := s.lead
		s.mu.Unlock()
		s.follow(lead)
	}
	for name, l := range map[string]*ledger{"sure": sure, "shaky": shaky} {
		if l.all != keys*each || len(l.bad) > 0 {
			t.Errorf("seed %d: %s has %d of %d; %s", seed, name, l.all, keys*each, strings.Join(l.bad[:min(len(l.bad), 5)], ", "))
		}
	}
}

// A message that fails as often as it may is put aside, and what is behind it in its lane goes on.
func TestGivenUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStage(t, 1, 2)
		defer s.close()
		ctx := t.Context()
		if _, err := s.rooms[0].Create(ctx, "a", topic.Definition{Durable: true, Tries: 3}, 0); err != nil {
			t.Fatal(err)
		}
		var got []string
		s.targets["x"] = func(_, payload string) error {
			got = append(got, payload)
			if payload == "bad" {
				return shoal.E(shoal.Failed, "x", "never", "")
			}
			return nil
		}
		if _, err := s.rooms[0].Bind(ctx, "a", topic.Binding{Kind: topic.Agent, To: "x", Method: "m", Mode: topic.Each}); err != nil {
			t.Fatal(err)
		}
		for _, body := range []string{"one", "bad", "two"} {
			if err := s.rooms[1].Publish(ctx, "a", topic.Message{Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		s.still(func() {
			if fmt.Sprint(got) != "[one bad bad bad two]" {
				t.Errorf("processed %v", got)
			}
		})
		dead, err := s.rooms[1].Dead(ctx, "a", "")
		if err != nil || len(dead) != 1 || string(dead[0].Body) != "bad" || dead[0].Try != 3 || !strings.Contains(dead[0].Reason, "never") {
			t.Errorf("put aside: %+v, %v", dead, err)
		}
		if n, err := s.rooms[1].Resend(ctx, "a", "", false); n != 1 || err != nil {
			t.Errorf("sent again: %d, %v", n, err)
		}
		time.Sleep(10 * time.Second)
		s.still(func() {
			if fmt.Sprint(got) != "[one bad bad bad two bad bad bad]" {
				t.Errorf("processed %v", got)
			}
		})
	})
}

// Of a group one member has a message, another if that cannot; whoever asks gets an answer, or an error.
func TestGroups(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStage(t, 1, 2)
		defer s.close()
		ctx := t.Context()
		for _, d := range []topic.Definition{{}, {Durable: true}} {
			name := fmt.Sprint("durable-", d.Durable)
			if _, err := s.rooms[0].Create(ctx, name, d, 0); err != nil {
				t.Fatal(err)
			}
			had := map[string]int{}
			for _, to := range []string{"a", "b", "c"} {
				s.targets[name+to] = func(_, payload string) error {
					if to == "c" {
						return shoal.E(shoal.NotFound, "c", "it is gone", "")
					}
					had[to]++
					return nil
				}
				if _, err := s.rooms[0].Bind(ctx, name, topic.Binding{Kind: topic.Agent, To: name + to, Method: "m", Mode: topic.One}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 90 {
				if err := s.rooms[1].Publish(ctx, name, topic.Message{Key: fmt.Sprint(i)}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(30 * time.Second)
			s.still(func() {
				if had["a"]+had["b"] != 90 || had["a"] < 20 || had["b"] < 20 {
					t.Errorf("%s: %v", name, had)
				}
			})
			if _, err := s.rooms[1].Ask(ctx, name, topic.Message{}); shoal.KindOf(err) != shoal.NotFound {
				t.Errorf("%s: asked nobody: %v", name, err)
			}
			if _, err := s.rooms[0].Bind(ctx, name, topic.Binding{Kind: topic.Agent, To: name + "a", Method: "m", Mode: topic.Ask}); err != nil {
				t.Fatal(err)
			}
			if b, err := s.rooms[1].Ask(ctx, name, topic.Message{Body: []byte("x")}); string(b) != "done x" || err != nil {
				t.Errorf("%s: asked: %s, %v", name, b, err)
			}
		}
	})
}

// A reader hears what is published elsewhere without asking again and again, and a consumer goes on where it was.
func TestReaders(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStage(t, 1, 3)
		defer s.close()
		ctx := t.Context()
		if _, err := s.rooms[0].Create(ctx, "a", topic.Definition{Durable: true}, 0); err != nil {
			t.Fatal(err)
		}
		sub, err := s.rooms[2].Subscribe(ctx, "a", Start{})
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		time.Sleep(25 * time.Second)
		asked := s.net.Asked("pubsub.wait")
		begun := time.Now()
		var late time.Duration
		var all sync.WaitGroup
		all.Go(func() {
			e, err := sub.Next(ctx)
			if late = time.Since(begun); err != nil || string(e.Body) != "hello" || e.Offset != 1 {
				t.Errorf("%+v, %v", e, err)
			}
		})
		time.Sleep(25 * time.Second)
		if err := s.rooms[1].Publish(ctx, "a", topic.Message{Body: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if late > 25*time.Second+100*time.Millisecond || s.net.Asked("pubsub.wait")-asked > 4 {
			t.Errorf("heard after %v, asked %d times", late, s.net.Asked("pubsub.wait")-asked)
		}
		for i := range 2 {
			c, err := s.rooms[i].Subscribe(ctx, "a", Start{Consumer: "c", From: 1})
			if err != nil {
				t.Fatal(err)
			}
			look, cancel := context.WithTimeout(ctx, time.Second)
			e, err := c.Next(look)
			cancel()
			if i == 0 && (err != nil || string(e.Body) != "hello") || i == 1 && shoal.KindOf(err) != shoal.Timeout {
				t.Errorf("consumer, time %d: %+v, %v", i, e, err)
			}
			c.Ack(e.Offset)
			if err := c.Flush(ctx); err != nil {
				t.Error(err)
			}
			c.Close()
		}
	})
}

func TestNames(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStage(t, 1, 1)
		defer s.close()
		for typed, want := range map[string]string{
			"a": "topic:a", "a/b": "topic:a/b", "owner/a/b": "owner/topic:a/b", "owner": "topic:owner", "": "", "a//b": "", "owner/": "", "a b": "",
		} {
			if got, err := s.rooms[0].full(typed); got != want || (err == nil) != (want != "") {
				t.Errorf("%q: %q, %v", typed, got, err)
			}
		}
		if err := s.rooms[0].Publish(t.Context(), "none", topic.Message{}); shoal.KindOf(err) != shoal.NotFound {
			t.Errorf("a topic that there is not: %v", err)
		}
	})
}

// A topic that nothing happens to takes no goroutine.
func TestIdle(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStage(t, 1, 2)
		defer s.close()
		ctx := t.Context()
		if _, err := s.rooms[0].Create(ctx, "a", topic.Definition{Durable: true}, 0); err != nil {
			t.Fatal(err)
		}
		book := newLedger()
		s.targets["book"] = book.take
		if _, err := s.rooms[0].Bind(ctx, "a", topic.Binding{Kind: topic.Agent, To: "book", Method: "take", Mode: topic.Each}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		quiet := runtime.NumGoroutine()
		for n := range 5 {
			if err := s.rooms[1].Publish(ctx, "a", topic.Message{Body: fmt.Appendf(nil, "k %d", n+1)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := runtime.NumGoroutine(); n > quiet || book.taken() != 5 {
			t.Errorf("%d goroutines, %d before; %d messages taken", n, quiet, book.taken())
		}
		time.Sleep(time.Minute)
		for _, p := range s.rooms {
			p.mu.Lock()
			if len(p.topics) > 0 {
				t.Error("a topic is remembered that is not used")
			}
			p.mu.Unlock()
		}
	})
}
