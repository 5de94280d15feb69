package state

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/state/merge"
	"github.com/shoal-fabric/shoal/wire"
)

// news is what one node tells another, and what that answers.
type news struct {
	Seen   merge.Seen    `cbor:"s"`           // what the sender has on its disk
	Some   bool          `cbor:"o,omitempty"` // Seen says it of those replicas only that the news are about
	Deltas []merge.Delta `cbor:"d,omitempty"`
	Ask    bool          `cbor:"a,omitempty"` // for what the sender lacks
	More   bool          `cbor:"m,omitempty"` // there is more than a message holds, or some was forgotten: ask for all
}

const (
	maxNews   = 3 << 20 // bytes of deltas in a message
	maxFrame  = 3 << 20 // of a stream of all
	frameOps  = 1000
	askLimit  = 10 * time.Second
	forgetOld = 10 * time.Second
)

// Run tells others and compares with them until ctx ends.
func (s *State) Run(ctx context.Context) error {
	tick := time.NewTimer(s.pause())
	defer tick.Stop()
	clean := time.NewTicker(forgetOld)
	defer clean.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.life.Done():
			return nil
		case <-s.poke:
			select {
			case <-time.After(s.cfg.Gather):
			case <-ctx.Done():
				return nil
			}
			s.tell(ctx)
		case <-tick.C:
			if list := s.some(1); len(list) > 0 {
				s.compare(ctx, list[0])
			}
			tick.Reset(s.pause())
		case <-clean.C:
			s.forget(ctx)
		}
	}
}

// pause is the time to the next comparison.
func (s *State) pause() time.Duration {
	return s.cfg.Every/2 + time.Duration(rand.Int64N(int64(s.cfg.Every)))
}

// alive lists the other members that can be told.
func (s *State) alive() (out []shoal.PeerID) {
	for _, m := range s.Members.Table() {
		if m.State == shoal.Alive || m.State == shoal.Suspect {
			out = append(out, m.ID)
		}
	}
	return out
}

// strangers is how often one of many members is drawn among all, and not among those that are connected: so seldom that it costs
// little to call them, so often that parts of a fabric that know nothing of each other's news do not stay so.
const strangers = 1.0 / 32

// some draws n of the other members. In a large fabric they are ones that are connected, but for now and then: to
// call a stranger takes many times what there is to tell, and its connection another's place.
func (s *State) some(n int) []shoal.PeerID {
	list := s.alive()
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if s.Connected != nil && len(list) > n && rand.Float64() >= strangers {
		open := make(map[shoal.PeerID]bool)
		for _, p := range s.Connected() {
			open[p] = true
		}
		near := 0
		for i, p := range list {
			if open[p] {
				list[i], list[near] = list[near], p
				near++
			}
		}
	}
	return list[:min(n, len(list))]
}

// tell brings news to others: to all while they are few, and then only those that are this node's own; to some of
// many, who tell others.
func (s *State) tell(ctx context.Context) {
	s.hearing.Lock()
	own := s.own
	s.own = false
	s.hearing.Unlock()
	list := s.some(s.cfg.Fanout + 1)
	few := len(list) <= s.cfg.Fanout
	if few && !own {
		return
	} else if !few {
		list = list[:s.cfg.Fanout]
	}
	var all sync.WaitGroup
	for _, p := range list {
		all.Go(func() { s.push(ctx, p, few) })
	}
	all.Wait()
}

// compare asks a member for what this node lacks, and then gives it what it lacks.
func (s *State) compare(ctx context.Context, p shoal.PeerID) {
	q := news{Ask: true}
	s.view(func(sp *merge.Space) { q.Seen = sp.Seen() })
	ans, ok := s.exchange(ctx, p, q)
	if !ok {
		return
	}
	var err error
	switch {
	case ans.More:
		long, cancel := context.WithTimeout(ctx, askLimit)
		err = s.all(long, p)
		cancel()
	case len(ans.Deltas) > 0:
		err = s.take(ctx, ans.Deltas, false)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("state: what a member told cannot be taken in", "peer", p.Short(), "err", err)
	}
	if behind(q.Seen, ans.Seen) != nil {
		s.push(ctx, p, false)
	}
}

