package model

import (
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/fair"
	"github.com/shoal-fabric/shoal/scheduler/rates"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/kad"
)

// line is the tasks that a node has sent to one peer: scheduler's window.
type line struct {
	n    int
	wait []func()
}

// errand is one attempt of a task at a peer.
type errand struct {
	t      *task
	n      node
	most   int
	over   bool // for its asker
	taken  bool // the peer has it
	begunH bool // its asker knows that it was begun
	line   *line

	at     *machine // on which it waits or runs
	life   uint16
	item   *fair.Item[*errand]
	left   bool
	begun  event.Time
	grant  reserve.Grant
	device bool

	code, data              uint64 // bytes that were fetched
	fetch, compile, seconds float64
}

// arrive is when the peer has the request.
func (e *errand) arrive() {
	c, t := e.t.d.c, e.t
	if e.over {
		return
	}
	if !c.up[e.n] || !c.reach(t.a.n, e.n) {
		e.silent(silence)
		return
	}
	e.taken = true
	x := c.machines.of(e.n)
	if err := c.machines.enter(x, e, e.most); err != nil {
		*c.links.runs += runStates
		c.loop.After(c.way(e.n, t.a.n), func() { e.end(err) })
	}
}

// silent has the asker miss the peer after a while.
func (e *errand) silent(after time.Duration) {
	e.t.d.c.loop.After(after, func() {
		if !e.over {
			if !e.begunH {
				e.t.a.rates.Lost(peerID(e.n), e.t.d.c.clock())
			}
			e.end(shoal.E(shoal.Unavailable, "task", "nothing heard", ""))
		}
	})
}

// begin is when the errand has a slot: what it lacks is fetched, the module compiled, and it runs.
func (e *errand) begin() {
	c, t := e.t.d.c, e.t
	e.begun = c.loop.Now()
	c.loop.After(c.way(e.n, t.a.n), func() { e.begunH = true })
	x := e.at
	if t.k.w.GPU {
		e.input()
		return
	}
	m := x.has(t.mod)
	if m == nil && e.n != t.a.n {
		size := uint64(t.k.w.Code)
		c.data.bring(e.n, []node{t.a.n}, size, c.links.code, nil, func(moved uint64, ok bool) {
			e.code = moved
			if !e.here() {
				return
			}
			if !ok {
				e.fail("fetch module")
				return
			}
			if x.has(t.mod) == nil {
				x.mods = append(x.mods, module{id: t.mod})
			}
			e.input()
		})
		return
	}
	if m == nil {
		x.mods = append(x.mods, module{id: t.mod})
	}
	e.input()
}

// here reports whether the errand still has its slot.
func (e *errand) here() bool { return e.at != nil && e.life == e.at.life && !e.left }

// input fetches what the task reads.
func (e *errand) input() {
	c, t := e.t.d.c, e.t
	if !t.input() {
		e.fetch = (c.loop.Now() - e.begun).Seconds()
		e.ready()
		return
	}
	began := c.loop.Now()
	from := t.a.where[t.part].holders
	if len(from) == 0 {
		from = c.data.holders(t.part)
	}
	c.data.fetch(e.n, t.part, from, func(moved uint64, ok bool) {
		e.data = moved
		if !e.here() {
			return
		}
		took := c.loop.Now() - began
		e.fetch = (c.loop.Now() - e.begun).Seconds()
		if !ok {
			e.fail("fetch input")
			return
		}
		if moved == 0 {
			took = 0
		}
		c.data.wanted(e.n, t.part, time.Duration(took))
		e.ready()
	})
}

// ready compiles the module, once for all who need it.
func (e *errand) ready() {
	c, t, x := e.t.d.c, e.t, e.at
	if t.k.w.GPU {
		x.queued = append(x.queued, e)
		c.machines.grant(x)
		return
	}
	m := x.has(t.mod)
	switch {
	case m.ready:
		e.run()
	case m.busy:
		m.wait = append(m.wait, func() {
			if e.here() {
				e.run()
			}
		})
	default:
		m.busy = true
		life := x.life
		e.compile = c.of(e.n).Compile(uint64(t.k.w.Code)).Seconds() * c.machines.factor(slowCPU, e.n)
		c.loop.After(seconds(e.compile), func() {
			if x.life != life {
				return
			}
			m := x.has(t.mod)
			wait := m.wait
			m.ready, m.busy, m.wait = true, false, nil
			if e.here() {
				e.run()
			}
			for _, f := range wait {
				f()
			}
		})
	}
}

