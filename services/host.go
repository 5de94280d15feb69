package services

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/services/batch"
	"github.com/shoal-fabric/shoal/services/scale"
)

// host is this node's part in one service.
type host struct {
	s      *Services
	key    shoal.Key
	sealed []byte
	spec   *Spec

	mu      sync.Mutex
	queue   []*ticket
	queued  int // bytes of it
	workers map[*worker]struct{}
	idle    []*worker // without work; the last had some last, and is the next to have
	opening map[string]int
	scale   scale.Scale
	each    map[string]float64 // by implementation: what a call took of an instance, on average, in seconds
	failed  error              // why the last instance could not be opened
	until   time.Time          // when that is tried again
	others  map[shoal.PeerID]heard
	gone    bool // it is not defined any more
	met     bool // other hosts were looked for since there are instances here
	told    bool // the directory was told that there are instances here
	checked time.Time
	used    time.Time
	seen    figures
}

// heard is what another host said of itself.
type heard struct {
	state state
	at    time.Time
}

// fresh is how long what a host said of itself counts.
const fresh = 5 * time.Second

// ticket is a call that waits or runs.
type ticket struct {
	ctx  context.Context
	call Call
	at   time.Time
	done chan done // told once, with room for it
}

type done struct {
	reply []byte
	err   error
}

// worker drives one instance.
type worker struct {
	h    *host
	kind string
	p    Program
	size *batch.Size   // the host's lock
	wake chan struct{} // with room for one
	stop bool          // the host's lock
}

// full is how a host refuses a call that is better off elsewhere.
func full(what string) *shoal.Error {
	return &shoal.Error{
		Kind: shoal.Overloaded, What: what, Why: "calls wait longer than the service wants, and no instance can be added here",
		Try: "try again in a moment", RetryAfter: 50 * time.Millisecond,
	}
}

// submit has a call run here. patient: it waits, however long the queue is; else Overloaded says that it is past the
// target. It has not run if the error is Overloaded.
func (h *host) submit(ctx context.Context, c Call, patient bool, kind string) ([]byte, error) {
	what := "call " + h.spec.Name
	t := &ticket{ctx: ctx, call: c, at: time.Now(), done: make(chan done, 1)}
	h.mu.Lock()
	switch {
	case h.gone:
		h.mu.Unlock()
		return nil, errGone(h.spec.Name)
	case h.failed != nil && len(h.workers) == 0 && t.at.Before(h.until):
		defer h.mu.Unlock()
		return nil, notRun{h.failed}
	case len(h.queue) >= h.s.cfg.Queue || h.queued > 0 && h.queued+len(c.Payload) > h.s.cfg.QueueMost:
		h.mu.Unlock()
		return nil, notRun{full(what)}
	}
	h.queue = append(h.queue, t)
	h.queued += len(c.Payload)
	h.used = t.at
	busy := len(h.idle) == 0
	if step := h.decide(t.at, kind); busy && (step.Full && !patient || h.late(t)) {
		h.drop(t)
		h.seen.refused++
		h.mu.Unlock()
		return nil, notRun{full(what)}
	}
	if n := len(h.idle); n > 0 {
		w := h.idle[n-1]
		h.idle = h.idle[:n-1]
		w.wake <- struct{}{}
	}
	h.mu.Unlock()
	select {
	case d := <-t.done:
		return d.reply, d.err
	case <-ctx.Done():
	}
	h.mu.Lock()
	waited := h.drop(t)
	h.mu.Unlock()
	if !waited {
		select {
		case d := <-t.done: // both at once
			return d.reply, d.err
		default:
		}
	}
	return nil, shoal.Wrap(shoal.Canceled, what, ctx.Err())
}

// late reports whether a call will not have begun when its time is over: it is better told so now. The lock is held.
func (h *host) late(t *ticket) bool {
	d, bounded := t.ctx.Deadline()
	return bounded && scale.Wait(h.here(t.at)) > d.Sub(t.at)
}

// drop takes a call out of the queue, and reports whether it was there. The lock is held.
func (h *host) drop(t *ticket) bool {
	i := slices.Index(h.queue, t)
	if i < 0 {
		return false
	}
	h.queue = slices.Delete(h.queue, i, i+1)
	h.queued -= len(t.call.Payload)
	return true
}

// decide asks services/scale, and does what it says. kind is the implementation to begin with; "": the host chooses. The
// lock is held.
func (h *host) decide(now time.Time, kind string) scale.Step {
	s := h.spec
	step := h.scale.Next(scale.Policy{Target: s.Target, Idle: s.Idle, Min: s.Min, Max: s.Max}, now.Sub(h.s.begun), h.here(now), h.elsewhere(now))
	if now.Before(h.until) {
		step.Full = step.Full || step.Open > 0
		step.Open = 0
	}
	for range step.Open {
		h.open(cmpKind(kind, h.choose))
	}
	h.close(step.Close)
	if step.Full && len(h.workers) == 0 && h.beginningLocked() == 0 { // who waits here waits in vain
		for _, t := range h.queue {
			t.done <- done{err: notRun{full("call " + h.spec.Name)}}
		}
		h.queue, h.queued = nil, 0
	}
	return step
}

