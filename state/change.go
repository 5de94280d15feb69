package state

import (
	"context"
	"fmt"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/state/merge"
)

// Verb is what a change does.
type Verb string

// Verbs.
const (
	Add    Verb = "add"    // By to a counter or tally
	Put    Verb = "set"    // Text into a register
	Insert Verb = "insert" // Item into a set
	Remove Verb = "remove" // Item out of a set
	Clear  Verb = "clear"  // the object
)

// Change is one change of one object.
type Change struct {
	Name  string     `json:"name"`
	Field string     `json:"field,omitempty"` // of a map
	Kind  merge.Kind `json:"-"`               // 0: as it is, or what goes with the verb: counter, register, set
	Verb  Verb       `json:"verb"`
	By    int64      `json:"by,omitempty"`
	Text  []byte     `json:"text,omitempty"`
	Item  string     `json:"item,omitempty"`
}

// kinds are those that a verb is for, the one that it makes first.
var kinds = map[Verb][]merge.Kind{
	Add: {merge.Counter, merge.Tally}, Put: {merge.Register}, Insert: {merge.Set, merge.GrowSet},
	Remove: {merge.Set}, Clear: {merge.Tally, merge.Register, merge.Set, merge.Counter, merge.GrowSet},
}

// key finds the object of a change. Exists: there is one of the name that is of another kind.
func (c *Change) key(s *merge.Space) (merge.Key, error) {
	fit := kinds[c.Verb]
	if fit == nil {
		return merge.Key{}, shoal.E(shoal.Invalid, "state "+c.Name, fmt.Sprintf("there is no change '%.20s'", string(c.Verb)), "there are add, set, insert, remove and clear")
	}
	var other merge.Kind
	for _, k := range s.Named(c.Name) {
		switch {
		case k.Field != c.Field:
		case c.Kind == k.Kind, c.Kind == 0 && slices.Contains(fit, k.Kind):
			return k, nil
		default:
			other = k.Kind
		}
	}
	if other != 0 {
		return merge.Key{}, shoal.E(shoal.Exists, "state "+c.title(), "it is a "+other.String(), "choose another name, or change it as what it is; see 'shoal state --help'")
	}
	kind := c.Kind
	if kind == 0 {
		kind = fit[0]
	}
	return merge.Key{Name: c.Name, Field: c.Field, Kind: kind}, nil
}

func (c *Change) title() string {
	if c.Field == "" {
		return c.Name
	}
	return c.Name + "#" + c.Field
}

// do makes the change.
func (c *Change) do(s *merge.Space, now int64) error {
	k, err := c.key(s)
	if err != nil {
		return err
	}
	there := true
	switch c.Verb {
	case Add:
		err = s.Add(k, c.By)
	case Put:
		err = s.Put(k, c.Text, now)
	case Insert:
		_, err = s.Insert(k, c.Item)
	case Remove:
		there, err = s.Remove(k, c.Item)
	case Clear:
		there, err = s.Clear(k)
	}
	if err == nil && !there {
		return shoal.E(shoal.NotFound, "state "+c.title(), "it is not there, or not known here yet", "see 'shoal state ls'")
	}
	return err
}

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
			if err := list[i].do(sp, s.cfg.Now().UnixMilli()); err != nil {
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
