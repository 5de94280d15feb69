package topic

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/nemesis"
)

var (
	seed  = flag.Uint64("seed", 1, "of the first schedule")
	seeds = flag.Int("seeds", 30, "schedules to run")
)

// target is what is bound: it does what it is asked once for each request, as an agent does, and remembers that for a day.
type target struct {
	name     string
	requests map[string]bool
}

// worker dispatches what a consumer gets, to a target. It forgets all of it when it crashes.
type worker struct {
	consumer, name string
	over           bool // it is new
	lost           bool // it did not hear the last answer
	doing          map[uint64]Delivery
	waits          map[string]map[uint64]bool // by key: what failed or was given back, and is not settled
	ack            []uint64
	fail           []Failure
}

// schedule is producers, workers and faults around one topic.
type schedule struct {
	*world
	r       *rand.Rand
	history nemesis.Topic
	sent    map[string]uint64
	targets map[string]*target // by consumer
	workers map[string]*worker
	floors  map[string]uint64
	lives   int
	tries   int
	calm    bool
}

func (s *schedule) publish() {
	who := fmt.Sprint("p", s.r.IntN(3))
	var a Append
	for range 1 + s.r.IntN(4) {
		s.sent[who]++
		a.Messages = append(a.Messages, Message{Publisher: who, Seq: s.sent[who], Key: fmt.Sprint("k", s.r.IntN(4)), Body: []byte("b")})
	}
	var out Appended
	err := s.call("append", a, &out)
	if err != nil {
		s.t.Fatal(err)
	}
	s.kept.Commit()
	known := s.r.IntN(10) > 0 // else the reply never comes
	for i, m := range a.Messages {
		x := nemesis.Sent{Publisher: who, Seq: m.Seq, Key: m.Key}
		if known {
			x.Offset = out.First + uint64(i)
		}
		s.history.Send(x)
	}
}

// work has a worker tell what it did, get more, and do some of it.
func (s *schedule) work(w *worker) {
	q := Fetch{Consumer: w.consumer, Worker: w.name, Over: w.over, Lost: w.lost, Ack: w.ack, Fail: w.fail, Limit: s.r.IntN(8)}
	var p Page
	s.must("fetch", q, &p)
	if w.lost = !s.calm && s.r.IntN(15) == 0; w.lost { // it forgets what it has, and tells again what it did
		w.doing, w.waits = map[uint64]Delivery{}, map[string]map[uint64]bool{}
		return
	}
	for _, o := range p.Dead { // now the next of its key may follow
		for _, waits := range w.waits {
			delete(waits, o)
		}
		delete(w.doing, o)
	}
	w.over, w.ack, w.fail = false, nil, nil
	for _, m := range p.Messages {
		if old, had := w.doing[m.Offset]; had && old.Begun != m.Begun {
			s.t.Fatalf("delivered again with another beginning: %+v, was %+v", m, old)
		}
		w.doing[m.Offset] = m
	}
	for o := uint64(1); o < p.Next; o++ { // in order
		m, mine := w.doing[o]
		if !mine {
			continue
		}
		if w.waits[m.Key] == nil {
			w.waits[m.Key] = map[uint64]bool{}
		}
		if waits := w.waits[m.Key]; len(waits) > 0 && slices.Min(slices.Collect(maps.Keys(waits))) < o {
			delete(w.doing, o)
			waits[o] = true
			w.fail = append(w.fail, Failure{Offset: o, Back: true, After: 200})
			continue
		}
		switch n := s.r.IntN(12); {
		case s.calm || n < 7:
			s.effect(w, m)
			w.ack = append(w.ack, o)
			delete(w.doing, o)
			delete(w.waits[m.Key], o)
		case n < 9:
			if n == 7 {
				s.effect(w, m) // its reply was lost
			}
			f := Failure{Offset: o, Why: "it does not work", After: int64(s.r.IntN(2000)), Final: m.Try >= s.tries}
			w.fail = append(w.fail, f)
			delete(w.doing, o)
			w.waits[m.Key][o] = true
		default: // it takes longer; what follows waits
			return
		}
	}
}

