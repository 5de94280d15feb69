package pubsub

import (
	"context"
	"sync"
)

// lanes runs work, that of one lane one after the other in the order in which it came, that of different lanes at the same
// time, so much at most.
type lanes struct {
	most int
	ctx  context.Context // ends all: what has not begun then never does
	work *sync.WaitGroup

	mu      sync.Mutex
	busy    map[string][]func() // what waits in each lane in which something is under way
	ready   []ready             // may run as soon as there is room
	running int
}

type ready struct {
	lane string
	f    func()
}

func newLanes(ctx context.Context, most int, work *sync.WaitGroup) *lanes {
	return &lanes{most: most, ctx: ctx, work: work, busy: map[string][]func(){}}
}

// put has f run. Lane "": in no order.
func (l *lanes) put(lane string, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lane != "" {
		if queue, busy := l.busy[lane]; busy {
			l.busy[lane] = append(queue, f)
			return
		}
		l.busy[lane] = nil
	}
	l.begin(ready{lane, f})
}

// begin runs r, or has it wait for room. The lock is held.
func (l *lanes) begin(r ready) {
	if l.running >= l.most {
		l.ready = append(l.ready, r)
		return
	}
	l.running++
	l.work.Go(func() { l.run(r) })
}

// run does r, and what comes after it, until there is nothing.
func (l *lanes) run(r ready) {
	for {
		if l.ctx.Err() == nil {
			r.f()
		}
		l.mu.Lock()
		if r.lane != "" {
			if queue := l.busy[r.lane]; len(queue) > 0 {
				l.busy[r.lane] = queue[1:]
				l.ready = append(l.ready, ready{r.lane, queue[0]}) // behind those that wait longer
			} else {
				delete(l.busy, r.lane)
			}
		}
		if len(l.ready) == 0 {
			l.running--
			l.mu.Unlock()
			return
		}
		r, l.ready = l.ready[0], l.ready[1:]
		l.mu.Unlock()
	}
}
