package kad

import (
	"cmp"
	"math/bits"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/dht/patience"
)

// Net is what a lookup needs to know of the network.
type Net interface {
	// Trips is how long n round trips between a and b take, begun now; false: they do not come to an end, for b is down or a way is cut.
	Trips(a, b uint32, n int) (time.Duration, bool)
}

// Searcher does lookups. One goroutine owns it, and the space, tables, links and net that it uses.
type Searcher struct {
	Space  *Space
	Tables Tables
	Links  *Links
	Net    Net

	// Handshake is how many round trips a dial takes until the transport's connection stands.
	Handshake int
	// Greet is how many more the first request on a new connection waits for: members show each other their credentials.
	Greet int
	// First has lookups end once somebody has what is sought.
	First bool
	// Alpha and Beta are those of a kad-dht that is set up otherwise than package dht does; 0: as there.
	Alpha, Beta int

	// Members says that nodes know all members: whom one loses from a table in which there is room it tries again, though nobody asks for it.
	Members bool

	silent silences
	far    []patience.Strangers // by place
	peers  []peer               // heard of, nearest first
	wait   []flight             // asked, in the order in which they were
	buf    []uint32
	near   []ranked
	now    time.Duration // when the lookup began
	from   uint32
	key    uint64
	has    func(uint32) bool
	r      Result
}

// Result says what came of a lookup. It is valid until the searcher's next.
type Result struct {
	Time     time.Duration // from the call until it returned
	Hops     int           // depth of the closest peer found: one of the own table has 1; 0: none was found
	Asked    int           // requests sent
	Answered int           // answers that came
	Dials    int           // connections made
	Silent   int           // peers that were asked or dialled in vain
	Found    []uint32      // the closest that are not known to be dead, K at most, nearest first

	Holders int           // answers of peers that had what was sought
	Holder  uint32        // the first that had what was sought
	HeardIn time.Duration // when it answered; -1: nobody had it
}

// States of a peer in a lookup, as in kad-dht's qpeerset.
const (
	heard uint8 = iota
	waiting
	queried
	unreachable
)

// most is how many of the peers heard of are remembered: the nearest. kad-dht remembers all; what lies beyond is not
// asked unless nearly all of these are dead.
const most = 64

type peer struct {
	dist  uint64
	place uint32
	depth uint8
	state uint8
}

// flight is a request under way.
type flight struct {
	dist    uint64
	place   uint32
	depth   uint8
	ok      bool          // it will be answered
	met     bool          // they knew each other's credentials before the connection
	sent    bool          // the request itself was, or will be, sent at linked
	dial    time.Duration // how long a dial takes that succeeds; 0: there is none
	begun   time.Duration // all of these since the lookup began
	linked  time.Duration // when the dial is through, or has failed
	answer  time.Duration // when the answer is there, or it is given up
	waiting bool
}

// Find looks for the nodes closest to key, as GetClosestPeers and FindProvidersAsync do, from the node at a place, which is up.
// has, if not nil, says which nodes have what is sought.
func (s *Searcher) Find(from uint32, key uint64, now time.Duration, has func(place uint32) bool) *Result {
	s.now, s.from, s.key, s.has = now, from, key, has
	s.r = Result{Found: s.r.Found[:0], HeardIn: -1}
	s.peers, s.wait = s.peers[:0], s.wait[:0]
	if has != nil && has(from) {
		if s.r.Holder, s.r.HeardIn = from, 0; s.First {
			return &s.r
		}
	}
	s.buf = s.Tables.Closest(from, key, K, now, s.buf[:0])
	s.hear(1)
	at := s.run()
	if s.First && s.r.HeardIn >= 0 {
		for i := range s.wait {
			if f := &s.wait[i]; f.sent && f.linked <= at {
				s.r.Asked++
			}
		}
		s.r.Time = s.r.HeardIn
		return &s.r
	}
	at = s.settle(at)
	s.r.Time = s.followUp(at)
	return &s.r
}

