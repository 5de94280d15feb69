package actors

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// stage is a small world: five nodes, a millisecond apart, whose disks take a millisecond.
type stage struct {
	now    time.Duration
	queue  queue
	seq    int
	rng    *rand.Rand
	up     [5]bool
	life   [5]uint64
	born   [5]time.Duration
	broken []string
	troupe *Troupe
	lost   bool          // messages are lost now
	apart  [5]bool       // these and the others do not hear of each other,
	since  time.Duration // since then
	sent   int
	counts map[string]int
	uses   map[[2]Node]int
}

type queued struct {
	at  time.Duration
	seq int
	f   func()
}

type queue []queued

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(queued)) }
func (q *queue) Pop() any {
	o := *q
	x := o[len(o)-1]
	*q = o[:len(o)-1]
	return x
}

func newStage(seed uint64) *stage {
	s := &stage{rng: rand.New(rand.NewPCG(seed, 1)), counts: map[string]int{}, uses: map[[2]Node]int{}}
	for i := range s.up {
		s.up[i], s.life[i] = true, 1
	}
	s.troupe = New(s)
	return s
}

func (s *stage) Now() time.Duration { return s.now }
func (s *stage) After(d time.Duration, f func()) {
	s.seq++
	heap.Push(&s.queue, queued{s.now + d, s.seq, f})
}
func (s *stage) Up(n Node) bool            { return s.up[n] }
func (s *stage) Hears(a, b Node) bool      { return s.up[a] && s.up[b] && s.apart[a] == s.apart[b] }
func (s *stage) Life(n Node) uint64        { return s.life[n] }
func (s *stage) Born(n Node) time.Duration { return s.born[n] }

func (s *stage) Way(Node, Node) time.Duration { return time.Millisecond }
func (s *stage) Calm() bool                   { return !s.lost && s.apart == [5]bool{} }
func (s *stage) Zone(Node) string             { return "" }
func (s *stage) Sent(bytes int)               { s.sent += bytes }

func (s *stage) Post(from, to Node, bytes int, f func()) {
	if s.sent += bytes; !s.up[from] || s.lost && s.rng.IntN(3) == 0 {
		return
	}
	life := s.life[to]
	s.After(time.Millisecond, func() {
		if s.Hears(from, to) && s.life[to] == life {
			f()
		}
	})
}

func (s *stage) Sync(n Node, f func()) {
	life := s.life[n]
	s.After(time.Millisecond, func() {
		if s.up[n] && s.life[n] == life {
			f()
		}
	})
}

func (s *stage) Carry(from, to Node, _ uint64, f func(bool)) {
	s.After(time.Millisecond, func() { f(s.Hears(from, to)) })
}

func (s *stage) Spare(at Node, not []Node, _ []string) (Node, bool) {
	for n := range Node(5) {
		taken := !s.Hears(at, n)
		for _, x := range not {
			taken = taken || x == n
		}
		if !taken {
			return n, true
		}
	}
	return 0, false
}
func (s *stage) Free(not []Node) int      { return max(0, 5-len(not)) }
func (s *stage) Peer(n Node) shoal.PeerID { return shoal.PeerID(fmt.Sprintf("n%d", n)) }
func (s *stage) Node(p shoal.PeerID) Node { return Node(p[1] - '0') }
func (s *stage) Gone(at, n Node) bool {
	return !s.up[n] || s.apart[at] != s.apart[n] && s.now-s.since >= Missing
}
func (s *stage) Rate(Node, Node) float64 { return 1e8 }
func (s *stage) Dice(n int64) int64      { return s.rng.Int64N(n) }
func (s *stage) Count(leaf string)       { s.counts[leaf]++ }
func (s *stage) Use(from, to Node)       { s.uses[[2]Node{from, to}]++ }
func (s *stage) Release(from, to Node) {
	if s.uses[[2]Node{from, to}]--; s.uses[[2]Node{from, to}] < 0 {
		s.Broken("more signs of life were ended than begun")
	}
}

