package state

import (
	"context"
	"fmt"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/state/merge"
)

// Verb is what a change does.
type Verb = shoal.SharedVerb

// Verbs.
const (
	Add    = shoal.SharedAdd    // By to a counter or tally
	Put    = shoal.SharedPut    // Text into a register
	Insert = shoal.SharedInsert // Item into a set
	Remove = shoal.SharedRemove // Item out of a set
	Clear  = shoal.SharedClear  // the object
)

// Change is one change of one object.
type Change = merge.Change

// Change makes changes in their order, and returns when they are on so many disks, this node's among them; 0: on two, if
// there is another member. At the first that fails it stops, with those before it made.
//
// Unavailable with the changes made: they are here, and not on enough other disks in time; they go on spreading.
func (s *State) Change(ctx context.Context, copies int, list ...Change) error {
	if copies < 0 {
		return shoal.E(shoal.Invalid, "state", fmt.Sprintf("%d copies are impossible", copies), "ask for 1 or more")
	}
	var self merge.Replica
	var seq uint64
	err := s.do(ctx, true, func(sp *merge.Space) error {
		defer func() { self, seq = sp.Self(), sp.Seen()[sp.Self()] }()
		for i := range list {
			if v := list[i].Verb; v != Remove && v != Clear {
				if err := s.room(sp); err != nil {
					return err
				}
			}
			if err := sp.Do(list[i], s.cfg.Now().UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || copies == 1 {
		return err
	}
	return s.copied(ctx, copies, self, seq)
}

// room refuses to make more than all members can be expected to hold. What others made is taken in all the same: it is theirs to refuse.
func (s *State) room(sp *merge.Space) error {
	if n := sp.Bytes(); n >= s.cfg.Most {
		return shoal.E(shoal.Full, "state", fmt.Sprintf("there is as much as there may be: %s", shoal.Size(uint64(n))), "remove some of it; see 'shoal state ls'")
	}
	return nil
}

// copied waits until other disks have a replica's changes up to a number.
func (s *State) copied(ctx context.Context, copies int, r merge.Replica, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Copies)
	defer cancel()
	for {
		members, have := 1, 1
		s.hearing.Lock()
		moved := s.moved
		for _, m := range s.Members.Table() {
			if m.State == shoal.Left || m.State == shoal.Forgotten {
				continue
			}
			members++
			if s.known[m.ID][r] >= seq {
				have++
			}
		}
		s.hearing.Unlock()
		want := copies
		if want == 0 {
			want = min(2, members)
		}
		if have >= want {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return shoal.E(shoal.Unavailable, "state", fmt.Sprintf("the change is on %d disks, not on %d: %d members are known", have, want, members),
				"it is made, and goes on spreading; ask for fewer copies, or see 'shoal peers'")
		}
	}
}
