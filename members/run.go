package members

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
)

const (
	fanOut     = 3  // peers that are told news in a round
	maxAsked   = 16 // peers asked in a round whether they are there
	maxCalls   = 8  // members called in a round that are not connected
	maxWorkers = 64 // questions and calls under way
	saveAtOnce = 64 // rows written to disk in a round
)

// loop is the state of Run.
type loop struct {
	m      *Members
	ctx    context.Context
	work   sync.WaitGroup
	places chan struct{}

	gossip, pull, prune time.Time // when next
	met                 map[shoal.PeerID]time.Time
}

// Run keeps the table: it tells and asks, watches and redials, until ctx ends, and returns nil. It
// waits for Attach and for a fabric as long as there is none. Run it once.
func (m *Members) Run(ctx context.Context) error {
	l := &loop{m: m, ctx: ctx, places: make(chan struct{}, maxWorkers), met: map[shoal.PeerID]time.Time{}}
	tick := time.NewTicker(m.cfg.Gossip / 2)
	defer tick.Stop()
	for _, p := range m.net.Connected() {
		m.note(event{peer: p, up: true})
	}
	for {
		select {
		case <-ctx.Done():
			l.work.Wait()
			m.save(1 << 20)
			return nil
		case <-m.wake:
			l.events()
		case <-tick.C:
			l.tick()
		}
		l.changes()
	}
}

// do runs f beside the loop, if there is room.
func (l *loop) do(f func(ctx context.Context)) bool {
	select {
	case l.places <- struct{}{}:
	default:
		return false
	}
	l.work.Go(func() {
		defer func() { <-l.places }()
		f(l.ctx)
	})
	return true
}

// ready reports whether there is a fabric to look after, and the means.
func (l *loop) ready() bool {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.m.peers != nil && l.m.standing() == nil
}

// events handles what the network noted.
func (l *loop) events() {
	m := l.m
	m.mu.Lock()
	if m.peers == nil || m.standing() != nil {
		m.mu.Unlock()
		return // they wait
	}
	events := m.events
	m.events = nil
	large := m.view.Count() > m.cfg.Mesh
	m.mu.Unlock()
	enough := m.cfg.Mesh
	if m.cfg.Table {
		enough *= 2 // whom it knows stays known: worth a look whether it is there
	}
	for _, e := range events {
		switch {
		case e.up:
			l.do(func(ctx context.Context) { m.meet(ctx, e.peer) })
		case e.down && (!large || len(m.net.Connected()) < enough):
			l.again(e.peer)
		case len(e.addresses) > 0:
			l.hear(e)
		}
	}
}

// again calls a member whose connection ended. In a large fabric with many connections the host
// closes some on purpose.
func (l *loop) again(p shoal.PeerID) {
	m := l.m
	now := m.now()
	m.mu.Lock()
	addresses, ok := m.view.Broke(p, now)
	m.mu.Unlock()
	if ok && !l.do(func(ctx context.Context) { m.dial(ctx, p, addresses) }) {
		m.mu.Lock()
		m.view.Failed(p, m.rand, now) // that is, later
		m.mu.Unlock()
	}
}

// lately reports whether p was met within a minute.
func (l *loop) lately(p shoal.PeerID, now time.Time) bool {
	if len(l.met) > 4*maxSeen {
		clear(l.met)
	}
	return now.Sub(l.met[p]) < time.Minute
}

// hear connects to a node on the local network that may be a member, now and then.
func (l *loop) hear(e event) {
	m := l.m
	now := m.now()
	if l.lately(e.peer, now) {
		return
	}
	m.mu.Lock()
	row, known := m.view.Lookup(e.peer, now)
	m.mu.Unlock()
	if known && (row.State == shoal.Left || row.State == shoal.Forgotten) {
		return
	}
	l.met[e.peer] = now
	l.do(func(ctx context.Context) { m.dial(ctx, e.peer, e.addresses) })
}

// meet gets to know a peer that is connected: first its credential, then what it knows.
func (m *Members) meet(ctx context.Context, p shoal.PeerID) {
	if err := m.greet(ctx, p); err != nil {
		m.cfg.Log.Debug("members: not admitted", "peer", p, "error", err)
		return
	}
	if m.passing(p) {
		return
	}
	if err := m.fetch(ctx, p); err != nil {
		m.cfg.Log.Debug("members: pull", "peer", p, "error", err)
	}
}

// dial calls a member, or a node that may be one.
func (m *Members) dial(ctx context.Context, p shoal.PeerID, addresses []string) {
	dialing, cancel := context.WithTimeout(ctx, m.cfg.DialTimeout)
	defer cancel()
	err := m.net.Connect(dialing, p, addresses)
	if err == nil {
		err = m.greet(dialing, p) // shared with that of the new connection
	}
	if err != nil && ctx.Err() == nil {
		m.cfg.Log.Debug("members: call", "peer", p, "error", err)
		m.mu.Lock()
		m.view.Failed(p, m.rand, m.now())
		m.mu.Unlock()
	}
}

