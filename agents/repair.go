package agents

import (
	"context"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/keepers"
)

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
	gone := x.gonePeers(f)
	whole := len(c.Members) == x.genesis.Replicas && !c.Joint() && !c.Learners()
	if whole && !slices.ContainsFunc(c.Members, func(m group.Member) bool { return gone(m.Peer) }) {
		x.mu.Unlock()
		return
	}
	x.maintaining = true
	x.mu.Unlock()
	x.a.work.Go(func() { // peers are asked, which may take a while
		x.mend(c, f, gone)
		x.mu.Lock()
		x.maintaining = false
		x.mu.Unlock()
	})
}

// gonePeers says which keepers count for nothing any more. The caller holds mu.
func (x *actor) gonePeers(f fleet) func(shoal.PeerID) bool {
	sick := map[shoal.PeerID]bool{}
	for p, at := range x.damaged {
		sick[p] = x.a.instant() < at.Add(10*x.a.cfg.Suspect)
	}
	return func(p shoal.PeerID) bool { return sick[p] || x.a.lostForGood(f, p) }
}

// mend makes the next change to a configuration, if it lacks anything.
func (x *actor) mend(c group.Conf, f fleet, gone func(shoal.PeerID) bool) {
	w := keepers.Lacks(c, x.genesis.Replicas, x.a.takers(f, c), gone)
	ch := group.Change{Promote: w.Promote, Remove: w.Remove}
	if w.Learn > 0 {
		mine := make([]shoal.PeerID, len(c.Members))
		for i, m := range c.Members {
			mine[i] = m.Peer
		}
		ctx, cancel := context.WithTimeout(x.a.ctx, 5*time.Second)
		found, err := x.a.choose(ctx, wish{salt: string(x.key), n: w.Learn, without: mine})
		cancel()
		if err != nil || len(found.keepers) == 0 {
			return
		}
		ch = group.Change{Learn: found.keepers}
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
	var again [][]byte // recoveries whose former keepers may be back
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
		if err := stored(kept.record, &rec); err != nil || rec.Sealed > 0 {
			continue
		}
		if len(rec.Recovery) > 0 {
			again = append(again, rec.Recovery)
		}
		g, err := readGenesis(rec.Genesis)
		if err != nil {
			continue
		}
		w := keepers.Lacks(c, g.Replicas, stay.free(c), func(p shoal.PeerID) bool {
			s := members[p]
			return s == shoal.Down || s == shoal.Left || s == shoal.Forgotten
		})
		switch {
		case w.None():
		case g.Code == DirectoryCode:
			wake(k)
		default:
			later = append(later, k)
		}
	}
	for _, sealed := range again {
		if r, _, _, err := a.openRecovery(a.Peers.Self(), sealed); err == nil {
			a.work.Go(func() { a.sealFormer(sealed, r) })
		}
	}
	for _, k := range later {
		if a.ctx.Err() != nil {
			return
		}
		wake(k)
	}
}
