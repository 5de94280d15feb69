package group

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Role is what a member is in a configuration.
type Role uint8

// The roles. Incoming and Outgoing occur only in a joint configuration: the former votes in the new half
// alone, the latter in the old one.
const (
	Voter    Role = 0
	Learner  Role = 1
	Incoming Role = 2
	Outgoing Role = 3
)

// Keeper is where a member lives: a wiped, copied or rolled back disk is another store.
type Keeper struct {
	Peer  shoal.PeerID `cbor:"p"`
	Store string       `cbor:"s"`
}

// Member is one keeper in a group. Its ID was allotted by the group's log and is never used again.
type Member struct {
	ID   uint64 `cbor:"i"`
	Role Role   `cbor:"r,omitempty"`
	Keeper
}

// Conf is a configuration: who the members are, as of the log entry Index, of Term.
type Conf struct {
	Index   uint64   `cbor:"x"`
	Term    uint64   `cbor:"t"`
	Members []Member `cbor:"m"` // by ID
	Next    uint64   `cbor:"n"` // the next member's ID
}

// Joint reports whether two configurations are in force at once.
func (c Conf) Joint() bool {
	return slices.ContainsFunc(c.Members, func(m Member) bool { return m.Role == Incoming || m.Role == Outgoing })
}

// Learners reports whether any member learns.
func (c Conf) Learners() bool {
	return slices.ContainsFunc(c.Members, func(m Member) bool { return m.Role == Learner })
}