// push gives a member what it lacks, as it last said; own: of this node's own changes, as others tell it theirs.
func (s *State) push(ctx context.Context, p shoal.PeerID, own bool) {
	s.hearing.Lock()
	theirs, heard := s.known[p]
	s.hearing.Unlock()
	if !heard {
		s.compare(ctx, p)
		return
	}
	q := news{Some: own}
	s.view(func(sp *merge.Space) {
		if !own {
			q.Seen = sp.Seen()
			q.Deltas, _ = small(sp.Since(theirs))
			return
		}
		self := sp.Self()
		d, whole := sp.SinceOf(self, theirs[self])
		q.Seen = merge.Seen{self: d.To}
		q.Deltas, _ = small([]merge.Delta{d}, whole)
	})
	if behind(q.Seen, theirs) != nil { // else it has all there is
		s.exchange(ctx, p, q)
	}
}

// exchange sends a message, and notes what its receiver has by then.
func (s *State) exchange(ctx context.Context, p shoal.PeerID, q news) (ans news, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	b, err := s.Peers.Ask(ctx, p, "state.sync", wire.Marshal(q))
	if err == nil {
		err = wire.Unmarshal("answer on state", b, &ans)
	}
	if err != nil {
		s.log.Debug("state: a member does not answer", "peer", p.Short(), "err", err)
		return ans, false
	}
	s.heard(p, ans)
	return ans, true
}

// small is a list that fits into a message; not so: there is more.
func small(list []merge.Delta, whole bool) (out []merge.Delta, more bool) {
	if whole || len(wire.Marshal(list)) > maxNews {
		return nil, true
	}
	return list, false
}

// behind names a replica of which somebody has seen less; nil: none.
func behind(ours, theirs merge.Seen) *merge.Replica {
	for r, n := range ours {
		if theirs[r] < n {
			return &r
		}
	}
	return nil
}

// heard notes what a member has.
func (s *State) heard(p shoal.PeerID, n news) {
	s.hearing.Lock()
	defer s.hearing.Unlock()
	seen := n.Seen
	if n.Some {
		old, ok := s.known[p]
		if !ok {
			return // the next comparison says more
		}
		seen = maps.Clone(old) // whoever holds the old one goes on reading it
		maps.Copy(seen, n.Seen)
	}
	s.known[p] = seen
	s.move()
}

// take merges what was told. Gaps are no error: whoever has one asks.
func (s *State) take(ctx context.Context, list []merge.Delta, whole bool) error {
	return s.do(ctx, false, func(sp *merge.Space) error {
		if err := s.back(sp, list); err != nil {
			return err
		}
		if whole {
			return sp.Join(list)
		}
		for _, d := range list {
			if err := sp.Take(d); err != nil && shoal.KindOf(err) != shoal.Unavailable {
				return err
			}
		}
		return nil
	})
}

// back makes this node another replica if others know of changes by its own that it does not: its disk was
// set back, and what it changes next must not look like those.
func (s *State) back(sp *merge.Space, list []merge.Delta) error {
	self := sp.Self()
	for _, d := range list {
		if d.Of != self || d.To <= sp.Seen()[self] {
			continue
		}
		next := newReplica()
		if err := s.Table.Commit(true, shoal.Write{Key: []byte(selfKey), Value: []byte(next)}); err != nil {
			return err
		}
		sp.Become(next)
		s.log.Warn("state: this node's disk was set back; others had what it lacked")
	}
	return nil
}

