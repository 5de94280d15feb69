package agents

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

// actor is an agent that this node keeps, in memory: the group, and, while this node leads it, the activation.
type actor struct {
	a       *Agents
	key     shoal.Key
	genesis *Genesis
	rec     record
	state   state
	self    uint64      // member
	void    atomic.Bool // it failed: what it still has on its way to the disk must not get there, as something before it did not

	mu      sync.Mutex
	g       *group.Group
	timer   *time.Timer // for the group's Next, and the agent's own timers
	peers   []shoal.PeerID
	damaged map[shoal.PeerID]group.Instant // keepers that said so of their state, and when
	mark    group.Mark                     // of the applied state
	due     int64                          // as the table says; 0: nothing is
	alarm   int64                          // when the agent's next timer is due, of those that are not being fired; 0: none is
	pipe    *turn.Pipe
	waiting []waiting // turns on their way, in the order of the log
	base    uint64    // up to here the log is truncated
	logEnd  uint64    // index of the last entry written
	tail    int       // bytes of the log since it was truncated
	dead    error     // not in memory any more
	used    group.Instant
	expired group.Instant // when sessions were last looked through

	open        bool // this node leads, and the barrier is applied
	epoch       uint64
	changed     chan struct{} // closed when leadership changes
	reads       map[uint64]chan bool
	mail        []*mail
	working     bool
	calling     *chain          // of the turn under way, while it waits for another agent
	life        context.Context // of this leadership
	end         context.CancelFunc
	posting     bool // the outbox is being worked off
	maintaining bool
	firing      bool // a timer's turn is under way
	tries       int  // of it, so far
	recent      []Recent
	program     string           // CID of the code in force, or the name of native code
	code        shoal.Behaviour  // made ready; nil: not yet
	noted       turn.Noted       // what the history says, with all that is on its way to it
	inst        shoal.Instance   // of turns; only the worker uses it
	instEpoch   uint64           // whose turns it remembers; 0: it is spoilt
	readers     []shoal.Instance // of reads, idle
	spare       *spare           // being opened; nil: none is
	pull        *pull            // nil: it has paid nothing
}

// waiting is a turn that was proposed. done is told, once, what came of it; nil: it happened.
type waiting struct {
	at   group.Position
	done func(error)
}

// load reads a group from the disk.
func (a *Agents) load(key shoal.Key, promise group.Promise, owes bool) (*actor, error) {
	rec, st, err := a.store.load(key)
	if err != nil {
		return nil, err
	}
	gen, _, _, err := openGenesis(a.Members.Fabric(), rec.Genesis)
	if err != nil {
		return nil, &shoal.Error{Kind: shoal.Corrupt, What: "agent " + KeyText(key), Why: err.Error(), Err: err}
	}
	x := &actor{
		a: a, key: key, genesis: gen, rec: rec, state: a.store.state(key, rec), mark: st.Mark,
		changed: make(chan struct{}), reads: map[uint64]chan bool{},
	}
	x.pipe = turn.NewPipe(x.state)
	if x.program, err = program(x.state, gen); err != nil {
		return nil, err
	}
	self, ok := st.Self(group.Keeper{Peer: a.Peers.Self(), Store: a.store.name})
	if !ok { // removed, or not yet told of: it may still be asked for what it has
		return nil, shoal.E(shoal.NotFound, "agent "+KeyText(key), "this node does not keep it any more", "")
	}
	x.self = self
	now := a.instant()
	if !owes && now < a.begun.Add(a.cfg.Lease) {
		promise = group.Booted(a.begun, a.cfg.Lease)
	}
	x.g, err = group.Open(group.Config{
		Self: self, Incarnation: a.store.boot, Seed: uint64(now), Lease: a.cfg.Lease,
	}, st, promise, now)
	if err != nil {
		return nil, err
	}
	for _, e := range st.Entries {
		x.tail, x.logEnd = x.tail+len(e.Data), e.Index
	}
	x.used, x.base = now, st.Base.Index
	x.timer = time.AfterFunc(time.Hour, x.tick)
	return x, nil
}

// begin sets a loaded group going.
func (x *actor) begin() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dead == nil {
		if err := x.findDue(); err != nil {
			x.fail(err)
			return err
		}
		x.watch(x.mark.Conf)
		x.flush()
	}
	return x.dead
}

// watch has the node look after the life of the keepers of a configuration. The caller holds mu.
func (x *actor) watch(c group.Conf) {
	var now []shoal.PeerID
	for _, m := range c.Members {
		if m.Peer != x.a.Peers.Self() {
			now = append(now, m.Peer)
		}
	}
	for _, p := range now {
		if !slices.Contains(x.peers, p) {
			x.a.post.use(p)
			boot, suspected := x.a.post.life(p)
			if boot > 0 {
				x.g.Alive(x.a.instant(), p, boot)
			}
			if suspected {
				x.g.Suspect(x.a.instant(), p)
			}
		}
	}
	for _, p := range x.peers {
		if !slices.Contains(now, p) {
			x.a.post.release(p)
		}
	}
	x.peers = now
}

