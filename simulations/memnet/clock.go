package memnet

import "time"

// clock fires what is due, when its time is nearest to a multiple of the grain. A timer that runs a function is enough: no goroutine waits. Net.mu guards it.
type clock struct {
	began time.Time
	grain int64
	wakes []int64 // when timers fire, the next one last
	busy  bool    // turn sees what is put in meanwhile
	heap  []due   // the earliest first; of the same time, in the order in which they came
	count uint64
	fired uint64
}

type due struct {
	at   int64 // nanoseconds since began
	turn uint64
	what firer
}

// firer is something that happens. The lock is held.
type firer interface{ fire(n *Net, now int64) }

func (a due) before(b due) bool { return a.at < b.at || a.at == b.at && a.turn < b.turn }

func (c *clock) init(grain time.Duration) { c.began, c.grain = time.Now(), max(1, int64(grain)) }

func (c *clock) now() int64 { return int64(time.Since(c.began)) }

// at has something happen. n.mu is held.
func (n *Net) at(t int64, what firer) {
	c := &n.clock
	c.count++
	c.push(due{t, c.count, what})
	if !c.busy {
		n.arm(t)
	}
}

// arm has turn called at t, unless it is earlier. There is a timer for each wake: resetting one that has not fired has the
// runtime look through all timers of the process, or bubble.
func (n *Net) arm(t int64) {
	c := &n.clock
	t = (t + c.grain/2) / c.grain * c.grain
	if k := len(c.wakes); k == 0 || t < c.wakes[k-1] {
		c.wakes = append(c.wakes, t)
		time.AfterFunc(max(0, time.Duration(t-c.now())), n.turn)
	}
}

// turn lets happen what is due.
func (n *Net) turn() {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := &n.clock
	c.wakes = c.wakes[:len(c.wakes)-1]
	c.busy = true
	for now := c.now(); len(c.heap) > 0 && c.heap[0].at <= now+c.grain/2; {
		d := c.pop()
		c.fired++
		d.what.fire(n, d.at)
	}
	c.busy = false
	if len(c.heap) > 0 {
		n.arm(c.heap[0].at)
	}
}

func (c *clock) push(d due) {
	c.heap = append(c.heap, d)
	i := len(c.heap) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !d.before(c.heap[up]) {
			break
		}
		c.heap[i] = c.heap[up]
		i = up
	}
	c.heap[i] = d
}

func (c *clock) pop() due {
	top, last := c.heap[0], len(c.heap)-1
	d := c.heap[last]
	c.heap[last] = due{}
	c.heap = c.heap[:last]
	if last == 0 {
		return top
	}
	i := 0
	for {
		child := 4*i + 1
		if child >= last {
			break
		}
		least := child
		for k := child + 1; k < min(child+4, last); k++ {
			if c.heap[k].before(c.heap[least]) {
				least = k
			}
		}
		if !c.heap[least].before(d) {
			break
		}
		c.heap[i] = c.heap[least]
		i = least
	}
	c.heap[i] = d
	return top
}

// waiter is somebody who waits until something has changed. Net.mu guards it.
type waiter struct{ ch chan struct{} }

func (w *waiter) wake() {
	if w.ch != nil {
		close(w.ch)
		w.ch = nil
	}
}

// wait returns when woken, or at the deadline unless that is zero. n.mu is held, but not while it waits.
func (n *Net) wait(w *waiter, deadline time.Time) {
	if w.ch == nil {
		w.ch = make(chan struct{})
	}
	ch := w.ch
	n.mu.Unlock()
	defer n.mu.Lock()
	if deadline.IsZero() {
		<-ch
		return
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-ch:
	case <-t.C:
	}
}

// queue is a list from whose front is taken. Taking all frees it.
type queue[T any] struct {
	list []T
	head int
}

func (q *queue[T]) len() int { return len(q.list) - q.head }

func (q *queue[T]) push(x T) { q.list = append(q.list, x) }

func (q *queue[T]) front() *T { return &q.list[q.head] }

func (q *queue[T]) pop() T {
	var zero T
	x := q.list[q.head]
	q.list[q.head] = zero
	if q.head++; q.head == len(q.list) {
		q.list, q.head = nil, 0
	} else if q.head >= 32 && 2*q.head >= len(q.list) {
		q.list = append([]T(nil), q.list[q.head:]...)
		q.head = 0
	}
	return x
}
