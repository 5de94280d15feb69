package agents

import (
	"context"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
)

// A group has as many keepers as were wanted, if there are peers for them: those that are gone for long are
// replaced, those that are missing since its birth are added. Newcomers learn first, and vote by one joint change
// that also takes the vote of those they replace. The number of voters stays odd: an even one is lost as
// soon as the odd number below it.

// wanted is what a configuration lacks.
type wanted struct {
	learn   int      // newcomers
	promote []uint64 // learners that may vote now
	remove  []uint64 // members that are gone
}

// lacks says what to change next in a configuration. gone says which peers will not come back, free how many
// peers there are that keep nothing of this agent.
func lacks(c group.Conf, target, free int, gone func(shoal.PeerID) bool) (w wanted) {
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
		return wanted{remove: deadLearners[:1]}
	}
	reach := min(target, len(voters)+len(learners)+free) // voters that can be had
	if reach%2 == 0 {
		reach--
	}
	reach = max(reach, 1)
	if reach > len(voters)+len(learners) {
		return wanted{learn: 1} // learners come and go one at a time
	}
	n := max(0, reach-len(voters))
	if n == 0 && len(dead) > 0 && (len(voters)+len(dead))%2 == 1 {
		return w // nobody can replace them: without them fewer losses would be survived, not more
	}
	if n == 0 || len(learners) < n {
		return w
	}
	return wanted{promote: learners[:n], remove: dead}
}

// fleet is what this node believes of all members, at one moment.
type fleet map[shoal.PeerID]shoal.MemberState

func (a *Agents) look() fleet {
	f := fleet{a.Peers.Self(): shoal.Alive}
	for _, m := range a.Members.Table() {
		f[m.ID] = m.State
	}
	return f
}

// free counts the living members that keep nothing of a group.
func (f fleet) free(c group.Conf) (n int) {
	for p, s := range f {
		if s == shoal.Alive && !slices.ContainsFunc(c.Members, func(m group.Member) bool { return m.Peer == p }) {
			n++
		}
	}
	return n
}

// maintain changes who keeps the agent, if need be. It must be led here.
func (x *actor) maintain(f fleet) {
	x.mu.Lock()
	if x.dead != nil || !x.open || x.maintaining {
		x.mu.Unlock()
		return
	}
	c := x.mark.Conf
	gone := func(p shoal.PeerID) bool { return x.a.lostForGood(f, p) }
	whole := len(c.Members) == x.genesis.Replicas && !c.Joint() && !c.Learners()
	if whole && !slices.ContainsFunc(c.Members, func(m group.Member) bool { return gone(m.Peer) }) {
		x.mu.Unlock()
		return
	}
	x.maintaining = true
	x.mu.Unlock()
	x.a.work.Go(func() { // peers are asked, which may take a while
		x.change(c, f, gone)
		x.mu.Lock()
		x.maintaining = false
		x.mu.Unlock()
	})
}

// change makes the next change to a configuration, if it lacks anything.
func (x *actor) change(c group.Conf, f fleet, gone func(shoal.PeerID) bool) {
	w := lacks(c, x.genesis.Replicas, x.a.takers(f, c), gone)
	ch := group.Change{Promote: w.promote, Remove: w.remove}
	if w.learn > 0 {
		mine := make([]shoal.PeerID, len(c.Members))
		for i, m := range c.Members {
			mine[i] = m.Peer
		}
		ctx, cancel := context.WithTimeout(x.a.ctx, 5*time.Second)
		keepers, err := x.a.choose(ctx, string(x.key), w.learn, mine)
		cancel()
		if err != nil || len(keepers) == 0 {
			return
		}
		ch = group.Change{Learn: keepers}
	}
	if len(ch.Learn)+len(ch.Promote)+len(ch.Remove) == 0 {
		return
	}
	x.event(func(g *group.Group, now group.Instant) {
		if x.mark.Conf.Index != c.Index {
			return
		}
		if err := g.Change(now, ch); err != nil {
			x.a.cfg.Log.Debug("agent: its keepers cannot change now", "agent", x.genesis.Name, "err", err)
		} else {
			x.used = now
			x.a.cfg.Log.Info("agent: its keepers change", "agent", x.genesis.Name, "learn", len(ch.Learn),
				"promote", len(ch.Promote), "remove", len(ch.Remove))
		}
	})
}

// lostForGood reports whether a peer has been silent for so long, or has said goodbye, that its place is given to
// another.
func (a *Agents) lostForGood(f fleet, p shoal.PeerID) bool {
	if p == a.Peers.Self() {
		return a.leaving.Load()
	}
	return a.departs(p) || f[p] == shoal.Left || f[p] == shoal.Forgotten || a.post.silent(p, a.cfg.Replace)
}

// roster is who is alive, to see when that changes.
func (a *Agents) roster() string {
	s := ""
	for _, m := range a.Members.Table() {
		s += string(m.ID) + string(m.State) + " "
	}
	return s
}

// survey wakes those groups that have too few keepers, or a dead one, when there are members that could
// help: directories first. Each is woken by its first keeper that lives.
func (a *Agents) survey() {
	var later []shoal.Key
	wake := func(k shoal.Key) {
		x, err := a.get(k)
		if err != nil {
			return
		}
		x.event(func(g *group.Group, now group.Instant) {
			if !x.open {
				_ = g.Campaign(now)
			}
		})
	}
	members := a.look()
	stay := a.staying(members)
	for kept, err := range a.store.records() {
		if err != nil {
			return
		}
		k := kept.key
		mark, err := a.store.mark(k)
		if err != nil {
			continue
		}
		c := mark.Conf
		i := slices.IndexFunc(c.Members, func(m group.Member) bool {
			return members[m.Peer] == shoal.Alive && m.Role != group.Learner
		})
		if i < 0 || c.Members[i].Peer != a.Peers.Self() {
			continue // another does it
		}
		var rec record
		if err := stored(kept.record, &rec); err != nil || rec.Restoring {
			continue
		}
		g, err := readGenesis(rec.Genesis)
		if err != nil {
			continue
		}
		w := lacks(c, g.Replicas, stay.free(c), func(p shoal.PeerID) bool {
			s := members[p]
			return s == shoal.Down || s == shoal.Left || s == shoal.Forgotten
		})
		switch {
		case w.learn+len(w.promote)+len(w.remove) == 0:
		case g.Code == DirectoryCode:
			wake(k)
		default:
			later = append(later, k)
		}
	}
	for _, k := range later {
		if a.ctx.Err() != nil {
			return
		}
		wake(k)
	}
}
