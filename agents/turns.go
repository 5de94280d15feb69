package agents

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// mail is a message that waits for its turn.
type mail struct {
	m       turn.Message
	caller  string
	chain   chain
	ctx     context.Context               // of the caller: a turn whose caller is gone by then is not begun
	done    func(reply []byte, err error) // told once, under the actor's lock: it must not wait
	chained *chained                      // not nil: it is not begun if one before it failed
	code    *newCode                      // not a message: the agent is to run other code from here on
}

// post puts a message into the mailbox. The caller holds mu.
func (x *actor) put(m *mail) error {
	if len(x.mail) >= x.a.cfg.Mailbox {
		return x.full()
	}
	if x.mustDie(m) {
		return die(x.genesis.Name)
	}
	x.mail = append(x.mail, m)
	x.work()
	return nil
}

// full says that too many messages wait.
func (x *actor) full() error {
	return &shoal.Error{
		Kind: shoal.Overloaded, What: "agent " + x.genesis.Name, Why: fmt.Sprintf("%d messages wait for it", len(x.mail)),
		Try: "try again later", RetryAfter: 100 * time.Millisecond,
	}
}

// work has somebody process the mailbox. The caller holds mu.
func (x *actor) work() {
	if !x.working && x.open && len(x.mail) > 0 {
		x.working = true
		x.a.work.Go(x.worker)
	}
}

// worker runs one turn after the other, each on the staged state of those before it, whose commits it does
// not wait for.
func (x *actor) worker() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.open && len(x.mail) > 0 {
		if n, _ := x.pipe.Depth(); n >= x.a.cfg.Inflight {
			x.settled(0) // waits for one
			continue
		}
		m := x.mail[0]
		x.mail = x.mail[1:]
		x.used = x.a.instant()
		if m.code != nil {
			x.change(m)
		} else {
			x.turn(m)
		}
	}
	x.working = false
	if !x.open {
		for _, m := range x.mail {
			m.done(nil, notHere())
		}
		x.mail = nil
		if x.inst != nil { // its memory may have what never came to be
			x.inst.Close()
			x.inst = nil
		}
	}
}

// notHere is told to callers whose message was not begun.
func notHere() error {
	return &shoal.Error{Kind: shoal.Unavailable, What: "agent", Why: "it does not live here any more", RetryAfter: time.Millisecond}
}

// settled waits until no turn up to index is uncommitted, or for the next commit if index is 0, or the end of
// the leadership. The caller holds mu, which is given up meanwhile.
func (x *actor) settled(index uint64) {
	for x.open {
		n, _ := x.pipe.Depth()
		if n == 0 || index > 0 && x.mark.Index >= index {
			return
		}
		ch := make(chan struct{})
		w := &x.waiting[0]
		if index > 0 {
			w = &x.waiting[len(x.waiting)-1]
		}
		then := w.done
		w.done = func(err error) { then(err); close(ch) }
		x.mu.Unlock()
		<-ch
		x.mu.Lock()
		if index == 0 {
			return
		}
	}
}

// turn processes one message. The caller holds mu, which is given up while the agent's code runs.
func (x *actor) turn(m *mail) {
	x.remember(m)
	succeeded := m.chained == nil
	if !succeeded {
		if m.chained.broken {
			x.afterAll(m, nil, stopped())
			return
		}
		defer func() { m.chained.broken = !succeeded }()
	}
	if m.ctx.Err() != nil {
		m.done(nil, m.ctx.Err())
		return
	}
	digest := turn.Digest(m.m.Method, m.m.Payload)
	if done, err := x.seen(m, digest); done || err != nil {
		succeeded = err == nil
		if err != nil {
			x.afterAll(m, nil, err)
		}
		return
	}
	epoch, life := x.epoch, x.life
	now := time.UnixMilli(max(x.a.cfg.Now().UnixMilli(), x.lastTime()))
	stage := turn.NewStage(locked{x, x.pipe}, now, x.a.cfg.StateMax, false)
	x.mu.Unlock()
	reply, err := x.run(life, m, stage, epoch, now)
	var e *turn.Entry
	if err == nil {
		e, err = stage.Turn(m.m, reply)
	}
	x.mu.Lock()
	if x.inst != nil && x.inst.Broken() {
		x.instEpoch = 0
	}
	switch {
	case !x.open || x.epoch != epoch:
		m.done(nil, notHere()) // nothing of it counts: it may run again, elsewhere
	case err == nil && x.propose(e, func(err error) {
		if err != nil {
			m.done(nil, err)
			return
		}
		m.done(reply, nil)
		if n, ok := x.a.native(x.program); ok && n.Turned != nil {
			n.Turned(x.key, m.m.Method)
		}
	}):
		succeeded = true
		return
	case err != nil:
		x.afterAll(m, nil, err)
	}
	if shoal.KindOf(err) != shoal.NotFound {
		x.instEpoch = 0 // its memory may have what never came to be
	}
}

func (x *actor) lastTime() int64 {
	m, err := turn.ReadMeta(x.pipe)
	if err != nil {
		return 0 // the turn's own reads will say so
	}
	return m.Time
}

