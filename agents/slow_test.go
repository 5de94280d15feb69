package agents

import (
	"context"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

// heavy is a counter whose module takes longer to compile than a turn may take.
type heavy struct{ counter }

const heavyTime = 25 * time.Second

func (heavy) Open(ctx context.Context) (shoal.Instance, error) {
	select {
	case <-time.After(heavyTime):
		return &counting{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSlowToOpen: what a turn may take bounds the turn, not the fetching and compiling before it, whether it writes or reads.
func TestSlowToOpen(t *testing.T) {
	for _, read := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			w := newWorld(t, 1, Config{})
			p := w.nodes[0]
			c, err := p.Create(t.Context(), CreateOptions{Name: "h", Code: "heavy", Replicas: 1})
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if _, err := p.Call(ctx, c.Key, shoal.CallRequest{Method: "get", Read: read}); err != nil {
				t.Errorf("read %v: %v", read, err)
			}
		})
	}
}
