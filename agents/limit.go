package agents

import (
	"context"
	"sync"
	"time"
)

// limit is a context with a deadline for what takes microseconds: it looks at the clock when it is asked, and sets a
// timer only once somebody waits for it. done must be called in the end.
type limit struct {
	context.Context
	end time.Time

	mu      sync.Mutex
	waiting context.Context // nil: nobody waits
	cancel  context.CancelFunc
	over    bool
}

// within bounds ctx. A context that ends earlier does so.
func within(ctx context.Context, d time.Duration) *limit {
	end := time.Now().Add(d)
	if at, ok := ctx.Deadline(); ok && at.Before(end) {
		end = at
	}
	return &limit{Context: ctx, end: end}
}

// cancelable is a context that ends with ctx, for something that waits: it sets one timer where a context made of a
// limit would set two. Unlike that, it outlasts the limit's done.
func cancelable(ctx context.Context) (context.Context, context.CancelFunc) {
	if l, ok := ctx.(*limit); ok {
		return context.WithDeadline(l.Context, l.end)
	}
	return context.WithCancel(ctx)
}

func (l *limit) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.cancel != nil {
		l.cancel()
	}
}

// Deadline implements context.Context, as do the methods below.
func (l *limit) Deadline() (time.Time, bool) { return l.end, true }

func (l *limit) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting, l.cancel = context.WithDeadline(l.Context, l.end)
		if l.over {
			l.cancel()
		}
	}
	return l.waiting.Done()
}

func (l *limit) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.waiting != nil:
		return l.waiting.Err()
	case l.Context.Err() != nil:
		return l.Context.Err()
	case l.over:
		return context.Canceled
	case !time.Now().Before(l.end):
		return context.DeadlineExceeded
	}
	return nil
}

// Value lets contexts that are made of this one wait for its timer without a goroutine of their own.
func (l *limit) Value(key any) any {
	l.mu.Lock()
	from := l.waiting
	l.mu.Unlock()
	if from == nil {
		from = l.Context
	}
	return from.Value(key)
}
