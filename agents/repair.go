package agents

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/keepers"
)

// fleet is what this node believes of all members, at one moment.
type fleet map[shoal.PeerID]shoal.MemberState

// longDown is the state of a member that has been down for so long that others take its places.
const longDown shoal.MemberState = "long down"

func (a *Agents) look() fleet {
	f := fleet{a.Peers.Self(): shoal.Alive}
	now := a.cfg.Now()
	for _, m := range a.Members.Table() {
		f[m.ID] = m.State
		if m.State == shoal.Down && !m.Seen.IsZero() && now.Sub(m.Seen) > a.cfg.Replace {
			f[m.ID] = longDown
		}
	}
	for _, p := range a.fellows.silent(a.instant(), a.cfg.Replace) {
		if _, known := f[p]; !known {
			f[p] = longDown
		}
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
	for _, m := range x.mark.Conf.Members {
		if x.a.fellows.another(m.Keeper) {
			sick[m.Peer] = true
		}
	}
	return func(p shoal.PeerID) bool { return sick[p] || x.a.lostForGood(f, p) }
}

// mend makes the next change to a configuration, if it lacks anything.
func (x *actor) mend(c group.Conf, f fleet, gone func(shoal.PeerID) bool) {
	w := keepers.Lacks(c, x.genesis.Replicas, x.a.takers(f, c, x.genesis.Needs), gone)
	ch := group.Change{Promote: w.Promote, Remove: w.Remove}
	if w.Learn > 0 {
		var mine, stay []shoal.PeerID
		for _, m := range c.Members {
			if mine = append(mine, m.Peer); !gone(m.Peer) {
				stay = append(stay, m.Peer)
			}
		}
		ctx, cancel := context.WithTimeout(x.a.ctx, 5*time.Second)
		found, err := x.a.choose(ctx, wish{needs: x.genesis.Needs, salt: string(x.key), n: w.Learn, without: mine, beside: stay})
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
	return a.departs(p) || f[p] == longDown || f[p] == shoal.Left || f[p] == shoal.Forgotten || a.post.silent(p, a.cfg.Replace)
}

// roster is who is alive, to see when that changes.
func (a *Agents) roster() string {
	var s strings.Builder
	for _, m := range a.Members.Table() {
		s.WriteString(string(m.ID))
		s.WriteString(string(m.State))
	}
	return s.String()
}

// surveyor looks through what this node keeps, for groups that have too few keepers, or a dead one, when there are
// members that could help: after each change of who is alive, and now and then. It looks at a part at a time, since it
// may be a million, and does not begin anew before it is through: who is last must come to his turn.
type surveyor struct {
	a    *Agents
	seen string        // who was alive last
	news uint64        // of fellows
	due  bool          // one of them has changed since it began
	at   group.Instant // when it began
	next []byte        // where it goes on; nil: it is through
}

// turn goes on for a while, or a little longer.
func (s *surveyor) turn(most time.Duration) {
	look := sync.OnceValue(s.a.looker) // as a rule there is nothing to look at

	if r, m := s.a.roster(), s.a.fellows.mark(); r != s.seen || m != s.news { // directories first
		s.seen, s.news, s.due = r, m, true
		for k := range s.a.directories() {
			if b, ok, err := s.a.Table.Get(indexKey(k)); err == nil && ok && look().lacks(kept{k, b}) {
				s.a.bestir(k)
			}
		}
	}
	if s.next == nil {
		now := s.a.instant()
		if !s.due && now <= s.at.Add(s.a.cfg.Replace) {
			return
		}
		s.due, s.at, s.next = false, now, indexKey("")
	}
	var later []shoal.Key
	end := time.Now().Add(most)
	next := s.next
	s.next = nil
	l := look()
	for k, err := range s.a.store.records(next) {
		if err != nil {
			s.a.cfg.Log.Error("agents: survey of what is kept", "err", err)
			break
		}
		if l.lacks(k) {
			later = append(later, k.key)
		}
		if !time.Now().Before(end) {
			s.next = append(indexKey(k.key), 0)
			break
		}
	}
	for _, sealed := range l.again {
		if r, _, _, err := s.a.openRecovery(s.a.Peers.Self(), sealed); err == nil {
			s.a.work.Go(func() { s.a.sealFormer(sealed, r) })
		}
	}
	for _, k := range later {
		if s.a.ctx.Err() != nil {
			return
		}
		s.a.bestir(k)
	}
}

// bestir wakes a group, which then sees to it itself.
func (a *Agents) bestir(k shoal.Key) {
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

// looker judges what is kept, by who is alive at one moment.
type looker struct {
	a             *Agents
	members, stay fleet
	again         [][]byte // recoveries whose former keepers may be back
}

func (a *Agents) looker() *looker {
	l := &looker{a: a, members: a.look()}
	l.stay = a.staying(l.members)
	return l
}

// lacks reports whether a group must be woken here, as its first keeper that lives is this node.
func (l *looker) lacks(k kept) bool {
	mark, err := l.a.store.mark(k.key)
	if err != nil {
		return false
	}
	c := mark.Conf
	now := l.a.instant()
	for _, m := range c.Members {
		if m.Peer != l.a.Peers.Self() {
			l.a.fellows.want(m.Peer, l.members[m.Peer] == shoal.Alive, now)
		}
	}
	i := slices.IndexFunc(c.Members, func(m group.Member) bool {
		s, known := l.members[m.Peer]
		here := s == shoal.Alive || !known && l.a.fellows.answers(m.Peer)
		return here && m.Role != group.Learner && !l.a.fellows.another(m.Keeper)
	})
	if i < 0 || c.Members[i].Peer != l.a.Peers.Self() {
		return false // another does it
	}
	var rec record
	if err := stored(k.record, &rec); err != nil || rec.Sealed > 0 {
		return false
	}
	if len(rec.Recovery) > 0 {
		l.again = append(l.again, rec.Recovery)
	}
	g, err := readGenesis(rec.Genesis)
	if err != nil {
		return false
	}
	w := keepers.Lacks(c, g.Replicas, l.a.fitting(l.stay, g.Needs).free(c), func(p shoal.PeerID) bool {
		s := l.members[p]
		return s == longDown || s == shoal.Down || s == shoal.Left || s == shoal.Forgotten ||
			slices.ContainsFunc(c.Members, func(m group.Member) bool { return m.Peer == p && l.a.fellows.another(m.Keeper) })
	})
	return !w.None()
}