// alive is how many signs of life go on.
func (s *stage) alive() (n int) {
	for _, uses := range s.uses {
		n += uses
	}
	return n
}
func (s *stage) Moved(*Agent, Node)      { s.counts["moved"]++ }
func (s *stage) Broken(invariant string) { s.broken = append(s.broken, invariant) }
func (s *stage) run(until time.Duration) {
	for len(s.queue) > 0 && s.queue[0].at <= until {
		e := heap.Pop(&s.queue).(queued)
		s.now = e.at
		e.f()
	}
	s.now = until
}

func (s *stage) kill(n Node, back time.Duration) {
	s.up[n] = false
	s.life[n]++
	s.troupe.Down(n)
	s.After(back, func() {
		s.up[n], s.born[n] = true, s.now
		s.troupe.Started(n)
	})
}

// part keeps some nodes and all others from hearing of each other for a while.
func (s *stage) part(some []Node, lasts time.Duration) {
	s.troupe.Stir()
	s.since = s.now
	for _, n := range some {
		s.apart[n] = true
	}
	s.troupe.Parted()
	s.After(lasts, func() {
		s.apart = [5]bool{}
		s.troupe.Healed()
	})
}

// write calls an agent again and again, one call after the other, at whoever may lead it, and returns a count of the replies.
func (s *stage) write(a *Agent, name string) *int {
	done, number, at := new(int), uint64(0), Node(0)
	var next func()
	next = func() {
		number++
		q := Question{Payload: []byte(name), Request: turn.Request{Session: turn.Session(1.7e12, name), Number: number, Done: number}}
		var try func()
		answered := false
		try = func() {
			if answered {
				return
			}
			again := q
			if s.up[at] {
				s.troupe.Ask(at, a, &again, func(x Answer) {
					switch {
					case answered:
					case x.Done:
						answered = true
						*done++
						s.After(time.Duration(50+s.rng.IntN(150))*time.Millisecond, next)
					case x.Led:
						at = x.Leader
					}
				})
			}
			s.After(time.Duration(200+s.rng.IntN(200))*time.Millisecond, func() {
				if !answered {
					at = Node(s.rng.IntN(3))
					try()
				}
			})
		}
		try()
	}
	next()
	return done
}

func born() ([]Node, uint64) { return []Node{0, 1, 2}, 100 }

// ordeal writes while nodes lose their power, one or all at once, and messages are lost.
func ordeal(seed uint64) (s *stage, done int) {
	s = newStage(seed)
	a := s.troupe.Agent(1, born)
	one, two := s.write(a, "a"), s.write(a, "b")
	for i := range 20 {
		s.After(time.Duration(i+1)*3*time.Second+time.Duration(s.rng.IntN(1000))*time.Millisecond, func() {
			switch s.rng.IntN(3) {
			case 0:
				s.kill(Node(s.rng.IntN(3)), 2*time.Second)
			case 1:
				for n := range Node(3) { // all at once: what only one of them has synced must not count
					if s.up[n] {
						s.kill(n, time.Second)
					}
				}
			default:
				s.troupe.Stir()
				s.lost = true
				s.After(time.Second, func() { s.lost = false })
			}
		})
	}
	s.run(75 * time.Second)
	return s, *one + *two
}

func TestNothingAcknowledgedIsLost(t *testing.T) {
	for seed := range uint64(6) {
		s, done := ordeal(seed)
		if len(s.broken) > 0 || done < 300 {
			t.Errorf("seed %d: %d replies, %v", seed, done, s.broken)
		}
	}
}

// TestTheCheckerSees: when the disks of two keepers of three go back to what they had some turns ago, acknowledged turns are lost, and
// that is noticed.
func TestTheCheckerSees(t *testing.T) {
	seen := ""
	for seed := range uint64(6) {
		s := newStage(seed)
		a := s.troupe.Agent(1, born)
		s.write(a, "a")
		s.run(10 * time.Second)
		// The disks of two keepers go back to what they had some turns ago.
		for _, m := range a.members[:2] {
			m.stored.Entries = m.stored.Entries[:len(m.stored.Entries)/2]
			last := m.stored.Entries[len(m.stored.Entries)-1]
			m.stored.Mark.Index, m.stored.Mark.Turn, m.stored.Hard.Commit = last.Index, last.Index, last.Index
			m.stored.Mark.Term = last.Term
			m.undo = nil
			delete(m.kv, "ucount")
		}
		for n := range Node(3) {
			s.kill(n, time.Second)
		}
		s.up[2] = false
		s.run(30 * time.Second)
		seen += strings.Join(s.broken, "\n")
	}
	if !strings.Contains(seen, "an acknowledged turn is lost") {
		t.Errorf("what was seen: %q", seen)
	}
}