// hear takes in what an answer names, s.buf.
func (s *Searcher) hear(depth uint8) {
	// All distances first: the processor fetches the ids from memory side by side.
	ids, near := s.Space.ids, s.near[:0]
	for _, v := range s.buf {
		near = append(near, ranked{ids[v] ^ s.key, v})
	}
	s.near = near
	for len(near) > K { // only the closest are in an answer
		far := 0
		for i := range near {
			if near[i].dist > near[far].dist {
				far = i
			}
		}
		near[far] = near[len(near)-1]
		near = near[:len(near)-1]
	}
	peers := s.peers
	for _, v := range near {
		n := len(peers)
		if n == most && v.dist >= peers[n-1].dist {
			continue
		}
		low := 0
		for left := n; left > 0; { // without branches, which nobody could predict: less is 1 or 0
			half := (left + 1) >> 1
			_, less := bits.Sub64(peers[low+half-1].dist, v.dist, 0)
			low += half * int(less)
			left -= half
		}
		if low < n && peers[low].dist == v.dist {
			continue
		}
		if n < most {
			peers = append(peers, peer{})
		}
		copy(peers[low+1:], peers[low:])
		peers[low] = peer{dist: v.dist, place: v.place, depth: depth}
	}
	s.peers = peers
}

// run asks until the closest have answered or nobody is left, and returns when that is.
func (s *Searcher) run() (at time.Duration) {
	flying, alpha := 0, cmp.Or(s.Alpha, Alpha)
	for {
		if s.done() || s.First && s.r.HeardIn >= 0 {
			return at
		}
		for i := 0; i < len(s.peers) && flying < alpha; i++ {
			if p := &s.peers[i]; p.state == heard {
				p.state = waiting
				s.wait = append(s.wait, s.send(p.place, p.dist, p.depth, at))
				flying++
			}
		}
		next := -1
		for i := range s.wait {
			if f := &s.wait[i]; f.waiting && (next < 0 || f.answer < s.wait[next].answer) {
				next = i
			}
		}
		f := &s.wait[next]
		f.waiting = false
		flying--
		at = f.answer
		s.land(f)
	}
}

// done reports whether the lookup ends: the Beta closest that are not dead have answered, or all there are.
func (s *Searcher) done() bool {
	left := cmp.Or(s.Beta, Beta)
	for i := range s.peers {
		switch s.peers[i].state {
		case queried:
			if left--; left == 0 {
				return true
			}
		case heard, waiting:
			return false
		}
	}
	return true
}

// stranger is what the node at a place learnt of dials.
func (s *Searcher) stranger(place uint32) *patience.Strangers {
	if s.far == nil {
		s.far = make([]patience.Strangers, s.Space.Len())
	}
	return &s.far[place]
}

// Unlearn has all nodes forget how long dials took.
func (s *Searcher) Unlearn() { clear(s.far) }

// dialled has the asker learn of a dial, if one was made.
func (s *Searcher) dialled(f *flight) {
	if f.dial > 0 {
		s.stranger(s.from).Took(f.dial, Step)
	}
}

// land takes an answer in, or that there will be none.
func (s *Searcher) land(f *flight) {
	state := unreachable
	s.dialled(f)
	if f.ok {
		state = queried
		s.answered(f)
		s.buf = s.Tables.Closest(f.place, s.key, K, s.now+f.answer, s.buf[:0])
		if i := slices.Index(s.buf, s.from); i >= 0 { // an answer does not name the asker, but one more in its place
			if len(s.buf) <= K {
				s.buf = s.Tables.Closest(f.place, s.key, K+1, s.now+f.answer, s.buf[:0])
				i = slices.Index(s.buf, s.from)
			}
			s.buf[i] = s.buf[len(s.buf)-1]
			s.buf = s.buf[:len(s.buf)-1]
		}
		s.hear(f.depth + 1)
	} else {
		s.Tables.Lost(s.from, f.place, s.now+f.answer)
	}
	for i := range s.peers {
		if s.peers[i].dist == f.dist {
			s.peers[i].state = state
			break
		}
	}
}

