package agents

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/keepers"
)

// departure is for how long a peer's word that it leaves holds; it says so again every second.
const departure = 15 * time.Second

// A drain looks so often, and refuses when an agent would be lost for so many looks in a row.
const (
	drainPause   = 250 * time.Millisecond
	unsafeRounds = 20
)

// Drain hands over what this node keeps: others take its place in all groups in which there is somebody who can.
// Refused: an agent would be lost, as nobody else has enough of it; the node then keeps all that it kept.
// progress is told how many agents are still kept here, and how many were.
func (a *Agents) Drain(ctx context.Context, progress func(left, all int)) error {
	a.leaving.Store(true)
	err := a.drain(ctx, progress)
	if err != nil {
		a.leaving.Store(false)
	}
	return err
}

func (a *Agents) drain(ctx context.Context, progress func(left, all int)) error {
	all, alone := 0, 0
	for round := 0; ; round++ {
		f := a.look()
		if round%4 == 0 {
			a.sayLeaving(ctx, f)
		}
		left, waiting, lost := 0, 0, []string(nil)
		for k, err := range a.store.keys() {
			if err != nil {
				return err
			}
			left++
			more, name, safe := a.handOver(k, f)
			switch {
			case more:
				waiting++
			case !safe:
				lost = append(lost, name)
			}
		}
		all = max(all, left)
		if progress != nil {
			progress(left, all)
		}
		if alone++; len(lost) == 0 {
			alone = 0
		}
		switch {
		case alone > unsafeRounds: // not only until this node has heard of the last change
			return shoal.E(shoal.Refused, "leave", fmt.Sprintf("agents would be lost, as too few others keep them: %s",
				strings.Join(lost[:min(len(lost), 5)], ", ")), "let other nodes join first, or remove the agents")
		case waiting == 0 && len(lost) == 0:
			return nil
		}
		select {
		case <-time.After(drainPause):
		case <-ctx.Done():
			return shoal.Wrap(shoal.Timeout, fmt.Sprintf("leave: %d agents are still to be handed over", waiting), ctx.Err())
		}
	}
}

// sayLeaving tells the others, so that the leaders among them replace this node.
func (a *Agents) sayLeaving(ctx context.Context, f fleet) {
	ask, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	done := make(chan struct{}, len(f))
	n := 0
	for p, s := range f {
		if s == shoal.Alive && p != a.Peers.Self() {
			n++
			a.work.Go(func() {
				_, _ = a.Peers.Ask(ask, p, "agents.leaving", nil) // said again soon
				done <- struct{}{}
			})
		}
	}
	for range n {
		<-done
	}
}

func (a *Agents) onLeaving(_ context.Context, from shoal.PeerID, _ []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.departing[from] = a.instant()
	return nil, nil
}

// departs reports whether a peer said that it leaves.
func (a *Agents) departs(p shoal.PeerID) bool {
	if p == a.Peers.Self() {
		return a.leaving.Load()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.departing[p]
	return ok && a.instant() < at.Add(departure)
}

// handOver moves one group on. more: somebody can take this node's place, and has not yet. safe: the group goes
// on without this node.
func (a *Agents) handOver(k shoal.Key, f fleet) (more bool, name string, safe bool) {
	rec, _, mark, err := a.store.glance(k)
	if err != nil {
		return false, "", true // it is gone by now
	}
	g, err := readGenesis(rec.Genesis)
	if err != nil {
		return false, KeyText(k), false
	}
	voters, others, mine := 0, 0, false
	for _, m := range mark.Conf.Members {
		switch {
		case m.Peer == a.Peers.Self():
			mine = true
			voters++
		case m.Role != group.Learner:
			voters++
			if f[m.Peer] == shoal.Alive && !a.departs(m.Peer) {
				others++
			}
		}
	}
	safe = !mine || 2*others > voters || g.Code == DirectoryCode && len(f) == 1 // the last node takes its names along
	gone := func(p shoal.PeerID) bool { return a.lostForGood(f, p) }
	w := keepers.Lacks(mark.Conf, g.Replicas, a.takers(f, mark.Conf, g.Needs), gone)
	more = mine && (mark.Conf.Joint() || !w.None())
	if !more {
		return false, g.Name, safe
	}
	if x, err := a.get(k); err == nil {
		x.event(func(g *group.Group, now group.Instant) {
			x.used = now
			if !x.open {
				_ = g.Campaign(now) // or another leads, and was told
			}
		})
		x.maintain(f)
	}
	return true, g.Name, safe
}

// takers counts the living members that keep nothing of a group, stay and fit.
func (a *Agents) takers(f fleet, c group.Conf, needs string) int {
	return a.fitting(a.staying(f), needs).free(c)
}

// fitting is a fleet without those that do not fulfil a requirement.
func (a *Agents) fitting(f fleet, needs string) fleet {
	if needs == "" {
		return f
	}
	fit := fleet{}
	for _, m := range append(a.Members.Table(), a.self()) {
		if s, ok := f[m.ID]; ok && (s != shoal.Alive || a.unfit(needs, m) == "") {
			fit[m.ID] = s
		}
	}
	return fit
}

// staying is a fleet without those who leave.
func (a *Agents) staying(f fleet) fleet {
	stay := fleet{}
	for p, s := range f {
		if !a.departs(p) {
			stay[p] = s
		}
	}
	return stay
}
