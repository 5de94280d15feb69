package agents

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// resend is after how long a message of the outbox that found no receiver is tried again.
const resend = 2 * time.Second

// findDue reads from the state when it must be looked at next. The caller holds mu.
func (x *actor) findDue() error {
	timers, err := turn.Timers(x.state)
	if err != nil {
		return err
	}
	x.due = 0
	if len(timers) > 0 {
		x.due = timers[0].Due
	}
	x.alarm = x.due
	out, err := turn.Outbox(x.state, 1)
	if err != nil {
		return err
	}
	if len(out) > 0 {
		if at := x.a.cfg.Now().Add(resend).UnixMilli(); x.due == 0 || at < x.due {
			x.due = at
		}
	}
	return nil
}

// schedule notes on disk when the agent must be looked at next, so that its keepers wake it then. The
// caller holds mu.
func (x *actor) schedule() error {
	was := x.due
	if err := x.findDue(); err != nil || was == x.due {
		return err
	}
	var batch []shoal.Write
	if was > 0 {
		batch = append(batch, shoal.Write{Key: dueKey(was, x.key), Delete: true})
	}
	if x.due > 0 {
		batch = append(batch, shoal.Write{Key: dueKey(x.due, x.key)})
	}
	if err := x.a.Table.Commit(false, batch...); err != nil {
		return err
	}
	if x.open {
		x.postOut()
	}
	return nil
}

// fire puts the timers that are due into the mailbox. The caller holds mu.
func (x *actor) fire() {
	now := x.a.cfg.Now().UnixMilli()
	if !x.open || x.alarm == 0 || x.alarm > now || x.firing {
		return
	}
	timers, err := turn.Timers(x.pipe)
	if err != nil {
		x.fail(err)
		return
	}
	x.alarm = 0
	if len(timers) > 0 { // turns that are not committed yet may have set others
		x.alarm = timers[0].Due
	}
	if x.alarm == 0 || x.alarm > now {
		return
	}
	t := timers[0]
	x.firing = true
	m := &mail{
		m: turn.Message{Method: t.Method, Payload: t.Payload, Fired: t}, caller: "timer", ctx: x.life,
		done: func(_ []byte, err error) { x.fired(t, err) },
	}
	if err := x.put(m); err != nil {
		x.fireSoon(timerPause)
	}
}

const (
	maxTries   = 5
	timerPause = 200 * time.Millisecond // before a timer's turn is tried again, and longer each time
)

// fired is told what came of a timer's turn: one that fails is tried again a few times, then given up. The
// caller holds mu.
func (x *actor) fired(t turn.Timer, err error) {
	if err == nil || !x.open {
		x.firing, x.tries = false, 0
		if x.open {
			x.fireSoon(0)
		}
		return
	}
	if dies(err) {
		x.fireSoon(10 * time.Millisecond)
		return
	}
	if x.tries++; x.tries < maxTries {
		x.fireSoon(time.Duration(x.tries) * timerPause)
		return
	}
	x.firing, x.tries = false, 0
	x.a.cfg.Log.Warn("agent: a timer's turn fails; it is given up", "agent", x.genesis.Name, "timer", t.Name, "err", err)
	x.propose(&turn.Entry{Kind: turn.Turn, At: x.a.cfg.Now().UnixMilli(), Method: t.Method, Fired: t}, func(error) {})
}

// fireSoon looks at the timers again, outside of what is going on now; none fires before. The caller holds mu.
func (x *actor) fireSoon(wait time.Duration) {
	x.firing = true
	time.AfterFunc(wait, func() {
		x.event(func(*group.Group, group.Instant) {
			x.firing = false
			x.fire()
		})
	})
}

// postOut has the outbox worked off. The caller holds mu.
func (x *actor) postOut() {
	if x.posting || !x.open {
		return
	}
	x.posting = true
	x.a.work.Go(x.poster)
}

// poster sends the messages of the outbox to their receivers, one after the other for each of them, until
// there are none.
func (x *actor) poster() {
	tries := map[string]int{}
	for {
		x.mu.Lock()
		var list []turn.Pending
		var err error
		if x.open {
			list, err = turn.Outbox(x.state, 1)
		}
		if err != nil {
			x.fail(err)
		}
		if len(list) == 0 || !x.open {
			x.posting = false
			x.mu.Unlock()
			return
		}
		life, gen := x.life, x.rec.Generation
		x.mu.Unlock()

		e := &turn.Entry{Kind: turn.Settle, At: x.a.cfg.Now().UnixMilli()}
		results := make(chan turn.Settled, len(list))
		for _, p := range list {
			x.a.work.Go(func() {
				err := x.deliver(life, gen, p)
				s := turn.Settled{To: p.To, Number: p.Number}
				switch {
				case err == nil:
				case !dies(err) && refusal(err):
					s.Why = err.Error()
				default:
					s.Number = 0 // later
				}
				results <- s
			})
		}
		waiting := false
		for range list {
			s := <-results
			switch id := string(s.To); {
			case s.Number == 0:
				waiting = true
			case s.Why != "":
				if tries[id]++; tries[id] < maxTries {
					waiting = true
					continue
				}
				delete(tries, id)
				x.a.cfg.Log.Warn("agent: a message is refused; it is kept with the dead", "agent", x.genesis.Name,
					"to", KeyText(shoal.Key(s.To)), "why", s.Why)
				e.Settled = append(e.Settled, s)
			default:
				delete(tries, id)
				e.Settled = append(e.Settled, s)
			}
		}
		if len(e.Settled) > 0 {
			done := make(chan struct{})
			x.mu.Lock()
			if x.open {
				x.propose(e, func(error) { close(done) })
			} else {
				close(done)
			}
			x.mu.Unlock()
			<-done
		}
		if waiting {
			select {
			case <-time.After(resend / 10):
			case <-life.Done():
			}
		}
	}
}

