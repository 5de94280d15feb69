package rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
)

// task is one request, while its body is coming in or its handler runs. It is the handler's context:
// most handlers answer without waiting for anything, and a context that nobody waits for needs no channel,
// no timer and no place in its parent.
type task struct {
	id      uint64
	method  string
	h       shoal.Handler
	arrived time.Time
	body    parts
	ready   bool // the whole body is here, the handler has it

	parent   context.Context // the stream's
	deadline time.Time       // zero: none
	mu       sync.Mutex
	waited   context.Context // made when somebody waits; nil before
	free     context.CancelFunc
	err      error // why it ended: canceled, late, or done
}

var _ context.Context = (*task)(nil)

// Deadline implements context.Context.
func (k *task) Deadline() (time.Time, bool) { return k.deadline, !k.deadline.IsZero() }

// Done implements context.Context.
func (k *task) Done() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waited == nil {
		if k.deadline.IsZero() {
			k.waited, k.free = context.WithCancel(k.parent)
		} else {
			k.waited, k.free = context.WithDeadline(k.parent, k.deadline)
		}
		if k.err != nil {
			k.free()
		}
	}
	return k.waited.Done()
}

// Err implements context.Context.
func (k *task) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.why()
}

func (k *task) why() error {
	switch {
	case k.err != nil:
		return k.err
	case k.waited != nil:
		return k.waited.Err()
	case !k.deadline.IsZero() && !time.Now().Before(k.deadline):
		return context.DeadlineExceeded
	}
	return k.parent.Err()
}

// Value implements context.Context. By it a context made from this one finds out whom it can wait with.
func (k *task) Value(key any) any {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waited != nil {
		return k.waited.Value(key)
	}
	return k.parent.Value(key)
}

// cancel ends the handler's context.
func (k *task) cancel() {
	k.mu.Lock()
	if k.err == nil {
		if k.err = k.why(); k.err == nil {
			k.err = context.Canceled
		}
	}
	free := k.free
	k.mu.Unlock()
	if free != nil { // without the lock: it tells contexts made from this one
		free()
	}
}

// job is what the crew is for: a request, or what is to be written.
type job struct {
	s *server
	k *task
	w *writer
}

// spareHands is how many goroutines of a crew may wait for work. While they wait, the collector
// shrinks their stacks.
const spareHands = 64

// crew runs handlers on goroutines that are used again. A fresh goroutine begins with a small stack,
// and growing it, anew for each request, cost more than all else: decoding a message goes deep.
type crew struct {
	jobs  chan job // unbuffered: only a hand that waits takes one
	spare atomic.Int32
	ended atomic.Bool
}

// newCrew returns a crew whose hands go home when ctx ends. They wait for work alone, as waiting for
// two things costs twice: each is told by an empty job.
func newCrew(ctx context.Context) *crew {
	c := &crew{jobs: make(chan job)}
	context.AfterFunc(ctx, func() {
		c.ended.Store(true)
		for c.spare.Load() > 0 { // who counts himself as spare hereafter sees that it has ended
			select {
			case c.jobs <- job{}:
			default:
				time.Sleep(time.Millisecond)
			}
		}
	})
	return c
}

// run has a waiting hand take the job, or another if none waits: a job never waits for a hand.
func (c *crew) run(j job) {
	select {
	case c.jobs <- j:
	default:
		go c.hand(j)
	}
}

// write has what is put into a writer written.
func (c *crew) write(w *writer) { c.run(job{w: w}) }

func (c *crew) hand(j job) {
	for {
		if j.w != nil {
			j.w.run()
		} else {
			j.s.run(j.k)
		}
		j = job{} // a hand that waits holds on to no request
		if c.spare.Add(1) > spareHands || c.ended.Load() {
			c.spare.Add(-1)
			return
		}
		j = <-c.jobs
		c.spare.Add(-1)
		if j.k == nil && j.w == nil {
			return
		}
	}
}
