package agents

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// TestLimit ends a limit in each way, looked at, waited for, and through a context made of it.
func TestLimit(t *testing.T) {
	type key struct{}
	for name, want := range map[string]error{"time": context.DeadlineExceeded, "parent": context.Canceled, "done": context.Canceled} {
		for _, how := range []string{"looked at", "waited for", "child"} {
			bubble.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, 1))
				defer cancel()
				l := within(parent, time.Second)
				defer l.done()
				child := context.Context(l)
				if how == "child" {
					var stop context.CancelFunc
					child, stop = context.WithCancel(l)
					defer stop()
				} else if how == "waited for" {
					l.Done()
				}
				if child.Err() != nil || child.Value(key{}) != 1 {
					t.Fatalf("%s, %s: ended at the beginning: %v", name, how, child.Err())
				}
				switch name {
				case "time":
					time.Sleep(time.Second)
				case "parent":
					cancel()
				case "done":
					l.done()
				}
				synctest.Wait()
				if !errors.Is(child.Err(), want) {
					t.Errorf("%s, %s: %v, want %v", name, how, child.Err(), want)
				}
				select {
				case <-child.Done():
				case <-time.After(time.Minute):
					t.Errorf("%s, %s: whoever waits is not told", name, how)
				}
			})
		}
	}
	early, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	l := within(early, time.Hour)
	defer l.done()
	if at, _ := l.Deadline(); time.Until(at) > time.Minute {
		t.Error("a limit outlasts its parent")
	}
}
