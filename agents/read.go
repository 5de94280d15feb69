package agents

import (
	"context"
	"iter"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// read runs a method that only reads, under the lease or after a round of the keepers.
func (x *actor) read(ctx context.Context, q *question) ([]byte, error) {
	x.mu.Lock()
	x.used = x.a.instant()
	if !x.g.Read(x.used) && !x.a.off.noLease {
		id, err := x.g.ReadIndex(x.used)
		if err != nil {
			x.mu.Unlock()
			return nil, err
		}
		ch := make(chan bool, 1)
		x.reads[id] = ch
		x.flush()
		x.mu.Unlock()
		select {
		case ok := <-ch:
			if !ok {
				return nil, notHere()
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		x.mu.Lock()
	}
	if !x.open {
		x.mu.Unlock()
		return nil, notHere()
	}
	m := &moment{x: x, v: x.pipe.Settled(), at: x.mark.Index}
	epoch := x.epoch
	var inst shoal.Instance
	if n := len(x.readers); n > 0 {
		inst, x.readers = x.readers[n-1], x.readers[:n-1]
	}
	x.mu.Unlock()
	inst, reply, err := x.look(ctx, q, inst, epoch, m)
	if m.moved { // once more, on what will not move
		var snap shoal.Snapshot
		x.mu.Lock()
		if err = x.dead; err == nil {
			snap, err = x.a.Table.Snapshot()
		}
		x.mu.Unlock()
		if err == nil {
			inst, reply, err = x.look(ctx, q, inst, epoch, state{snap, x.state.prefix})
			_ = snap.Close()
		}
	}
	if inst == nil {
		return nil, err
	}
	if inst.Broken() {
		inst.Close()
		return reply, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.open && x.epoch == epoch && len(x.readers) < 16 {
		x.readers = append(x.readers, inst)
	} else {
		inst.Close()
	}
	return reply, err
}

// look runs a method that only reads on a view of the state, by the instance given, or another one if that is nil or
// broken. It returns the instance.
func (x *actor) look(ctx context.Context, q *question, inst shoal.Instance, epoch uint64, v turn.View) (shoal.Instance, []byte, error) {
	if inst == nil || inst.Broken() {
		var err error
		if inst, err = x.another(ctx); err != nil {
			return nil, nil, err
		}
	}
	now := x.a.cfg.Now()
	r := &struct { // in one piece: a read takes a few microseconds
		out  effects
		mail mail
		turn shoal.Turn
	}{}
	r.mail = mail{m: turn.Message{Method: q.Method}, chain: q.Chain}
	r.out = effects{x: x, stage: turn.NewStage(v, now, x.a.cfg.StateMax, true), mail: &r.mail, read: true}
	r.turn = shoal.Turn{
		Agent: x.key, Method: q.Method, Payload: q.Payload, Caller: q.Caller, Trace: q.Chain.Trace, Epoch: epoch, Now: now,
		Seed: random(16), Read: true, State: r.out.stage, Out: &r.out, Data: reading{x},
	}
	x.a.draft(&r.turn)
	bounded := within(ctx, x.a.cfg.TurnTime) // not of fetching and compiling the module
	defer bounded.done()
	reply, err := inst.Turn(bounded, &r.turn)
	x.keepLines(epoch, r.out.lines)
	return inst, reply, err
}

// moment reads the applied state as it is at one moment, all or nothing of each turn: once that has moved on, or is
// not this one's any more, it fails, and whoever looks begins again on a snapshot, which costs more.
type moment struct {
	x     *actor
	v     turn.View
	at    uint64
	moved bool
}

// still reports whether the state is as it was. The caller holds mu.
func (m *moment) still() error {
	if m.x.dead == nil && m.x.mark.Index == m.at {
		return nil
	}
	m.moved = true
	return shoal.E(shoal.Unavailable, "read", "the state has moved on", "")
}

func (m *moment) Get(key []byte) ([]byte, bool, error) {
	m.x.mu.Lock()
	defer m.x.mu.Unlock()
	if err := m.still(); err != nil {
		return nil, false, err
	}
	return m.v.Get(key)
}

func (m *moment) Scan(low, high []byte) iter.Seq2[[]byte, turn.Cell] {
	return func(yield func([]byte, turn.Cell) bool) {
		m.x.mu.Lock()
		defer m.x.mu.Unlock()
		if err := m.still(); err != nil {
			yield(nil, turn.Cell{Err: err})
			return
		}
		m.v.Scan(low, high)(yield)
	}
}