// refusal reports whether an error is the receiver's word: it, or its code, will not have the message. All else is
// between here and there: a node that stops, a disk that is full, keepers that are down.
func refusal(err error) bool {
	if errors.Is(err, errNowhere) {
		return false
	}
	switch shoal.KindOf(err) {
	case shoal.Failed, shoal.NotFound, shoal.Invalid, shoal.Refused:
		return true
	}
	return false
}

// deliver brings one message of the outbox to its receiver.
func (x *actor) deliver(life context.Context, gen uint64, p turn.Pending) error {
	ctx, cancel := context.WithTimeout(life, x.a.cfg.TurnTime)
	defer cancel()
	_, err := x.a.ask(ctx, shoal.Key(p.To), &question{
		Key: p.To, Method: p.Method, Payload: p.Payload, Caller: KeyText(x.key),
		From: turn.Source{Agent: []byte(x.key), Generation: gen, Number: p.Number},
	})
	return err
}

// tend looks after the agents of this node: those that nobody uses go to sleep, those with something due
// wake, promises that are over are forgotten.
func (a *Agents) tend() {
	now := a.instant()
	a.mu.Lock()
	for k, p := range a.promises {
		if p.Over(now) {
			delete(a.promises, k)
		}
	}
	a.mu.Unlock()
	f := sync.OnceValue(a.look)
	a.each(func(x *actor) {
		x.maintain(f())
		x.attract()
		x.expire(now)
		x.rest(now)
	})
	wall := a.cfg.Now().UnixMilli()
	for p, err := range a.Table.Scan([]byte{atDue}, binary.BigEndian.AppendUint64([]byte{atDue}, uint64(wall))) {
		if err != nil {
			a.cfg.Log.Error("agents: what is due", "err", err)
			return
		}
		due, key := int64(binary.BigEndian.Uint64(p.Key[1:])), shoal.Key(p.Key[9:])
		if kept := a.rouse(key, due, time.Duration(wall-due)*time.Millisecond); !kept {
			if err := a.Table.Commit(false, shoal.Write{Key: p.Key, Delete: true}); err != nil {
				a.cfg.Log.Error("agents: what is due", "err", err)
			}
		}
	}
}

// rouse wakes an agent with something due: the first keeper at once, the others when it does not. It reports
// false if nothing is due then: this node does not keep it any more, or its due time is another.
func (a *Agents) rouse(key shoal.Key, due int64, late time.Duration) (kept bool) {
	a.mu.Lock()
	x := a.awake[key]
	a.mu.Unlock()
	if x == nil {
		_, _, mark, err := a.store.glance(key)
		if err != nil {
			return shoal.KindOf(err) != shoal.NotFound
		}
		for i, m := range mark.Conf.Members {
			if m.Peer == a.Peers.Self() && late < time.Duration(i)*(a.cfg.Suspect+time.Second) {
				return true
			}
		}
		if x, err = a.get(key); err != nil {
			return true
		}
	}
	kept = true
	x.event(func(g *group.Group, now group.Instant) {
		if x.due != due { // read anew since it was noted
			if x.due > 0 {
				kept = a.Table.Commit(false, shoal.Write{Key: dueKey(x.due, key)}) != nil
			} else {
				kept = false
			}
			return
		}
		if !x.open {
			_ = g.Campaign(now) // or another leads it
		}
	})
	return kept
}

// How often an agent in use looks for sessions that nobody uses any more, and how many it forgets at a time.
const (
	expireEvery = 10 * time.Minute
	expireMost  = 256
)

// expire forgets the replies of sessions that were not used for long.
func (x *actor) expire(now group.Instant) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dead != nil || !x.open || now < x.expired.Add(expireEvery) {
		return
	}
	x.expired = now
	wall := x.a.cfg.Now()
	list, err := turn.Stale(x.state, wall.Add(-turn.Retention).UnixMilli(), expireMost)
	if err != nil {
		x.fail(err)
		return
	}
	if len(list) > 0 {
		x.propose(&turn.Entry{Kind: turn.Expire, At: wall.UnixMilli(), Sessions: list}, func(error) {}) // or at the next look
	}
}

// rest puts the agent to sleep if nobody has used it for a while.
func (x *actor) rest(now group.Instant) {
	x.mu.Lock()
	defer x.mu.Unlock()
	idle := x.a.cfg.Idle
	if !x.open {
		idle *= 2
	}
	n, _ := x.pipe.Depth()
	soon := x.due > 0 && x.due < x.a.cfg.Now().Add(x.a.cfg.Idle).UnixMilli()
	if x.dead != nil || now < x.used.Add(idle) || x.maintaining || x.working || x.posting || x.firing || n > 0 || len(x.waiting) > 0 ||
		len(x.reads) > 0 || soon && x.open || !x.g.Quiet() {
		return
	}
	if x.open {
		if err := x.g.Sleep(now); err != nil {
			return
		}
		x.flush()
		if x.dead != nil {
			return
		}
	} else if x.g.Status().Leader.ID != 0 {
		return // its leader decides
	}
	x.leave(asleep())
}