func TestAgentsRestAndWake(t *testing.T) {
	s := newStage(1)
	a := s.troupe.Agent(1, born)
	replies := 0
	ask := func() {
		s.troupe.Ask(0, a, &Question{Payload: []byte("x"), Request: turn.Named(fmt.Sprint(s.now))}, func(x Answer) {
			if x.Done {
				replies++
			}
		})
	}
	ask()
	s.run(20 * time.Second)
	if n := s.troupe.Awake(); n != 3 || replies != 1 {
		t.Fatalf("%d groups, %d replies", n, replies)
	}
	if len(s.uses) != 6 || s.alive() != 6 { // each of three keepers to the two others
		t.Fatalf("signs of life: %v", s.uses)
	}
	s.run(40 * time.Second)
	if n := s.alive(); n != 0 {
		t.Fatalf("of agents that sleep there are %d signs of life", n)
	}
	if n := s.troupe.Awake(); n != 0 || len(s.queue) > 3 {
		t.Fatalf("%d groups, %d events are due", n, len(s.queue))
	}
	ask()
	s.run(50 * time.Second)
	if replies != 2 || len(s.broken) > 0 {
		t.Fatalf("%d replies, %v", replies, s.broken)
	}
}

func TestAgentsFollowWhatTheyRead(t *testing.T) {
	s := newStage(1)
	a := s.troupe.Agent(1, born)
	for i := range 100 {
		s.After(time.Duration(i)*200*time.Millisecond, func() {
			at, ok := a.Leader()
			if !ok {
				at = 0
			}
			s.troupe.Ask(at, a, &Question{Read: true, Fetch: func(a *Agent, at Node, done func()) {
				took := 50 * time.Millisecond
				if at == 4 {
					took = 0
				}
				s.After(took, func() {
					a.Paid(at, 4, 1e6, took)
					done()
				})
			}}, func(Answer) {})
		})
	}
	s.run(25 * time.Second)
	if at, ok := a.Leader(); !ok || at != 4 || s.counts["moved"] != 1 || len(s.broken) > 0 || len(a.Keepers()) != 3 {
		t.Errorf("it lives on %d (%v), moved %d times, %v, kept by %v", at, ok, s.counts["moved"], s.broken, a.Keepers())
	}
}

// TestPartition: who is cut off leads no more, and if it lasts somebody else gets the place; those that are cut off together do nothing.
func TestPartition(t *testing.T) {
	for lasts, keeps := range map[time.Duration]bool{Missing - time.Second: true, Missing + 5*time.Second: false} {
		s := newStage(3)
		a := s.troupe.Agent(1, born)
		read := func(at Node) (done bool) {
			s.troupe.Ask(at, a, &Question{Read: true}, func(x Answer) { done = x.Done })
			s.run(s.now + time.Second)
			return done
		}
		for range 5 {
			read(0)
		}
		if at, ok := a.Leader(); !ok || at != 0 {
			t.Fatalf("it lives on %d (%v)", at, ok)
		}
		s.part([]Node{0, 4}, lasts)
		answered := 0
		for end := s.now + lasts; s.now < end; {
			if s.apart[0] && s.now > s.since+Lease && read(0) && s.apart[0] {
				t.Fatalf("%v after the begin, of %v, who is cut off answers", s.now-s.since, lasts)
			}
			if read(1) || read(2) {
				answered++
			}
		}
		if answered < 15 {
			t.Errorf("without their leader the others answered %d times", answered)
		}
		s.run(s.now + 10*time.Second)
		list := a.Keepers()
		slices.Sort(list)
		if want := map[bool][]Node{true: {0, 1, 2}, false: {1, 2, 3}}[keeps]; !slices.Equal(list, want) || len(s.broken) > 0 {
			t.Errorf("after %v it is kept by %v, not %v; %v", lasts, list, want, s.broken)
		}
	}
}