// onSync answers a member that tells news, or asks for them.
func (s *State) onSync(ctx context.Context, from shoal.PeerID, b []byte) ([]byte, error) {
	var q news
	if err := wire.Unmarshal("news of state", b, &q); err != nil {
		return nil, err
	}
	if len(q.Deltas) > 0 {
		if err := s.take(ctx, q.Deltas, false); err != nil {
			return nil, err
		}
	}
	s.heard(from, q)
	ans := news{Some: q.Some}
	s.view(func(sp *merge.Space) {
		if ans.Seen = sp.Seen(); q.Some {
			maps.DeleteFunc(ans.Seen, func(r merge.Replica, _ uint64) bool { _, asked := q.Seen[r]; return !asked })
		}
		if q.Ask {
			ans.Deltas, ans.More = small(sp.Since(q.Seen))
		}
	})
	return wire.Marshal(ans), nil
}

// part is a piece of a stream of all: operations of one replica.
type part struct {
	Delta merge.Delta `cbor:"d"`
	Goes  bool        `cbor:"g,omitempty"` // more of the same delta follows
	Whole bool        `cbor:"w,omitempty"`
	End   bool        `cbor:"e,omitempty"`
}

// onAll sends a member what it lacks, however much that is.
func (s *State) onAll(_ context.Context, _ shoal.PeerID, b []byte, st shoal.Stream) error {
	var q news
	if err := wire.Unmarshal("question about state", b, &q); err != nil {
		return err
	}
	var list []merge.Delta
	var whole bool
	s.view(func(sp *merge.Space) { list, whole = sp.Since(q.Seen) })
	for _, d := range list {
		ops := d.Ops
		for first := true; first || len(ops) > 0; first = false {
			p := part{Delta: d, Whole: whole}
			n := fits(ops)
			p.Delta.Ops, ops = ops[:n], ops[n:]
			p.Goes = len(ops) > 0
			if err := wire.WriteFrame(st, wire.Marshal(p), maxFrame); err != nil {
				return err
			}
		}
	}
	return wire.WriteFrame(st, wire.Marshal(part{Whole: whole, End: true}), maxFrame)
}

// fits is how many operations go into a frame.
func fits(ops []*merge.Op) (n int) {
	size := 0
	for n < len(ops) && n < frameOps {
		if size += 256 + len(ops[n].Text) + len(ops[n].Item) + 64*len(ops[n].Drop); size > maxFrame/2 && n > 0 {
			break
		}
		n++
	}
	return n
}

// all asks a member for all that this node lacks.
func (s *State) all(ctx context.Context, p shoal.PeerID) error {
	var q news
	s.view(func(sp *merge.Space) { q.Seen = sp.Seen() })
	st, err := s.Peers.Open(ctx, p, "state.all", wire.Marshal(q))
	if err != nil {
		return err
	}
	defer st.Reset()
	defer context.AfterFunc(ctx, st.Reset)()
	r := bufio.NewReader(st)
	var list []merge.Delta
	for goes := false; ; {
		frame, err := wire.ReadFrame(r, maxFrame)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		var got part
		if err == nil {
			err = wire.Unmarshal("state of a member", frame, &got)
		}
		if err != nil {
			return shoal.Wrap(shoal.Unavailable, "state of "+p.Short(), err)
		}
		if got.End {
			return s.take(ctx, list, got.Whole)
		}
		if goes {
			last := &list[len(list)-1]
			last.Ops = append(last.Ops, got.Delta.Ops...)
		} else {
			list = append(list, got.Delta)
		}
		goes = got.Goes
	}
}

// forget drops removals that all members have.
func (s *State) forget(ctx context.Context) {
	var least merge.Seen
	s.view(func(sp *merge.Space) { least = sp.Seen() })
	s.hearing.Lock()
	members := map[shoal.PeerID]bool{}
	for _, m := range s.Members.Table() {
		if m.State == shoal.Left || m.State == shoal.Forgotten {
			continue
		}
		members[m.ID] = true
		for r := range least {
			least[r] = min(least[r], s.known[m.ID][r])
		}
	}
	maps.DeleteFunc(s.known, func(p shoal.PeerID, _ merge.Seen) bool { return !members[p] })
	s.hearing.Unlock()
	if len(least) == 0 {
		return // nothing was ever changed
	}
	_ = s.do(ctx, false, func(sp *merge.Space) error {
		sp.Forget(least)
		return nil
	})
}