func (x *actor) shares(p shoal.PeerID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Contains(x.peers, p)
}

// event has the group handle something, and does what comes of it.
func (x *actor) event(f func(g *group.Group, now group.Instant)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dead != nil {
		return
	}
	f(x.g, x.a.instant())
	x.flush()
}

// tick is called when something is due.
func (x *actor) tick() {
	x.event(func(g *group.Group, now group.Instant) {
		if t, ok := g.Next(); ok && now >= t {
			g.Wake(now)
		}
		x.fire()
	})
}

// flush does what the group asks for, until it asks for nothing. The caller holds mu.
func (x *actor) flush() {
	for x.dead == nil {
		e := x.g.Take()
		if e.Quarantined != nil {
			x.a.mu.Lock()
			x.a.quarantine(x.key, e.Quarantined)
			x.a.mu.Unlock()
			x.leave(e.Quarantined)
			return
		}
		busy := false
		if e.Persist != nil {
			x.persist(e.Persist)
		}
		for _, env := range e.Send {
			x.a.post.send(env.To.Peer, x.key, env.Data)
		}
		if len(e.Apply) > 0 {
			if err := x.apply(e.Apply, e.Mark); err != nil {
				x.fail(err)
				return
			}
			x.g.Applied(x.a.instant(), e.Mark.Index)
			busy = true
		}
		for _, l := range e.Leads {
			x.lead(l)
			busy = true
		}
		for _, r := range e.Reads {
			if ch := x.reads[r.ID]; ch != nil {
				delete(x.reads, r.ID)
				ch <- r.OK
			}
		}
		for _, m := range e.Ship {
			x.ship(m)
		}
		if e.Sleep && x.g.Quiet() {
			x.leave(asleep())
			return
		}
		if e.Sealed > 0 {
			x.depart(x.a.store.sealing(x.key, x.rec, e.Sealed), sealedOff(x.key, record{Generation: x.rec.Generation, Sealed: e.Sealed}))
			return
		}
		if e.Removed {
			x.a.work.Go(func() { _ = x.a.Directory.Withdraw(x.a.ctx, x.key) })
			x.depart(x.a.store.leaving(x.key, x.self), shoal.E(shoal.NotFound, "agent "+KeyText(x.key), "this node does not keep it any more", ""))
			return
		}
		if !busy {
			break
		}
	}
	x.arm()
}

func asleep() error {
	return &shoal.Error{Kind: shoal.Unavailable, What: "agent", Why: "it went to sleep", RetryAfter: time.Millisecond}
}

// arm sets the clock for whatever is due next. The caller holds mu.
func (x *actor) arm() {
	if x.dead != nil {
		return
	}
	wait := time.Hour
	now := x.a.instant()
	if t, ok := x.g.Next(); ok {
		wait = max(0, time.Duration(t-now))
	}
	if x.open && x.alarm > 0 && !x.firing { // what is under way, or posted, is looked after by whoever does it
		wait = min(wait, max(0, time.Duration(x.alarm-x.a.cfg.Now().UnixMilli())*time.Millisecond))
	}
	x.timer.Reset(wait)
}

// persist writes a batch, together with those of other groups.
func (x *actor) persist(b *group.Batch) {
	var list []shoal.Write
	if b.Hard != nil {
		list = append(list, hardWrite(x.key, *b.Hard))
	}
	if len(b.Entries) > 0 {
		first := b.Entries[0].Index
		if first <= x.logEnd { // those that another leader's replace; seldom, as a range deleted slows every read of the table
			list = append(list, shoal.Write{Key: logKey(x.key, first), Delete: true, End: next(groupKey(x.key, partLog))})
		}
		x.logEnd = b.Entries[len(b.Entries)-1].Index
		for _, e := range b.Entries {
			list = append(list, shoal.Write{Key: logKey(x.key, e.Index), Value: e.AppendTo(nil)})
			x.tail += len(e.Data)
		}
	}
	applied := x.mark.Index
	x.a.writer.putUnless(&x.void, list, b.Sync, func(err error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.dead != nil {
			return
		}
		if err != nil {
			x.fail(err)
			return
		}
		if b.Sync {
			x.g.Synced(applied) // it was written before, into the same log of the disk
		}
		x.g.Persisted(x.a.instant(), b.ID)
		x.flush()
		x.truncate()
	})
}

