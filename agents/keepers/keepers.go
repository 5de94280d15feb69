// Package keepers decides who keeps an agent: what to change next in the configuration of its group. It knows
// nothing but what it is told.
//
// A group has as many keepers as were wanted, if there are peers for them: those that are gone for long are
// replaced, those that are missing since its birth are added. Newcomers learn first, and vote by one joint change
// that also takes the vote of those they replace. The number of voters stays odd: an even one is lost as
// soon as the odd number below it.
package keepers

import (
	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
)

// Wanted is what a configuration lacks.
type Wanted struct {
	Learn   int      // newcomers
	Promote []uint64 // learners that may vote now
	Remove  []uint64 // members that are gone, or learn to no end
}

// None reports whether nothing is to be done.
func (w Wanted) None() bool { return w.Learn+len(w.Promote)+len(w.Remove) == 0 }

// Lacks says what to change next in a configuration. gone says which peers will not come back, free how many
// peers there are that keep nothing of this agent.
func Lacks(c group.Conf, target, free int, gone func(shoal.PeerID) bool) (w Wanted) {
	if c.Joint() {
		return w
	}
	var voters, learners, dead, deadLearners []uint64
	for _, m := range c.Members {
		lost := gone(m.Peer)
		switch {
		case m.Role == group.Learner && lost:
			deadLearners = append(deadLearners, m.ID)
		case m.Role == group.Learner:
			learners = append(learners, m.ID)
		case lost:
			dead = append(dead, m.ID)
		default:
			voters = append(voters, m.ID)
		}
	}
	if len(deadLearners) > 0 {
		return Wanted{Remove: deadLearners[:1]}
	}
	reach := min(target, len(voters)+len(learners)+free) // voters that can be had
	if reach%2 == 0 {
		reach--
	}
	reach = max(reach, 1)
	if reach > len(voters)+len(learners) {
		return Wanted{Learn: 1} // learners come and go one at a time
	}
	n := max(0, reach-len(voters))
	if n == 0 && len(dead) > 0 && (len(voters)+len(dead))%2 == 1 {
		return w // nobody can replace them: without them fewer losses would be survived, not more
	}
	if n == 0 && len(dead) == 0 && len(learners) > 0 && len(voters) >= target {
		return Wanted{Remove: learners[:1]} // of a move that was given up
	}
	if n == 0 || len(learners) < n {
		return w
	}
	return Wanted{Promote: learners[:n], Remove: dead}
}

// Step is the next one of a move: one of its fields is set.
type Step struct {
	Learn   bool     // the target is to learn
	Promote []uint64 // the target, which learned, is to vote ...
	Remove  []uint64 // ... in place of this member, in one change
	Lead    uint64   // the target votes: it is to lead
}

// Leaves says which member makes room for a newcomer in a group led by leader: whoever is gone, else one that is like the
// newcomer, in the same zone, else the one that came last; the leader only if there is nobody else.
func Leaves(c group.Conf, leader uint64, gone, like func(shoal.PeerID) bool) (out uint64) {
	best := 0
	for _, m := range c.Members {
		worth := 2
		switch {
		case m.Role != group.Voter:
			continue
		case gone(m.Peer):
			worth = 4
		case m.ID == leader:
			worth = 1
		case like(m.Peer):
			worth = 3
		}
		if worth > best || worth == best && worth < 4 {
			out, best = m.ID, worth
		}
	}
	return out
}

// Spread counts the zones that the voters of a configuration are in, without one of them (0: with all) and with another zone; "" is none.
func Spread(c group.Conf, zone func(shoal.PeerID) string, without uint64, with string) int {
	in := map[string]bool{with: true}
	for _, m := range c.Members {
		if m.Role != group.Learner && m.ID != without {
			in[zone(m.Peer)] = true
		}
	}
	delete(in, "")
	return len(in)
}

// Swap says how an agent led by a member comes to live on a peer; gone and like are those of Leaves.
func Swap(c group.Conf, to shoal.PeerID, leader uint64, gone, like func(shoal.PeerID) bool) (s Step) {
	var target *group.Member
	for _, m := range c.Members {
		if m.Peer == to {
			target = &m
		}
	}
	switch {
	case target == nil:
		s.Learn = true
	case target.Role == group.Learner:
		s.Promote, s.Remove = []uint64{target.ID}, []uint64{Leaves(c, leader, gone, like)}
	default:
		s.Lead = target.ID
	}
	return s
}

// Anew reports whether whoever asks known keepers in rounds, as the leader is silent, looks before a round who they are by now: at once if
// hardly one is known, else before the rounds 1, 2, 4, 8 and so on, as it may take a question of the DHT.
func Anew(round, known int) bool { return known < 2 || round > 0 && round&(round-1) == 0 }
