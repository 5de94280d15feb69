package agents

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// effects are what a turn does beyond its state.
type effects struct {
	x     *actor
	stage *turn.Stage
	mail  *mail
	read  bool
	calls int
	lines []string
	died  error // the chain must begin anew: nothing of this turn may count
}

const (
	maxLines = 256
	maxLine  = 4 << 10
)

// Call implements shoal.Effects: all that this agent did before is durable when the call leaves, so that
// what it says cannot come from a future that never was.
func (f *effects) Call(ctx context.Context, to, method string, payload []byte) ([]byte, error) {
	what := "call " + to + " " + method
	key, err := f.x.a.Resolve(ctx, to)
	if err != nil {
		return nil, err
	}
	f.mail.chain = f.mail.chain.begun(f.x.a.cfg.Now())
	q := question{Key: []byte(key), Method: method, Payload: payload, Read: f.read, Caller: KeyText(f.x.key), Chain: f.mail.chain}
	q.Chain.Agents = append(q.Chain.Agents[:len(q.Chain.Agents):len(q.Chain.Agents)], []byte(f.x.key))
	if err := q.Chain.admits(what, key); err != nil {
		return nil, err
	}
	f.calls++
	if !f.read {
		r := f.mail.m.Request
		if r.Session == "" {
			r = f.mail.m.Derived(f.x.key)
		}
		q.Request = r.Derive(f.x.key, f.calls)
	}
	f.x.mu.Lock()
	_, last := f.x.pipe.Depth()
	if last > 0 {
		f.x.settled(last)
	}
	open := f.x.open
	if open && !f.read {
		f.x.yields(&f.mail.chain)
	}
	f.x.mu.Unlock()
	if !open {
		return nil, notHere()
	}
	out, err := f.x.a.ask(ctx, key, &q)
	if !f.read {
		f.x.mu.Lock()
		f.x.yields(nil)
		f.x.mu.Unlock()
	}
	if dies(err) {
		f.died = err // whatever the code makes of it
	}
	if err == nil {
		f.x.called(key, len(payload)+len(out))
	}
	return out, shoal.Wrap(shoal.Unavailable, what, err)
}

// Send implements shoal.Effects.
func (f *effects) Send(to, method string, payload []byte) error {
	ctx, cancel := context.WithTimeout(f.x.a.ctx, f.x.a.cfg.TurnTime)
	defer cancel()
	key, err := f.x.a.Resolve(ctx, to)
	if err != nil {
		return err
	}
	return f.stage.Send(key, method, payload)
}

// Timer implements shoal.Effects.
func (f *effects) Timer(name string, delay time.Duration, method string, payload []byte) error {
	return f.stage.Timer(name, delay, method, payload)
}

// Log implements shoal.Effects.
func (f *effects) Log(line string) {
	if len(f.lines) < maxLines {
		f.lines = append(f.lines, line[:min(len(line), maxLine)])
	}
}