// truncate forgets the log that nobody needs any more. The caller holds mu.
func (x *actor) truncate() {
	const least = 64 // entries that are kept for those who are a little behind
	if x.dead != nil || x.tail < x.a.cfg.TailBytes && x.mark.Index-min(x.mark.Index, x.base) < 1024 || x.mark.Index < least {
		return
	}
	base := x.g.Compact(x.mark.Index - least)
	if base.Index <= x.base {
		return
	}
	x.base, x.tail = base.Index, 0
	x.a.writer.putUnless(&x.void, []shoal.Write{
		{Key: groupKey(x.key, partBase), Value: wire.Marshal(base)},
		{Key: logKey(x.key, 0), Delete: true, End: logKey(x.key, base.Index+1)},
	}, false, func(error) {}) // on failure the next start finds more of the log than it needs
}

// lead begins or ends the activation. The caller holds mu.
func (x *actor) lead(l group.Leadership) {
	close(x.changed)
	x.changed = make(chan struct{})
	x.unlead()
	x.epoch = l.Epoch
	if !l.Leading {
		x.unprepare()
		return
	}
	x.open = true
	x.life, x.end = context.WithCancel(x.a.ctx)
	x.a.cfg.Log.Debug("agent lives here", "agent", KeyText(x.key), "name", x.genesis.Name, "epoch", l.Epoch)
	m, err := turn.ReadMeta(x.state)
	if err == nil {
		err = x.findDue() // without what was staged and lost
	}
	if err != nil {
		x.fail(err)
		return
	}
	if x.noted = m.Noted; m.Noted.Leader != "" && m.Noted.Leader != x.a.Peers.Self() {
		x.forgetPaid()
		x.noteSoon() // else with the first turn: waking up is no news
	}
	x.work()
	x.fire()
	x.postOut()
}

// unlead drops all that is not durable. The caller holds mu.
func (x *actor) unlead() {
	if x.open {
		x.open = false
		x.end()
	}
	x.pipe.Reset()
	for _, w := range x.waiting {
		w.done(lost())
	}
	x.waiting, x.pull = nil, nil
	for _, i := range x.readers {
		i.Close()
	}
	x.readers = nil
}

// resign has a leader hand over, because its node stops.
func (x *actor) resign() {
	x.event(func(g *group.Group, now group.Instant) { g.Resign(now) })
}

// evict takes the group out of memory.
func (x *actor) evict(why error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dead == nil {
		x.leave(why)
	}
}

// fail takes a group out of memory whose disk did not do what it was asked: what was written is read anew
// when it is needed again, and nothing was acknowledged. The caller holds mu.
func (x *actor) fail(err error) {
	x.a.cfg.Log.Error("agent: its state cannot be written or read", "agent", KeyText(x.key), "err", err)
	x.void.Store(true)
	x.a.mu.Lock()
	x.a.behind[x.key] = true
	x.a.mu.Unlock()
	if shoal.KindOf(err) == shoal.Corrupt {
		x.a.mu.Lock()
		x.a.quarantine(x.key, err)
		x.a.mu.Unlock()
	}
	// What this disk has is no answer of the agent's: another keeper may do better, and a message is sent again.
	x.leave(&shoal.Error{Kind: shoal.Unavailable, What: "agent " + KeyText(x.key), Why: err.Error(), Err: err})
}

// depart ends the group on this node by a last batch. Whoever needs the group meanwhile waits for that: it would find what is going, or a
// part of it. If the batch fails, the next message of the group ends it again. The caller holds mu.
func (x *actor) depart(batch []shoal.Write, why error) {
	x.a.mu.Lock()
	x.a.behind[x.key] = true
	x.a.mu.Unlock()
	x.a.writer.put(batch, true, func(error) {
		x.a.mu.Lock()
		defer x.a.mu.Unlock()
		delete(x.a.behind, x.key)
	})
	x.leave(why)
}

// leave takes the group out of memory. The caller holds mu.
func (x *actor) leave(why error) {
	promise, paid := x.g.Promise(), x.pull
	x.dead = why
	x.timer.Stop()
	x.unlead()
	x.unprepare()
	close(x.changed)
	for id, ch := range x.reads {
		delete(x.reads, id)
		ch <- false
	}
	for _, m := range x.mail {
		m.done(nil, why)
	}
	x.mail = nil
	for _, p := range x.peers {
		x.a.post.release(p)
	}
	if !x.working && x.inst != nil {
		x.inst.Close()
		x.inst = nil
	}
	x.a.mu.Lock()
	defer x.a.mu.Unlock()
	if x.a.awake[x.key] == x {
		delete(x.a.awake, x.key)
		if !promise.Over(x.a.instant()) {
			x.a.promises[x.key] = promise
		}
		if paid != nil && !paid.going {
			x.a.paid.Add(x.key, paid)
		}
	}
}