// seen answers a message that was processed before. The caller holds mu.
func (x *actor) seen(m *mail, digest []byte) (bool, error) {
	if from := m.m.From; from.Number > 0 {
		last, err := turn.Received(x.pipe, shoal.Key(from.Agent))
		if err != nil {
			return false, err
		}
		if last.Generation > from.Generation || last.Generation == from.Generation && last.Number >= from.Number {
			x.afterAll(m, nil, nil)
			return true, nil
		}
		return false, nil
	}
	if m.m.Request.Session == "" || x.a.off.noDedupe {
		return false, nil
	}
	reply, done, err := turn.Lookup(x.pipe, m.m.Request, digest)
	if done {
		x.afterAll(m, reply, nil)
	}
	return done, err
}

// afterAll answers a message that writes nothing, once all turns that it may have seen the effect of are
// durable. The caller holds mu.
func (x *actor) afterAll(m *mail, reply []byte, err error) {
	if n, _ := x.pipe.Depth(); n == 0 || len(x.waiting) == 0 {
		m.done(reply, err)
		return
	}
	w := &x.waiting[len(x.waiting)-1]
	then := w.done
	w.done = func(lost error) {
		then(lost)
		if lost != nil {
			m.done(nil, lost)
		} else {
			m.done(reply, err)
		}
	}
}

// propose stages an entry and puts it into the log; false if that is impossible. The caller holds mu.
func (x *actor) propose(e *turn.Entry, done func(error)) bool {
	if e.Event == nil {
		e.Event = x.news()
	}
	at, err := x.g.Propose(x.a.instant(), e.Encode())
	if err != nil {
		done(err)
		x.flush()
		return false
	}
	if _, err := x.pipe.Push(at.Index, e); err != nil {
		done(err)
		x.fail(err)
		return false
	}
	if x.a.off.noCommit {
		done(nil)
		done = func(error) {}
	}
	x.waiting = append(x.waiting, waiting{at, done})
	x.flush()
	return true
}

// run has the agent's code process a message.
func (x *actor) run(life context.Context, m *mail, s *turn.Stage, epoch uint64, now time.Time) ([]byte, error) {
	if m.m.Method == migrate { // of a timer, say
		return nil, noMigrate()
	}
	ctx := life
	if d, ok := m.ctx.Deadline(); ok { // the time of the call bounds that of the turn, its end does not end it
		l := within(life, time.Until(d))
		defer l.done()
		ctx = l
	}
	inst, err := x.instance(ctx, epoch) // which may have to be fetched and compiled first
	if err != nil {
		return nil, err
	}
	bounded := within(ctx, x.a.cfg.TurnTime)
	defer bounded.done()
	ctx = bounded
	t := &shoal.Turn{
		Agent: x.key, Method: m.m.Method, Payload: m.m.Payload, Caller: m.caller, Request: m.m.Request.String(),
		Trace: m.chain.Trace, Epoch: epoch, Now: now, Seed: seed(x.key, epoch, m.m.Request.String()), State: s, Data: reading{x},
	}
	out := &effects{x: x, stage: s, mail: m}
	t.Out = out
	shared := x.a.draft(t)
	reply, err := inst.Turn(ctx, t)
	x.keepLines(epoch, out.lines)
	switch {
	case out.died != nil:
		return nil, out.died
	case err == nil: // before the turn is written: one that runs again changes it again, and none that happened has not
		err = shared.Commit(ctx)
	}
	return reply, err
}

// draft gives a turn mergeable state, and returns what it will have staged.
func (a *Agents) draft(t *shoal.Turn) shoal.Draft {
	if a.Shared == nil {
		return nothing{}
	}
	d := a.Shared.Draft(t.Read)
	t.Shared = d
	return d
}

// nothing is what is staged where there is no mergeable state.
type nothing struct{ shoal.Shared }

// Commit implements shoal.Draft.
func (nothing) Commit(context.Context) error { return nil }

func seed(key shoal.Key, epoch uint64, request string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte(key), epoch), request...)
}

// instance returns the worker's instance for an epoch: one that saw turns of another, or of this one that
// came to nothing, remembers what never was.
func (x *actor) instance(ctx context.Context, epoch uint64) (shoal.Instance, error) {
	if x.inst != nil && x.instEpoch == epoch {
		return x.inst, nil
	}
	if x.inst != nil {
		x.inst.Close()
		x.inst = nil
	}
	inst, err := x.another(ctx)
	if err != nil {
		return nil, err
	}
	x.inst = inst
	x.instEpoch = epoch
	return x.inst, nil
}

// another returns an instance that has seen nothing.
func (x *actor) another(ctx context.Context) (shoal.Instance, error) {
	if inst := x.spared(ctx); inst != nil {
		return inst, nil
	}
	code, err := x.behaviour(ctx)
	if err != nil {
		return nil, err
	}
	return code.Open(ctx)
}

// behaviour returns the agent's code, made ready when it is first asked for.
func (x *actor) behaviour(ctx context.Context) (shoal.Behaviour, error) {
	x.mu.Lock()
	code, program := x.code, x.program
	x.mu.Unlock()
	if code != nil {
		return code, nil
	}
	code, err := x.a.behaviour(ctx, program)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.program == program {
		x.code = code
	}
	return code, nil
}

// locked reads a state under the actor's lock, while others change it.
type locked struct {
	x *actor
	v turn.View
}

func (l locked) Get(key []byte) ([]byte, bool, error) {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	return l.v.Get(key)
}

func (l locked) Scan(low, high []byte) iter.Seq2[[]byte, turn.Cell] {
	return func(yield func([]byte, turn.Cell) bool) {
		l.x.mu.Lock()
		defer l.x.mu.Unlock()
		for k, c := range l.v.Scan(low, high) {
			if !yield(k, c) {
				return
			}
		}
	}
}
