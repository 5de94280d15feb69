package agents

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// hopper adds to itself and then has the agents that its payload names, from left to right, do so too, each calling
// the next one.
var hopper = agenttest.Behaviour{
	"hop": func(ctx context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		b, _, err := t.State.Get([]byte("n"))
		if err != nil {
			return nil, err
		}
		n := 0
		_, _ = fmt.Sscan(string(b), &n)
		if err := t.State.Put([]byte("n"), fmt.Append(nil, n+1)); err != nil {
			return nil, err
		}
		time.Sleep(time.Duration(1+len(t.Payload)%3) * time.Millisecond)
		next, rest, _ := strings.Cut(string(t.Payload), " ")
		if next == "" {
			return []byte(t.Trace), nil
		}
		return t.Out.Call(ctx, next, "hop", []byte(rest))
	},
	"get": func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		b, _, err := t.State.Get([]byte("n"))
		return b, err
	},
}

// TestCrossing has chains of calls cross in all directions: none waits for another for ever, and each happens
// once, whole.
func TestCrossing(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		names := []string{"a", "b", "c"}
		ctx := context.Background()
		for i, name := range names {
			_, err := w.nodes[i].Create(ctx, CreateOptions{Name: name, Code: "hopper"})
			must(t, err)
			_, err = w.nodes[i].call(name, "hop", "")
			must(t, err)
		}
		routes := []string{"a b", "b a", "a b c", "c b a", "b c a", "c a", "a c", "b c", "c b"}
		const rounds = 10
		want := map[string]int{"a": 1, "b": 1, "c": 1}
		var wg sync.WaitGroup
		begin := time.Now()
		for i, r := range routes {
			first, rest, _ := strings.Cut(r, " ")
			for _, name := range strings.Fields(r) {
				want[name] += rounds
			}
			wg.Go(func() {
				for range rounds {
					if trace, err := w.nodes[i%3].call(first, "hop", rest); err != nil || trace == "" {
						t.Errorf("%s: %q, %v", r, trace, err)
					}
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took > 9*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, name := range names {
			if got, err := w.nodes[0].read(name); err != nil || got != itoa(want[name]) {
				t.Errorf("%s: %s, %v; want %d", name, got, err, want[name])
			}
		}
	})
}
