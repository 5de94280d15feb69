package pubsub

import (
	"context"
	"sync"
)

// lanes has things done, those of one lane one after the other in the order in which they came, those of different lanes at
// the same time, so much at most. What waits in one lane is done together.
type lanes[T any] struct {
	most     int // lanes at the same time
	together int // things of one lane
	ctx      context.Context
	work     *sync.WaitGroup
	do       func(list []T) // not called any more when ctx has ended

	mu      sync.Mutex
	busy    map[string][]T // what waits in each lane in which something is under way
	ready   []run[T]       // may be done as soon as there is room
	running int
}

type run[T any] struct {
	lane string
	list []T
}

func newLanes[T any](ctx context.Context, most, together int, work *sync.WaitGroup, do func([]T)) *lanes[T] {
	return &lanes[T]{most: most, together: together, ctx: ctx, work: work, do: do, busy: map[string][]T{}}
}

// put has a thing done. Lane "": in no order, and alone.
func (l *lanes[T]) put(lane string, thing T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lane != "" {
		if queue, busy := l.busy[lane]; busy {
			l.busy[lane] = append(queue, thing)
			return
		}
		l.busy[lane] = nil
	}
	r := run[T]{lane, []T{thing}}
	if l.running >= l.most {
		l.ready = append(l.ready, r)
		return
	}
	l.running++
	l.work.Go(func() { l.run(r) })
}

// run does r, and what comes after it, until there is nothing.
func (l *lanes[T]) run(r run[T]) {
	for {
		if l.ctx.Err() == nil {
			l.do(r.list)
		}
		l.mu.Lock()
		if r.lane != "" {
			if queue := l.busy[r.lane]; len(queue) > 0 {
				n := min(len(queue), l.together)
				l.busy[r.lane] = queue[n:]
				l.ready = append(l.ready, run[T]{r.lane, queue[:n:n]}) // behind those that wait longer
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