// answered counts an answer.
func (s *Searcher) answered(f *flight) {
	s.r.Answered++
	s.Tables.Met(s.from, f.place, s.now+f.answer)
	s.silent.forget(s.from, f.place)
	if s.has == nil || !s.has(f.place) {
		return
	}
	if s.r.Holders++; s.r.HeardIn < 0 || f.answer < s.r.HeardIn {
		s.r.Holder, s.r.HeardIn = f.place, f.answer
	}
}

// send has a peer be dialled, if need be, and asked.
func (s *Searcher) send(place uint32, dist uint64, depth uint8, at time.Duration) flight {
	f := flight{dist: dist, place: place, depth: depth, begun: at, linked: at, answer: at, waiting: true}
	open := s.Links.Open(s.from, place)
	v, hangs := s.silence(place, s.now+at)
	if s.now+at < v.until {
		s.r.Silent++
		return f
	}
	if open = open || s.now+at < hangs; !open {
		f.met = s.Links.Met(s.from, place)
		way, ok := s.Net.Trips(s.from, place, s.Handshake+1) // the last: identify
		f.linked += way
		if ok && way <= dialTime {
			f.dial = way
		}
		if wait := s.stranger(s.from).Wait(Step); f.dial == 0 || way > wait {
			if f.answer = at + wait; f.dial > 0 {
				s.Links.Dial(s.from, place) // it goes on, and is there for a later step
			} else {
				f.answer = at + v.dialled(s.now+at, wait)
				s.vain(place, s.now+f.answer, v)
			}
			f.linked = f.answer
			s.r.Silent++
			return f
		}
		s.r.Dials++
		s.Links.Dial(s.from, place)
	}
	return s.ask(f, open)
}

// ask completes a flight by the request on a connection.
func (s *Searcher) ask(f flight, open bool) flight {
	n := 1
	if !open && !f.met {
		n += s.Greet
	}
	way, ok := s.Net.Trips(s.from, f.place, n)
	wait := patience.Known(Step, way/time.Duration(n))
	if !open {
		wait = s.stranger(s.from).Wait(Step)
	}
	f.sent = true
	if !ok || way > wait {
		f.answer = f.linked + wait
		v, _ := s.silence(f.place, s.now+f.answer)
		s.vain(f.place, s.now+f.answer, v)
		s.r.Silent++
		return f
	}
	f.answer, f.ok = f.linked+way, true
	return f
}

// settle waits for the requests that are on their way when the lookup ends; dials under way are given up, though they go on. Nothing
// is learnt of the answers.
func (s *Searcher) settle(at time.Duration) time.Duration {
	end := at
	for i := range s.wait {
		f := &s.wait[i]
		if f.sent && (!f.waiting || f.linked <= at) {
			s.r.Asked++
		}
		if f.waiting && f.sent && f.linked <= at {
			if end = max(end, f.answer); f.ok {
				s.answered(f)
			}
		}
	}
	return end
}

// followUp asks those of the K closest that have not answered, all at once, and returns when that is over.
func (s *Searcher) followUp(at time.Duration) time.Duration {
	end, n := at, 0
	for i := range s.peers {
		p := &s.peers[i]
		if p.state == unreachable {
			continue
		}
		if n++; n > K {
			break
		}
		s.r.Found = append(s.r.Found, p.place)
		if n == 1 {
			s.r.Hops = int(p.depth)
		}
		if p.state == queried {
			continue
		}
		f := s.again(p, at)
		s.dialled(&f)
		if f.sent {
			s.r.Asked++
		}
		if end = max(end, f.answer); f.ok {
			s.answered(&f)
		}
	}
	return end
}

// again asks a peer once more; if it was being dialled, it waits for that dial.
func (s *Searcher) again(p *peer, at time.Duration) flight {
	if p.state == waiting {
		for i := range s.wait {
			if f := s.wait[i]; f.place == p.place && f.waiting && f.linked > at {
				if !f.sent { // it will not come in time
					return f
				}
				return s.ask(f, false)
			}
		}
	}
	return s.send(p.place, p.dist, p.depth, at)
}
