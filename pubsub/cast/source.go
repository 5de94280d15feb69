package cast

import (
	"bufio"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// source is a node that publishes, as one that subscribes sees it. Whatever brings its messages, they pass take, which knows which
// one is next: so nothing is doubled, and what is missing is seen.
type source struct {
	l     *line
	peer  shoal.PeerID
	stop  context.CancelFunc
	ready chan struct{} // closed once it was asked for the first time
	asked bool
	turns chan struct{} // it is to be followed, perhaps

	// The line's lock is held for these.
	life    *life // nil: nothing was heard
	ask     follow
	epoch   uint64  // the latest that is known, as the topic's agent tells
	turn    uint64  // odd: it says its messages by gossip
	head    uint64  // it has said that it has messages before that
	oldest  uint64  // and forgotten those before that
	early   []frame // came before what is before them, in their order
	bytes   int     // of early
	said    [64]uint64
	saidAt  int
	stream  bool      // a stream stands
	pulling bool      // pull runs
	failed  int       // how often pull failed in a row
	retry   time.Time // when it is tried again
	heard   time.Time // when anything last came
	compare time.Duration
	listed  bool // the topic's agent names it
}

const (
	maxEarly    = 1 << 20 // bytes
	openLimit   = 10 * time.Second
	pullLimit   = 10 * time.Second
	settle      = 30 * time.Millisecond // that what gossip brings late is waited for
	leastPause  = 100 * time.Millisecond
	mostPause   = 5 * time.Second
	compareOnce = 8 * time.Second // after the last word of a publisher that uses gossip
	compareMost = time.Minute
)

// gossip reports whether it says its messages by gossip. The lock is held.
func (s *source) gossip() bool { return s.turn%2 == 1 }

// run follows the publisher until ctx ends.
func (s *source) run(ctx context.Context) {
	l := s.l
	pause := leastPause
	for ctx.Err() == nil {
		l.mu.Lock()
		wait := s.gossip() && s.life != nil
		l.mu.Unlock()
		if wait {
			select {
			case <-s.turns:
				continue
			case <-ctx.Done():
				return
			}
		}
		begun := time.Now()
		err := s.follow(ctx)
		l.mu.Lock()
		s.stream = false
		if !s.asked {
			s.asked = true
			close(s.ready)
		}
		wait = s.gossip() && s.life != nil
		s.fetch()
		l.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			l.c.log().Debug("topics: a publisher is not followed", "peer", s.peer.Short(), "err", err)
		}
		if wait {
			continue
		}
		if pause *= 2; time.Since(begun) > mostPause {
			pause = leastPause
		}
		pause = min(pause, mostPause)
		select {
		case <-time.After(pause/2 + time.Duration(rand.Int64N(int64(pause)))):
		case <-s.turns:
			pause = leastPause
		case <-ctx.Done():
		}
	}
}

// follow reads the publisher's stream.
func (s *source) follow(ctx context.Context) error {
	l := s.l
	l.mu.Lock()
	q := s.ask
	if s.life != nil {
		q = follow{Epoch: s.life.epoch, Next: s.life.next}
	}
	q.Key = []byte(l.key)
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(openLimit, cancel)
	st, err := l.c.Peers.Open(ctx, s.peer, followMethod, wire.Marshal(q))
	if err != nil {
		return err
	}
	defer st.Reset()
	r := bufio.NewReaderSize(st, 64<<10)
	for {
		b, err := wire.ReadFrame(r, maxFrame)
		if err != nil {
			return err
		}
		late.Stop()
		f, err := parseFrame(b)
		if err != nil {
			return err
		}
		l.mu.Lock()
		s.stream = true
		s.take(&f, true)
		if !s.asked {
			s.asked = true
			close(s.ready)
		}
		l.mu.Unlock()
	}
}

// take gives subscriptions what is new in a frame, and notes what is missing. direct: it came from the publisher itself, just now.
// The lock is held.
func (s *source) take(f *frame, direct bool) {
	l := s.l
	if s.life != nil && f.Epoch < s.life.epoch {
		l.stats.Doubled += uint64(f.Count)
		return // from before it started anew
	}
	s.heard, s.compare = l.c.cfg.Now(), compareOnce
	if s.life == nil || f.Epoch > s.life.epoch {
		if !s.begin(f, direct) {
			return
		}
	}
	if f.Turn > s.turn {
		s.turn = f.Turn
		s.turned()
	}
	l.hint(f.View)
	s.head, s.oldest = max(s.head, f.Next), max(s.oldest, f.Oldest)
	if f.Count > 0 {
		if f.First == s.life.next && len(s.early) == 0 {
			s.give(f)
		} else {
			s.keep(*f)
		}
	}
	s.settle()
	s.fetch()
}

// fetch has be pulled what is missing. The lock is held.
func (s *source) fetch() {
	if s.missing() && !s.pulling && !s.l.c.cfg.Now().Before(s.retry) {
		s.pulling = true
		s.l.c.spawn(s.pull)
	}
}