// close ends n instances: those without work first, of which the first had some longest ago; others once they have done what
// they are at. The lock is held.
func (h *host) close(n int) {
	for n > 0 && len(h.idle) > 0 {
		w := h.idle[0]
		h.idle = h.idle[1:]
		delete(h.workers, w)
		w.stop = true
		w.wake <- struct{}{}
		n--
	}
	for w := range h.workers {
		if n > 0 && !w.stop {
			w.stop = true
			delete(h.workers, w)
			n--
		}
	}
}

// beginningLocked is how many instances are being opened. The lock is held.
func (h *host) beginningLocked() (all int) {
	for _, n := range h.opening {
		all += n
	}
	return all
}

func cmpKind(kind string, choose func() string) string {
	if kind != "" {
		return kind
	}
	return choose()
}

// here is what this host has. The lock is held.
func (h *host) here(now time.Time) scale.Here {
	out := scale.Here{Open: len(h.workers), Waiting: len(h.queue), Each: h.mean()}
	out.Opening = h.beginningLocked()
	out.Busy = max(0, len(h.workers)-len(h.idle))
	if len(h.queue) > 0 {
		out.Oldest = now.Sub(h.queue[0].at)
	}
	if h.s.closing() == nil && h.choose() != "" {
		slots := h.s.cfg.Slots
		if h.spec.Max > 0 && !h.met { // who else has some is not known yet
			slots = 1
		}
		out.Room = max(0, slots-out.Open-out.Opening)
	}
	return out
}

// mean is what an instance takes for a call, whatever it is of. The lock is held.
func (h *host) mean() time.Duration {
	sum, n := 0.0, 0
	for w := range h.workers {
		if e := h.each[w.kind]; e > 0 {
			sum += 1 / e
			n++
		}
	}
	if n == 0 {
		for _, e := range h.each {
			return time.Duration(e * float64(time.Second))
		}
		return 0
	}
	return time.Duration(float64(n) / sum * float64(time.Second))
}

// choose picks the implementation for another instance here: one of which nothing is known yet comes first, then the
// fastest. "": there is room for none. The lock is held.
func (h *host) choose() (best string) {
	for _, kind := range h.spec.kinds() {
		if h.s.room(h.spec, kind) != nil {
			continue
		}
		if best == "" || h.each[best] > 0 && h.each[kind] < h.each[best] {
			best = kind
		}
	}
	return best
}

// elsewhere sums up what other hosts said of late. The lock is held.
func (h *host) elsewhere(now time.Time) (e scale.Elsewhere) {
	for p, o := range h.others {
		if now.Sub(o.at) > fresh {
			continue
		}
		e.Instances += o.state.Instances
		if p < h.s.self {
			e.Before += o.state.Instances
		}
	}
	return e
}

// open begins to make an instance. The lock is held.
func (h *host) open(kind string) {
	if kind == "" || !h.s.enter() {
		return
	}
	h.opening[kind]++
	go func() {
		defer h.s.work.Done()
		w, err := h.make(kind)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.opening[kind]--
		if err != nil {
			h.openFailed(err)
			return
		}
		if h.gone || h.s.life.Err() != nil {
			w.p.Close()
			return
		}
		h.failed, h.until = nil, time.Time{}
		h.workers[w] = struct{}{}
		if !h.met {
			h.s.aside(h.meet)
		}
		h.s.work.Add(1) // the count is above zero
		go w.run()
	}()
}

// openFailed remembers why an instance could not be opened. If there is none, those who wait are told. The lock is held.
func (h *host) openFailed(err error) {
	h.s.cfg.Log.Warn("an instance of a service cannot be opened", "service", h.spec.Name, "error", err)
	h.failed, h.until = shoal.Wrap(shoal.Unavailable, "service "+h.spec.Name, err), time.Now().Add(2*time.Second)
	if len(h.workers) > 0 || h.beginningLocked() > 0 {
		return
	}
	for _, t := range h.queue {
		t.done <- done{err: notRun{h.failed}}
	}
	h.queue, h.queued = nil, 0
}

// make opens an instance.
func (h *host) make(kind string) (*worker, error) {
	ctx, cancel := context.WithTimeout(h.s.life, h.s.cfg.OpenWait)
	defer cancel()
	self := h.s.Members.Self()
	self.State, self.Load = shoal.Alive, h.s.Load()
	if err := h.s.fits(h.spec, kind, &self); err != nil { // whoever sent the call has old news of this machine
		return nil, err
	}
	began := time.Now()
	p, err := h.s.openProgram(ctx, h.key, h.spec, kind)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.seen.opened(time.Since(began))
	h.mu.Unlock()
	return &worker{h: h, kind: kind, p: p, size: batch.New(h.spec.Target, p.Most()), wake: make(chan struct{}, 1)}, nil
}

// retire closes all that is open here, because the service is not defined any more.
func (h *host) retire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = true
	for _, t := range h.queue {
		t.done <- done{err: errGone(h.spec.Name)}
	}
	h.queue, h.queued = nil, 0
	for w := range h.workers {
		w.stop = true
	}
	for _, w := range h.idle {
		w.wake <- struct{}{}
	}
	h.idle = nil
}

// notRun is why a call was not begun here.
type notRun struct{ error }

func (n notRun) Unwrap() error { return n.error }

func errGone(name string) error {
	return &shoal.Error{Kind: shoal.NotFound, What: "service " + name, Why: "it was removed", Err: errRemoved}
}
