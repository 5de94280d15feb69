package cast

import (
	"context"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Start says which messages a subscription begins with. Zero: those that are published from then on.
type Start struct {
	Recent bool      // those that publishers still have
	Since  time.Time // of these, those made then or later; not zero: Recent
}

func (s Start) old() bool { return s.Recent || !s.Since.IsZero() }

func (s Start) since() int64 {
	if s.Since.IsZero() {
		return 0
	}
	return s.Since.UnixMilli()
}

// Gap says which messages of a publisher are lost.
type Gap struct {
	Publisher string // a node's ID
	Epoch     uint64
	From, To  uint64 // the first and the last
}

// Event is a message, or a gap before the next message of its publisher.
type Event struct {
	topic.Message      // its Body is shared: it must not be written
	Gap           *Gap // nil: a message
}

// Subscription gets the messages of a topic. One goroutine at a time may wait in Next or Batch.
type Subscription struct {
	l     *line
	wake  chan struct{}
	done  chan struct{} // closed at its end
	since int64         // Unix milliseconds; older ones are not wanted

	reading chan struct{} // one in it while somebody reads
	cur     block         // being read
	seq     uint64        // its next message
	rest    []byte

	// The line's lock is held for these.
	at   uint64           // the next block of the inbox
	next map[*life]uint64 // what is expected of each publisher
	back []block          // from before the subscription, and gaps, to be read first
	once sync.Once
}

// Subscribe begins a subscription. It returns when the publishers that are known are heard, or after Config.Wait: the others are
// tried further. It fails if the topic's agent cannot be asked and the topic was not known here before.
func (c *Cast) Subscribe(ctx context.Context, key shoal.Key, start Start) (*Subscription, error) {
	l, err := c.line(key)
	if err != nil {
		return nil, err
	}
	s := &Subscription{
		l: l, wake: make(chan struct{}, 1), done: make(chan struct{}), reading: make(chan struct{}, 1),
		next: map[*life]uint64{}, since: start.since(),
	}
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return nil, closed()
	}
	l.used = c.cfg.Now()
	if l.own == nil {
		l.own = &life{peer: c.self, epoch: l.epoch, start: l.ring.next, next: l.ring.next, kept: l.ring.next}
	}
	s.at = l.in.end()
	s.next[l.own] = l.own.next
	type had struct {
		peer shoal.PeerID
		life *life
		upTo uint64
	}
	before := []had{{shoal.PeerID(c.self), l.own, l.own.next}}
	for p, src := range l.sources {
		if src.life != nil {
			s.next[src.life] = src.life.next
			before = append(before, had{p, src.life, src.life.next})
		}
	}
	l.subs[s] = struct{}{}
	told := l.told[0]
	l.mu.Unlock()
	if !told {
		err = l.join(ctx, start)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = s.Close()
		return nil, shoal.Wrap(shoal.Unavailable, "subscribe", err)
	}
	if start.old() {
		within, cancel := context.WithTimeout(ctx, c.cfg.Wait)
		defer cancel()
		for _, h := range before {
			s.backlog(within, h.peer, h.life, h.upTo, start)
		}
	}
	return s, nil
}