// begin begins another life of the publisher; not so: with what cannot be told yet. The lock is held.
func (s *source) begin(f *frame, direct bool) bool {
	start := uint64(1)
	switch {
	case s.life != nil: // it has started anew, and all that it has said since is for this node
		if s.head > s.life.next {
			s.gap(s.head)
		}
		s.nudge() // it may use another carrier
	case !direct:
		return false // follow finds out where this node begins
	case !s.ask.Whole:
		start = f.First
	}
	s.life = &life{peer: string(s.peer), epoch: f.Epoch, start: start, next: start, kept: start}
	s.head, s.oldest, s.early, s.bytes, s.turn = start, 1, nil, 0, 0
	s.said = [64]uint64{}
	return true
}

// give hands the next messages on. The lock is held.
func (s *source) give(f *frame) {
	s.life.next += uint64(f.Count)
	s.l.stats.Received += uint64(f.Count)
	s.l.put(block{life: s.life, first: f.First, count: uint64(f.Count), b: f.Body})
}

// gap tells that what is before upTo is lost. The lock is held.
func (s *source) gap(upTo uint64) {
	n := upTo - s.life.next
	s.l.stats.Lost += n
	s.l.put(block{life: s.life, first: s.life.next, count: n, gap: true})
	s.life.next = upTo
}

// keep puts a frame to those that came early. The lock is held.
func (s *source) keep(f frame) {
	i, _ := slices.BinarySearchFunc(s.early, f.First, func(e frame, first uint64) int {
		if e.First < first {
			return -1
		}
		return 1
	})
	s.early = slices.Insert(s.early, i, f)
	for s.bytes += len(f.Body) + blockCost; s.bytes > maxEarly && len(s.early) > 1; { // it can be pulled
		last := &s.early[len(s.early)-1]
		s.bytes -= len(last.Body) + blockCost
		*last = frame{}
		s.early = s.early[:len(s.early)-1]
	}
}

// settle hands on what is next by now. The lock is held.
func (s *source) settle() {
	for len(s.early) > 0 {
		f := s.early[0]
		if next := s.life.next; f.First > next {
			if s.oldest <= next {
				return
			}
			s.gap(min(s.oldest, f.First))
			continue
		}
		s.early = s.early[1:]
		s.bytes -= len(f.Body) + blockCost
		n := f.Count
		f.from(s.life.next)
		s.l.stats.Doubled += uint64(n - f.Count)
		if f.Count > 0 {
			s.give(&f)
		}
	}
	if s.oldest > s.life.next {
		s.gap(s.oldest)
	}
}

// missing reports whether there is something that nothing is about to bring. The lock is held.
func (s *source) missing() bool {
	return s.life != nil && !s.stream && s.head > s.life.next
}

// pull asks for what is missing until it is here.
func (s *source) pull(ctx context.Context) {
	l := s.l
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case <-time.After(settle):
	case <-ctx.Done():
	}
	for {
		l.mu.Lock()
		if !s.missing() || l.over || ctx.Err() != nil || l.sources[s.peer] != s {
			s.pulling, s.failed = false, 0
			l.mu.Unlock()
			return
		}
		q := follow{Key: []byte(l.key), Epoch: s.life.epoch, Next: s.life.next}
		l.mu.Unlock()
		f, err := l.ask(ctx, s.peer, q)
		l.mu.Lock()
		if err == nil {
			before, life := s.life.next, s.life
			s.take(&f, true)
			if s.life == life && f.Epoch == life.epoch && s.life.next == before && f.Next <= before {
				s.head = f.Next // who said that there was more was wrong
			} else if f.Epoch < life.epoch {
				err = shoal.E(shoal.Unavailable, "messages of a topic", "an earlier life answers", "")
			}
		} else if shoal.KindOf(err) == shoal.NotFound && s.missing() {
			s.gap(s.head) // it has forgotten all
			err = nil
		}
		if err != nil {
			s.failed++
			s.retry = l.c.cfg.Now().Add(min(mostPause, leastPause<<min(s.failed, 10)))
			s.pulling = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// ask asks a publisher for messages once.
func (l *line) ask(ctx context.Context, p shoal.PeerID, q follow) (frame, error) {
	ctx, cancel := context.WithTimeout(ctx, pullLimit)
	defer cancel()
	b, err := l.c.Peers.Ask(ctx, p, pullMethod, wire.Marshal(q))
	if err != nil {
		return frame{}, err
	}
	return parseFrame(b)
}

// turned has the carrier be used that the publisher uses now. The lock is held.
func (s *source) turned() {
	if s.gossip() {
		s.l.tuneIn()
	}
	s.nudge()
}

// nudge has the publisher be tried at once.
func (s *source) nudge() {
	select {
	case s.turns <- struct{}{}:
	default:
	}
}

// tick has be pulled what is still missing, and has the publisher be asked for its head if it was silent for long and
// speaks by gossip, of which the last words may be lost. The lock is held.
func (s *source) tick(now time.Time) {
	s.fetch()
	if s.gossip() && s.life != nil {
		s.l.needed = now
		if !s.stream && !s.pulling && now.Sub(s.heard) > s.compare {
			s.heard, s.compare = now, min(2*s.compare, compareMost)
			s.l.c.spawn(func(ctx context.Context) { s.l.c.compareWith(ctx, s.peer) })
		}
	}
}
