package agents

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

// stuck is a stream of which nothing more comes, until it is reset here.
type stuck struct {
	shoal.Stream
	end context.Context
	cut context.CancelFunc
}

func (s stuck) Reset() { s.cut(); s.Stream.Reset() }

func (s stuck) Read([]byte) (int, error) {
	<-s.end.Done()
	return 0, s.end.Err()
}

// TestShippingBrokenOff has the leader die while it ships the state to a keeper that was away for long: that keeper's
// vote counts as before, so the third takes over and ships it anew, whether or not the first stream has ended.
func TestShippingBrokenOff(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, Config{TailBytes: 1 << 10})
		c := w.nodes[0].create("counter", 3)
		w.nodes[0].wantCall("1", "counter", "add", "")
		s, err := w.nodes[0].Show(context.Background(), "counter")
		must(t, err)
		var leader *peer
		var others []*peer
		for _, n := range w.nodes {
			if n.id == s.Leader {
				leader = n
			} else {
				others = append(others, n)
			}
		}
		away, third := others[0], others[1]
		away.kill()
		for i := range 300 {
			third.wantCall(itoa(i+2), c.Key, "add", "")
		}
		away.restart()
		begun := make(chan struct{})
		var later atomic.Bool
		real := (*late)(away).get("agents.ship").(shoal.StreamHandler)
		(*late)(away).set("agents.ship", shoal.StreamHandler(func(ctx context.Context, from shoal.PeerID, req []byte, s shoal.Stream) error {
			if !later.Swap(true) {
				close(begun)
				end, cut := context.WithCancel(context.Background())
				s = stuck{s, end, cut}
			}
			return real(ctx, from, req, s)
		}))
		third.wantCall("302", c.Key, "add", "")
		<-begun
		time.Sleep(time.Second)
		leader.kill()
		third.wantCall("303", c.Key, "add", "")
		third.kill()
		leader.restart()
		away.wantCall("304", c.Key, "add", "")
	})
}