// join makes this node a subscriber, and waits until it hears the publishers that there are.
func (l *line) join(ctx context.Context, start Start) error {
	l.mu.Lock()
	l.starting = start
	l.mu.Unlock()
	err := l.present(ctx)
	l.mu.Lock()
	l.starting = Start{}
	if err != nil && l.view != nil && l.missing == nil && ctx.Err() == nil {
		l.meet(l.view.Pubs, start)
		err = nil
	}
	var wait []*source
	for _, s := range l.sources {
		wait = append(wait, s)
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	late := time.NewTimer(l.c.cfg.Wait)
	defer late.Stop()
	for _, s := range wait {
		select {
		case <-s.ready:
		case <-late.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// backlog fetches what a publisher that this node hears already still has from before upTo.
func (s *Subscription) backlog(ctx context.Context, p shoal.PeerID, of *life, upTo uint64, start Start) {
	l := s.l
	q := follow{Key: []byte(l.key), Old: true, Since: start.since()}
	for {
		var f frame
		if string(p) == l.c.self {
			l.mu.Lock()
			f = l.frame(l.begin(&q), maxBody)
			l.mu.Unlock()
		} else {
			var err error
			if f, err = l.ask(ctx, p, q); err != nil {
				return
			}
		}
		if f.Epoch != of.epoch || f.Count == 0 || f.First >= upTo {
			return
		}
		q = follow{Key: []byte(l.key), Epoch: f.Epoch, Next: f.First + uint64(f.Count)}
		l.mu.Lock()
		s.back = append(s.back, block{life: of, first: f.First, count: min(uint64(f.Count), upTo-f.First), b: f.Body})
		l.mu.Unlock()
	}
}

// end ends the subscription. The lock is held.
func (s *Subscription) end() { s.once.Do(func() { close(s.done) }) }

// Close ends the subscription; who waits in Next gets Canceled.
func (s *Subscription) Close() error {
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	s.end()
	if _, is := l.subs[s]; !is {
		return nil
	}
	delete(l.subs, s)
	if len(l.subs) == 0 && !l.over {
		l.leave()
		if l.told[0] {
			l.c.spawn(func(ctx context.Context) { _ = l.present(ctx) })
		}
	}
	return nil
}

// Next waits for the next message or gap.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	var one [1]Event
	_, err := s.Batch(ctx, one[:])
	return one[0], err
}

// Batch waits until there is something, and fills in as much of list as there is. It returns how much that was.
func (s *Subscription) Batch(ctx context.Context, list []Event) (int, error) {
	if len(list) == 0 {
		return 0, nil
	}
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return 0, shoal.Wrap(shoal.Canceled, "subscription", ctx.Err())
	}
	for {
		n := 0
		for n < len(list) {
			if s.cur.count == 0 && !s.more() {
				break
			}
			if s.read(&list[n]) {
				n++
			}
		}
		if n > 0 {
			return n, nil
		}
		select {
		case <-s.wake:
		case <-s.done:
			return 0, shoal.E(shoal.Canceled, "subscription", "it was closed", "")
		case <-ctx.Done():
			return 0, shoal.Wrap(shoal.Canceled, "subscription", ctx.Err())
		}
	}
}

// read takes the next event out of the current block; not so: it is older than what is wanted.
func (s *Subscription) read(e *Event) bool {
	b := &s.cur
	if b.gap {
		*e = Event{Gap: &Gap{Publisher: b.life.peer, Epoch: b.life.epoch, From: b.first, To: b.first + b.count - 1}}
		b.count = 0
		return true
	}
	e.Gap = nil
	s.rest, _ = readRecord(s.rest, &e.Message, b.life.peer)
	e.Epoch, e.Seq = b.life.epoch, s.seq
	s.seq++
	b.count--
	return e.At >= s.since
}

// more takes the next block to be read; not so: there is none.
func (s *Subscription) more() bool {
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(s.back) == 0 && s.at < l.in.base {
		s.fell()
	}
	if len(s.back) > 0 {
		s.cur, s.back = s.back[0], s.back[1:]
	} else {
		if s.at >= l.in.end() {
			return false
		}
		b := l.in.blocks[s.at-l.in.base]
		s.at++
		if len(l.subs) == 1 {
			l.in.read(s.at)
		}
		s.next[b.life] = b.first + b.count
		s.cur = b
	}
	s.seq, s.rest = s.cur.first, s.cur.b
	return true
}

// fell notes the gaps of a subscription that the inbox did not wait for. The lock is held.
func (s *Subscription) fell() {
	lives := []*life{s.l.own}
	for _, src := range s.l.sources {
		lives = append(lives, src.life)
	}
	for known := range s.next {
		lives = append(lives, known)
	}
	for _, of := range lives {
		if of == nil {
			continue
		}
		next, known := s.next[of]
		if !known {
			next = of.start
		}
		if next < of.kept {
			s.back = append(s.back, block{life: of, first: next, count: of.kept - next, gap: true})
			s.next[of] = of.kept
		}
	}
	s.at = s.l.in.base
}
