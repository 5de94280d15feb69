package agents

import (
	"context"
	"sync"
)

// batcher gathers questions: those that come while others are on their way go together with the next, as writes share
// a sync.
type batcher[Q, A any] struct {
	most    int                      // questions at once
	flights int                      // on their way at once
	run     func(f func())           // has a flight fly
	ask     func(q []Q) ([]A, error) // brings them; as many answers, or an error for all of them
	mu      sync.Mutex
	queue   []*ticket[Q, A]
	flying  int
}

// ticket is one question, and what came of it once done is closed.
type ticket[Q, A any] struct {
	q    Q
	done chan struct{}
	a    A
	err  error
}

// file puts a question on its way; it is asked whether or not anybody waits for the answer.
func (b *batcher[Q, A]) file(q Q) *ticket[Q, A] {
	t := &ticket[Q, A]{q: q, done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, t)
	if b.flying < b.flights {
		b.flying++
		b.run(b.fly)
	}
	return t
}

// wait returns the answer.
func (t *ticket[Q, A]) wait(ctx context.Context) (a A, err error) {
	select {
	case <-t.done:
		return t.a, t.err
	case <-ctx.Done():
		return a, ctx.Err()
	}
}

// fly brings what is queued, until nothing is.
func (b *batcher[Q, A]) fly() {
	for {
		b.mu.Lock()
		n := min(len(b.queue), b.most)
		if n == 0 {
			b.flying--
			b.mu.Unlock()
			return
		}
		list := b.queue[:n:n]
		if b.queue = b.queue[n:]; len(b.queue) == 0 {
			b.queue = nil
		}
		b.mu.Unlock()
		qs := make([]Q, n)
		for i, t := range list {
			qs[i] = t.q
		}
		as, err := b.ask(qs)
		for i, t := range list {
			if t.err = err; err == nil {
				t.a = as[i]
			}
			close(t.done)
		}
	}
}

// each keeps a batcher for each of some places.
type each[Q, A any] struct {
	mu   sync.Mutex
	list map[string]*batcher[Q, A]
	open func(place string) *batcher[Q, A]
}

func (e *each[Q, A]) at(place string) *batcher[Q, A] {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.list[place]
	if b == nil {
		if e.list == nil {
			e.list = map[string]*batcher[Q, A]{}
		}
		b = e.open(place)
		e.list[place] = b
	}
	return b
}