func (s *schedule) effect(w *worker, m Delivery) {
	t := s.targets[w.consumer]
	request := fmt.Sprint(m.Offset, "@", m.Begun)
	if !t.requests[request] {
		t.requests[request] = true
		s.history.Effect(t.name, nemesis.Effect{Publisher: m.Publisher, Seq: m.Seq})
	}
}

// crash has the worker of a consumer lose all it knows; another comes.
func (s *schedule) crash(consumer string) {
	s.lives++
	s.workers[consumer] = &worker{
		consumer: consumer, name: fmt.Sprint("life", s.lives), over: true, doing: map[uint64]Delivery{}, waits: map[string]map[uint64]bool{},
	}
}

// watch checks what must hold at any time.
func (s *schedule) watch() (lag uint64) {
	var list []Consumer
	s.must("consumers", nil, &list)
	for _, c := range list {
		if c.Next < s.floors[c.Name] {
			s.t.Fatalf("the position of %s went from %d to %d", c.Name, s.floors[c.Name], c.Next)
		}
		s.floors[c.Name] = c.Next
		lag += c.Lag
		var p Page
		s.must("dead", Read{Consumer: c.Name}, &p)
		for _, m := range p.Messages {
			s.history.GiveUp(s.targets[c.Name].name, m.Publisher, m.Seq)
		}
		if len(p.Messages) != c.Dead || c.Gone > 0 || c.Missed > 0 {
			s.t.Fatalf("%+v has given up %d", c, len(p.Messages))
		}
	}
	if _, set := s.timers["tend"]; lag > 0 && !set {
		s.t.Fatal("messages wait, and nothing would wake the topic")
	}
	return lag
}

func (s *schedule) run() {
	for i := range 3 {
		var b Binding
		s.must("bind", Binding{Kind: Agent, To: fmt.Sprint("t", i), Method: "do", Mode: []string{Each, One, Each}[i]}, &b)
		s.targets[b.Consumer()] = &target{fmt.Sprint("t", i), map[string]bool{}}
		s.crash(b.Consumer())
	}
	for range 300 {
		s.pass(time.Duration(s.r.IntN(300)) * time.Millisecond)
		for _, consumer := range slices.Sorted(maps.Keys(s.workers)) {
			w := s.workers[consumer]
			switch s.r.IntN(20) {
			case 0:
				s.crash(consumer)
			case 1:
				s.pass(time.Duration(s.r.IntN(4000)) * time.Millisecond)
			case 2:
				if s.r.IntN(4) == 0 {
					s.watch()
					var n int
					s.must("resend", Resend{Consumer: consumer}, &n)
				}
			default:
				s.work(w)
			}
		}
		if s.r.IntN(2) == 0 {
			s.publish()
		}
		s.watch()
	}
	s.calm = true
	for i := 0; s.watch() > 0; i++ {
		if i > 2000 {
			s.t.Fatalf("messages wait for ever")
		}
		s.pass(500 * time.Millisecond)
		for _, consumer := range slices.Sorted(maps.Keys(s.workers)) {
			s.work(s.workers[consumer])
		}
	}
	if fired := s.pass(time.Minute); len(fired) > 1 {
		s.t.Fatalf("nothing waits, and timers fire: %q", fired)
	}
	var names []string
	for _, t := range s.targets {
		names = append(names, t.name)
	}
	if err := s.history.Check(names...); err != nil {
		s.t.Fatal(err)
	}
}

// TestSchedules: whatever workers do, every message that was taken takes effect once at each binding, in the order of its key, or is given up.
func TestSchedules(t *testing.T) {
	n := *seeds
	if testing.Short() {
		n = min(n, 10)
	}
	for i := range n {
		x := *seed + uint64(i)
		ok := t.Run(fmt.Sprint("seed=", x), func(t *testing.T) {
			r := rand.New(rand.NewPCG(x, 66))
			tries := 1 + r.IntN(5)
			s := &schedule{
				world: newWorld(t, Definition{Durable: true, AckWait: 3 * time.Second, Tries: tries}), r: r, tries: tries, sent: map[string]uint64{},
				targets: map[string]*target{}, workers: map[string]*worker{}, floors: map[string]uint64{},
			}
			s.run()
		})
		if !ok {
			t.Fatalf("go test ./pubsub/topic -run TestSchedules -seed %d -seeds 1", x)
		}
	}
}

var _ shoal.Behaviour = Behaviour{}
