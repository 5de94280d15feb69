package agents

import (
	"context"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/wire"
)

// fellows is what those said of themselves with whom this node keeps agents that sleep: whether they are there, where the member
// table does not know them, and on which disk, which no table knows: a keeper is a peer with its disk. Of groups in use it is
// known from their messages. Each fellow is asked by itself, however many agents are kept with it.
type fellows struct {
	mu   sync.Mutex
	list map[shoal.PeerID]*fellow
	news uint64 // grows when somebody has become silent for long, or has another disk
}

type fellow struct {
	store  string        // as it said last; "": it has not yet
	asked  group.Instant // last; 0: never
	silent group.Instant // since when it does not answer; 0: it does, or was not asked
	wanted group.Instant // when a group was last looked at that it keeps
	known  bool          // the table knows it as alive
	told   bool          // that it is silent for long is among the news
	asking bool
}

const maxVisits = 8 // fellows asked in a turn

// want notes that a peer is a fellow.
func (f *fellows) want(p shoal.PeerID, known bool, now group.Instant) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.list[p] == nil {
		f.list[p] = &fellow{}
	}
	f.list[p].wanted, f.list[p].known = now, known
}

// doubt has a peer asked at the next turn which disk it has: it says that it keeps nothing of what it should.
func (f *fellows) doubt(p shoal.PeerID, now group.Instant) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.list[p] == nil {
		f.list[p] = &fellow{}
	}
	f.list[p].wanted, f.list[p].asked = now, 0
}

// answers reports whether a peer was there when it was last asked.
func (f *fellows) answers(p shoal.PeerID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.list[p]
	return x != nil && x.store != "" && x.silent == 0
}

// another reports whether a keeper's peer lives on another disk by now.
func (f *fellows) another(k group.Keeper) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.list[k.Peer]
	return x != nil && x.store != "" && x.store != k.Store
}

// silent lists the peers that have been so for longer than span.
func (f *fellows) silent(now group.Instant, span time.Duration) (list []shoal.PeerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, x := range f.list {
		if x.silent > 0 && now > x.silent.Add(span) {
			list = append(list, p)
		}
	}
	return list
}

func (f *fellows) mark() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news
}

// visit asks some of those who were not asked for a while: half of Config.Replace, or five times that where the table
// knows that they live. It does not wait for them.
func (a *Agents) visit() {
	f, now := &a.fellows, a.instant()
	f.mu.Lock()
	defer f.mu.Unlock()
	left := maxVisits
	for p, x := range f.list {
		wait := a.cfg.Replace / 2
		if x.known {
			wait = 5 * a.cfg.Replace
		}
		switch {
		case x.asking:
		case now > x.wanted.Add(10*a.cfg.Replace):
			delete(f.list, p)
		case left > 0 && (x.asked == 0 || now > x.asked.Add(wait)):
			left--
			x.asking, x.asked = true, now
			a.work.Go(func() {
				store, err := a.askStore(a.ctx, p)
				if a.ctx.Err() == nil {
					a.visited(x, now, store, err)
				}
			})
		}
	}
}

// visited notes what came of asking a fellow at some moment.
func (a *Agents) visited(x *fellow, at group.Instant, store string, err error) {
	f := &a.fellows
	f.mu.Lock()
	defer f.mu.Unlock()
	x.asking = false
	switch {
	case err != nil && x.silent == 0:
		x.silent, x.told = at, false
	case err != nil:
		if !x.told && at > x.silent.Add(a.cfg.Replace) {
			x.told = true
			f.news++
		}
	default:
		if x.store != store && x.store != "" || x.told {
			f.news++
		}
		x.store, x.silent, x.told = store, 0, false
	}
}

// askStore asks a peer for its disk.
func (a *Agents) askStore(ctx context.Context, p shoal.PeerID) (string, error) {
	ask, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	b, err := a.Peers.Ask(ask, p, "agents.keep", nil)
	if err != nil {
		return "", err
	}
	var w willing
	if err := wire.Unmarshal("answer to keep", b, &w); err != nil {
		return "", err
	}
	if w.Store == "" {
		return "", shoal.E(shoal.Invalid, "peer "+p.Short(), "it names no disk", "")
	}
	return w.Store, nil
}