// Member returns the member with an ID.
func (c Conf) Member(id uint64) (Member, bool) {
	for _, m := range c.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

func (c Conf) has(id uint64) bool {
	_, ok := c.Member(id)
	return ok
}

// votes reports whether the member votes in the old or the new half; outside a joint configuration they are
// the same.
func (m Member) votes(old bool) bool {
	return m.Role == Voter || m.Role == Outgoing && old || m.Role == Incoming && !old
}

// Change is one step of membership. Newcomers must learn before they vote, so Learn stands alone; Promote and
// Remove make one joint change.
type Change struct {
	Learn   []Keeper // new members, which learn
	Promote []uint64 // learners that become voters
	Remove  []uint64 // members of either kind
}

// next returns the configuration that a change leads to: a joint one if voters change.
func (c Conf) next(ch Change, off switches) (Conf, error) {
	refuse := func(why, try string) (Conf, error) {
		return Conf{}, shoal.E(shoal.Refused, "change of keepers", why, try)
	}
	n := Conf{Next: c.Next, Members: slices.Clone(c.Members)}
	switch {
	case c.Joint():
		return refuse("another change is under way", "wait until it is done")
	case len(ch.Learn) > 0 && len(ch.Promote)+len(ch.Remove) > 0:
		return refuse("newcomers learn first, by themselves", "promote them once they have caught up")
	case len(ch.Learn)+len(ch.Promote)+len(ch.Remove) == 0:
		return refuse("it changes nothing", "")
	}
	for _, k := range ch.Learn {
		if slices.ContainsFunc(n.Members, func(m Member) bool { return m.Keeper == k }) {
			return refuse(fmt.Sprintf("%s is a keeper already", k.Peer.Short()), "")
		}
		m := Member{ID: n.Next, Role: Learner, Keeper: k}
		if off.noFreshID {
			for m.ID = 1; n.has(m.ID); m.ID++ {
			}
		}
		if off.noLearner {
			m.Role = Incoming
		}
		n.Next = max(n.Next, m.ID+1)
		n.Members = append(n.Members, m)
	}
	set := func(ids []uint64, f func(*Member) error) error {
		for _, id := range ids {
			i := slices.IndexFunc(n.Members, func(m Member) bool { return m.ID == id })
			if i < 0 {
				return fmt.Errorf("there is no member %d", id)
			}
			if err := f(&n.Members[i]); err != nil {
				return err
			}
		}
		return nil
	}
	err := set(ch.Promote, func(m *Member) error {
		if m.Role != Learner {
			return fmt.Errorf("member %d does not learn", m.ID)
		}
		m.Role = Incoming
		return nil
	})
	if err != nil {
		return refuse(err.Error(), "")
	}
	var left []uint64
	err = set(ch.Remove, func(m *Member) error {
		switch m.Role {
		case Learner:
			left = append(left, m.ID)
		case Voter:
			m.Role = Outgoing
		default:
			return fmt.Errorf("member %d is promoted and removed at once", m.ID)
		}
		return nil
	})
	if err != nil {
		return refuse(err.Error(), "")
	}
	n.Members = slices.DeleteFunc(n.Members, func(m Member) bool { return slices.Contains(left, m.ID) })
	slices.SortFunc(n.Members, func(a, b Member) int { return int(a.ID) - int(b.ID) })
	if !slices.ContainsFunc(n.Members, func(m Member) bool { return m.votes(false) }) {
		return refuse("no voter would be left", "")
	}
	if !n.Joint() && len(ch.Learn)+len(ch.Remove) > 1 {
		return refuse("learners come and go one at a time", "")
	}
	return n, nil
}

// settled returns the configuration that a joint one leads to.
func (c Conf) settled() Conf {
	n := Conf{Next: c.Next}
	for _, m := range c.Members {
		switch m.Role {
		case Outgoing:
			continue
		case Incoming:
			m.Role = Voter
		}
		n.Members = append(n.Members, m)
	}
	return n
}

// check reports what is wrong with a configuration that was stored or decoded.
func (c Conf) check() error {
	var last uint64
	voters := false
	for _, m := range c.Members {
		switch {
		case m.ID <= last:
			return fmt.Errorf("member %d after member %d", m.ID, last)
		case m.ID >= c.Next || c.Next >= maxID:
			return fmt.Errorf("member %d, and the next would be %d", m.ID, c.Next)
		case m.Role > Outgoing:
			return fmt.Errorf("member %d has role %d", m.ID, m.Role)
		}
		last = m.ID
		voters = voters || m.votes(false)
	}
	if !voters {
		return fmt.Errorf("no voter")
	}
	return nil
}

// state is the configuration in raft's terms.
func (c Conf) state() *raftpb.ConfState {
	s := &raftpb.ConfState{}
	joint := c.Joint()
	for _, m := range c.Members {
		if m.Role == Learner {
			s.Learners = append(s.Learners, m.ID)
		}
		if m.votes(false) {
			s.Voters = append(s.Voters, m.ID)
		}
		if joint && m.votes(true) {
			s.VotersOutgoing = append(s.VotersOutgoing, m.ID)
		}
	}
	if joint {
		s.AutoLeave = new(true)
	}
	return s
}

// proposal is what a configuration entry carries beside raft's own change.
type proposal struct {
	Base uint64 `cbor:"b"` // index of the configuration that it changes
	Conf Conf   `cbor:"c"`
}

// change returns raft's form of the step from c to n, with n in its context. A joint configuration is left by
// raft itself, as soon as it is applied, by whoever leads then.
func (c Conf) change(n Conf) *raftpb.ConfChangeV2 {
	out := &raftpb.ConfChangeV2{Context: wire.Marshal(proposal{c.Index, n})}
	add := func(t raftpb.ConfChangeType, id uint64) {
		out.Changes = append(out.Changes, &raftpb.ConfChangeSingle{Type: t.Enum(), NodeId: new(id)})
	}
	if n.Joint() {
		out.Transition = raftpb.ConfChangeTransitionJointImplicit.Enum()
	}
	for _, m := range n.Members {
		old, had := c.Member(m.ID)
		switch {
		case had && old.Role == m.Role:
		case m.Role == Learner:
			add(raftpb.ConfChangeAddLearnerNode, m.ID)
		case m.Role == Incoming:
			add(raftpb.ConfChangeAddNode, m.ID)
		case m.Role == Outgoing:
			add(raftpb.ConfChangeRemoveNode, m.ID)
		}
	}
	for _, m := range c.Members {
		if !n.has(m.ID) {
			add(raftpb.ConfChangeRemoveNode, m.ID)
		}
	}
	return out
}
