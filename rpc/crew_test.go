package rpc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

func newTask(t *testing.T, left time.Duration) (*task, context.CancelFunc) {
	parent, cancel := context.WithCancel(t.Context())
	k := &task{parent: parent}
	if left > 0 {
		k.deadline = time.Now().Add(left)
	}
	return k, cancel
}

// TestTaskIsAContext holds a handler's context against what package context promises, looked at before
// somebody waited on it and after.
func TestTaskIsAContext(t *testing.T) {
	for name, c := range map[string]struct {
		left time.Duration
		end  func(k *task, parent context.CancelFunc)
		want error
	}{
		"goes on":             {time.Hour, func(*task, context.CancelFunc) {}, nil},
		"has no deadline":     {0, func(*task, context.CancelFunc) { time.Sleep(time.Hour) }, nil},
		"late":                {time.Second, func(*task, context.CancelFunc) { time.Sleep(2 * time.Second) }, context.DeadlineExceeded},
		"late, then done":     {time.Second, func(k *task, _ context.CancelFunc) { time.Sleep(2 * time.Second); k.cancel() }, context.DeadlineExceeded},
		"canceled":            {time.Second, func(k *task, _ context.CancelFunc) { k.cancel() }, context.Canceled},
		"canceled, then late": {time.Second, func(k *task, _ context.CancelFunc) { k.cancel(); time.Sleep(2 * time.Second) }, context.Canceled},
		"the stream's end":    {time.Second, func(_ *task, parent context.CancelFunc) { parent() }, context.Canceled},
	} {
		for _, waits := range []bool{false, true} {
			bubble.Test(t, func(t *testing.T) {
				k, parent := newTask(t, c.left)
				defer parent()
				told := make(chan error, 1)
				if waits {
					inner, cancel := context.WithTimeoutCause(k, 30*time.Minute, errors.New("inner"))
					defer cancel()
					context.AfterFunc(inner, func() { told <- k.Err() })
				}
				if k.Err() != nil {
					t.Fatalf("%s: it begins with %v", name, k.Err())
				}
				c.end(k, parent)
				synctest.Wait()
				if err := k.Err(); !errors.Is(err, c.want) || c.want == nil && err != nil {
					t.Fatalf("%s, waited on %v: %v, want %v", name, waits, err, c.want)
				}
				select {
				case <-k.Done():
					if c.want == nil {
						t.Fatalf("%s: it is done", name)
					}
				default:
					if c.want != nil {
						t.Fatalf("%s: it is not done", name)
					}
				}
				if err := k.Err(); err != c.want {
					t.Fatalf("%s, waited on %v: now it is %v", name, waits, err)
				}
				if waits && c.want != nil {
					if err := <-told; err != c.want {
						t.Fatalf("%s: a context made from it was told at %v", name, err)
					}
				}
				k.cancel()
			})
		}
	}
}

// TestWaitingOnATaskTakesNoGoroutine: package context knows it for one of its own.
func TestWaitingOnATaskTakesNoGoroutine(t *testing.T) {
	k, parent := newTask(t, 0)
	defer parent()
	inner, cancel := context.WithCancel(k)
	defer cancel()
	k.cancel()
	// Told in this very call; a goroutine that waits for k would be later.
	if inner.Err() != context.Canceled {
		t.Fatal("a context made from a task is not told at once")
	}
}