// tick does what is due.
func (l *loop) tick() {
	m := l.m
	if !l.ready() {
		return
	}
	m.refresh()
	l.events()
	now := m.now()
	if !now.Before(l.gossip) {
		l.gossip = now.Add(m.cfg.Gossip)
		l.round(now)
	}
	l.calls(now)
	if !now.Before(l.pull) {
		l.pull = now.Add(m.cfg.Pull*3/4 + time.Duration(rand.Int64N(int64(m.cfg.Pull)/2)))
		connected := m.net.Connected()
		m.mu.Lock()
		targets := m.view.Targets(connected, 1, m.rand)
		m.mu.Unlock()
		for _, p := range targets {
			l.do(func(ctx context.Context) { _ = m.fetch(ctx, p) })
		}
	}
	if !now.Before(l.prune) {
		l.prune = now.Add(time.Minute)
		m.mu.Lock()
		for _, p := range m.view.Prune(now) {
			m.unsaved[p] = true
		}
		for p, v := range m.verdicts {
			if now.After(v.until) {
				delete(m.verdicts, p)
				delete(m.skews, p)
				delete(m.told, p)
			}
		}
		m.mu.Unlock()
	}
	m.save(saveAtOnce)
}

// round tells news to a few peers and asks those who have been silent whether they are there.
func (l *loop) round(now time.Time) {
	m := l.m
	connected := m.net.Connected()
	m.mu.Lock()
	asked := m.view.Probes(connected, max(fanOut, min(maxAsked, (len(connected)+2)/3)), m.hush(), now)
	told := map[shoal.PeerID]bool{}
	if m.view.HasNews() {
		for _, p := range m.view.Targets(connected, fanOut, m.rand) {
			told[p] = true
		}
	}
	late := m.view.Late(connected, now)
	m.mu.Unlock()
	for p := range told {
		l.do(func(ctx context.Context) { m.tell(ctx, p, true) })
	}
	for _, p := range asked {
		if !told[p] { // news would cost more than it gains: with fifty nodes each would hear each rumour seventeen times
			l.do(func(ctx context.Context) { m.tell(ctx, p, false) })
		}
	}
	for _, p := range late {
		m.cfg.Log.Info("members: a connection is dead", "peer", p)
		l.do(func(context.Context) { m.net.Disconnect(p) })
	}
}

// calls dials members that are not connected: all that are due while the fabric is no larger than
// the mesh, else as many as the mesh lacks, and one a minute so that two halves find together. Whoever passes by comes before a call.
func (l *loop) calls(now time.Time) {
	m := l.m
	connected := m.net.Connected()
	type call struct {
		p         shoal.PeerID
		addresses []string
	}
	var list []call
	m.mu.Lock()
	n, lacks := maxCalls, max(0, m.cfg.Mesh-m.view.Present(connected, m.cfg.Mesh))
	for _, p := range connected {
		if lacks == 0 {
			break
		}
		v, shown := m.verdicts[p]
		if !m.view.Has(p) && shown && v.err == nil && !l.lately(p, now) {
			lacks--
			l.met[p] = now // once a minute, should it not answer
			l.do(func(ctx context.Context) { m.meet(ctx, p) })
		}
	}
	if m.view.Count() > m.cfg.Mesh {
		n = min(n, lacks)
		if n == 0 && m.rand.Float64() < float64(m.cfg.Gossip)/4/float64(m.cfg.Pull) {
			n = 1
		}
	}
	if n == 0 {
		m.mu.Unlock()
		return
	}
	for _, p := range m.view.Calls(connected, n, m.rand, now) {
		row, _ := m.view.Lookup(p, now)
		list = append(list, call{p, row.Addresses})
	}
	m.mu.Unlock()
	for _, c := range list {
		l.do(func(ctx context.Context) { m.dial(ctx, c.p, c.addresses) })
	}
}

// changes tells the watchers, and cuts off who departed.
func (l *loop) changes() {
	m := l.m
	m.mu.Lock()
	if m.st == nil {
		m.mu.Unlock()
		return
	}
	rows := m.view.Changes(m.now())
	watchers := m.watchers
	for _, r := range rows {
		m.unsaved[r.ID] = true
		if r.State == shoal.Left || r.State == shoal.Forgotten {
			delete(m.verdicts, r.ID)
		}
	}
	m.mu.Unlock()
	for _, r := range rows {
		if r.ID == m.self {
			continue
		}
		m.cfg.Log.Debug("members: changed", "member", r.ID, "state", r.State, "seq", r.Seq)
		for _, f := range watchers {
			f(r)
		}
		switch r.State {
		case shoal.Left: // its goodbye is still being answered: hung up at once, it would think it unheard
			l.do(func(ctx context.Context) {
				select {
				case <-time.After(m.cfg.AskTimeout):
				case <-ctx.Done():
				}
				m.net.Disconnect(r.ID)
			})
		case shoal.Forgotten:
			if !l.do(func(context.Context) { m.net.Disconnect(r.ID) }) {
				m.net.Disconnect(r.ID)
			}
		}
	}
}
