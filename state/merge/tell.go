package merge

import (
	"slices"

	"github.com/shoal-fabric/shoal"
)

// Take merges what others know. What is known already changes nothing. Unavailable: there is a gap before it,
// so nothing was done; ask from Seen. Invalid: it is malformed.
func (s *Space) Take(d Delta) error {
	if err := checkDelta(&d); err != nil {
		return err
	}
	if d.Of == s.self && d.To > s.seen[s.self] {
		return shoal.E(shoal.Corrupt, "state", "others know of changes that this node made and does not have: its disk was set back", "start it in a new directory")
	}
	if max(d.After, d.Cut) > s.seen[d.Of] {
		return shoal.E(shoal.Unavailable, "state", "changes in between are missing", "")
	}
	s.merge(d)
	return nil
}

func (s *Space) merge(d Delta) {
	if d.To <= s.seen[d.Of] {
		return
	}
	for _, o := range d.Ops {
		if o.Seq > s.seen[d.Of] {
			s.apply(d.Of, o)
			s.seen[d.Of] = o.Seq
		}
	}
	s.see(d.Of, d.To)
}

// see notes that all of a replica's up to a number is known.
func (s *Space) see(r Replica, to uint64) {
	s.seen[r] = max(s.seen[r], to)
	s.marked[r] = true
	for c, seq := range s.early {
		if c.replica == r && seq <= to {
			delete(s.early, c)
		}
	}
}

func checkDelta(d *Delta) error {
	bad := func(why string) error {
		return shoal.E(shoal.Invalid, "state", why, "check that all nodes run the same version of shoal")
	}
	if len(d.Of) != ReplicaBytes || d.After > d.To {
		return bad("a malformed delta")
	}
	last := d.After
	for _, o := range d.Ops {
		if o == nil || o.Seq <= last || o.Seq > d.To {
			return bad("operations out of order")
		}
		last = o.Seq
		if err := o.check(); err != nil {
			return err
		}
	}
	return nil
}

// Since returns what somebody lacks who has seen so much. whole: that begins before something that was forgotten;
// it is all there is then, from the beginning, and goes to Join.
func (s *Space) Since(seen Seen) (list []Delta, whole bool) {
	for r, n := range s.cut {
		whole = whole || seen[r] < n
	}
	for r, to := range s.seen {
		after := seen[r]
		if whole {
			after = 0
		}
		if after < to {
			list = append(list, s.delta(r, after))
		}
	}
	slices.SortFunc(list, func(a, b Delta) int { return Dot{Replica: a.Of}.compare(Dot{Replica: b.Of}) })
	return list, whole
}

// SinceOf is Since of one replica's operations, of which somebody has seen those up to a number. whole: that is before something
// that was forgotten, and the delta is of no use.
func (s *Space) SinceOf(r Replica, after uint64) (d Delta, whole bool) {
	return s.delta(r, min(after, s.seen[r])), after < s.cut[r]
}

func (s *Space) delta(r Replica, after uint64) Delta {
	d := Delta{Of: r, After: after, To: s.seen[r], Cut: s.cut[r]}
	if l := s.lanes[r]; l != nil {
		for _, p := range l.list[l.find(after+1):] {
			if p.e != nil {
				d.Ops = append(d.Ops, p.e.op)
			}
		}
	}
	return d
}

// Join merges everything that somebody knows, from the beginning. What is known there and not among it is gone.
func (s *Space) Join(all []Delta) error {
	theirs := Seen{}
	there := map[Dot]*Op{}
	for i := range all {
		d := &all[i]
		if err := checkDelta(d); err != nil {
			return err
		}
		if d.After > 0 {
			return shoal.E(shoal.Invalid, "state", "not from the beginning", "")
		}
		if d.Of == s.self && d.To > s.seen[s.self] {
			return s.Take(*d) // which says so
		}
		theirs[d.Of] = d.To
		for _, o := range d.Ops {
			there[Dot{d.Of, o.Seq}] = o
		}
	}
	for r, l := range s.lanes {
		for _, p := range slices.Clone(l.list) {
			e, d := p.e, Dot{r, p.seq}
			o := there[d]
			if e == nil || p.seq > theirs[r] || o != nil && (!o.Gone || e.op.Gone) {
				continue
			}
			if !e.op.Gone {
				s.kill(e)
				s.tidy(e.op.Key, e.op.slot())
			}
			if !e.gone && o == nil { // and they need not be told that it takes others away
				s.forget(e)
			}
		}
	}
	for _, d := range all {
		s.merge(d)
		if d.Cut > s.cut[d.Of] {
			s.cut[d.Of] = d.Cut
			s.marked[d.Of] = true
		}
	}
	return nil
}

// Forget drops what only takes away and is known to all, who have seen so much at least.
func (s *Space) Forget(all Seen) {
	for r, l := range s.lanes {
		to := min(all[r], s.seen[r])
		for _, p := range slices.Clone(l.list) {
			if p.seq > to {
				break
			}
			if p.e != nil && p.e.op.Gone && !slices.ContainsFunc(p.e.op.Drop, func(d Dot) bool { return d.Seq > all[d.Replica] }) {
				s.forget(p.e)
				s.cut[r] = max(s.cut[r], p.seq)
				s.marked[r] = true
			}
		}
	}
}