// run spends the task's gas.
func (e *errand) run() {
	c, t := e.t.d.c, e.t
	cl := c.of(e.n)
	rate, what := cl.Gas, slowCPU
	if rate <= 0 {
		rate = 1e9
	}
	if t.k.w.GPU {
		what, rate = slowGPU, 100*rate
		for _, g := range cl.GPUs {
			if g.Rate > 0 {
				rate = g.Rate
				break
			}
		}
	}
	e.seconds = t.gas() / rate * c.machines.factor(what, e.n)
	took := seconds(e.seconds)
	if t.k.w.Result > 0 { // it is kept
		took += c.synced(e.n)
	}
	c.loop.After(took, func() {
		if !e.here() {
			return
		}
		c.machines.leave(e)
		if e.n == t.a.n {
			e.outcome()
			return
		}
		*c.links.runs += runStates + runOutcome
		c.loop.After(c.way(e.n, t.a.n), e.outcome)
	})
}

// fail is an attempt that broke on its peer, for want of something that another may have.
func (e *errand) fail(what string) {
	c := e.t.d.c
	c.machines.leave(e)
	c.loop.After(c.way(e.n, e.t.a.n), func() { e.end(shoal.E(shoal.Unavailable, what, "nobody who has it can be reached", "")) })
}

// outcome is when the asker hears that all went well: it fetches the result.
func (e *errand) outcome() {
	c, t := e.t.d.c, e.t
	if e.over {
		return
	}
	if !c.reach(e.n, t.a.n) {
		e.silent(silence)
		return
	}
	t.a.rates.Ran(rates.Run{
		Peer: peerID(e.n), Module: t.k.name(t.mod), Seconds: e.seconds, Speed: c.of(e.n).HashMBs(), Gas: uint64(t.gas()),
		Compile: e.compile, Code: uint64(t.k.w.Code), Moved: e.code + e.data, Fetch: e.fetch,
	}, c.clock())
	e.finish()
	d := t.d
	d.wanted += float64(e.code + e.data)
	if e.n == t.a.n || t.k.w.Result == 0 {
		t.done(e)
		return
	}
	c.data.bring(t.a.n, []node{e.n}, uint64(t.k.w.Result), c.links.results, nil, func(_ uint64, ok bool) {
		switch {
		case t.over:
		case ok: // to pin it, its manifest is looked for, in vain: what a task left is not announced by its node
			look := c.dht.search(t.a.n, place(c.hashed("result", uint64(t.at), uint64(t.a.n))), kad.SizeSeek, nil)
			c.loop.After(min(look.Time, findTimeout), func() {
				if !t.over {
					t.done(e)
				}
			})
		default: // it was lost with its node: the task runs again
			t.failed(&e.n, shoal.E(shoal.Unavailable, "result", "its node has gone", ""))
		}
	})
}

// finish has the attempt be none any more, for its asker.
func (e *errand) finish() {
	t := e.t
	e.over = true
	if t.errand == e {
		t.errand = nil
	}
	a := t.a
	if a.flight[e.n]--; a.flight[e.n] <= 0 {
		delete(a.flight, e.n)
	}
	list := slices.DeleteFunc(t.d.errands[e.n], func(x *errand) bool { return x == e })
	if t.d.errands[e.n] = list; len(list) == 0 {
		delete(t.d.errands, e.n)
	}
	if l := e.line; l != nil {
		if l.n--; len(l.wait) > 0 {
			next := l.wait[0]
			l.wait = l.wait[1:]
			next()
		}
	}
}

// giveUp has the asker take the task away from the peer.
func (e *errand) giveUp(err *shoal.Error) {
	e.t.d.c.machines.leave(e)
	e.t.a.rates.Lost(peerID(e.n), e.t.d.c.clock())
	e.end(err)
}

// end is an attempt that failed: scheduler's run.attempts.
func (e *errand) end(err *shoal.Error) {
	t := e.t
	if e.over || t.over {
		return
	}
	e.finish()
	t.d.wanted += float64(e.code + e.data)
	t.failed(&e.n, err)
}
