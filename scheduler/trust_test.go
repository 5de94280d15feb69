package scheduler

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// jammed is a node that offers to take tasks, takes them, and never begins one.
type jammed struct {
	*shoaltest.Node
	p *peer
}

func (j jammed) HandleStream(method string, h shoal.StreamHandler) {
	if method == "task.run" {
		real := h
		h = func(ctx context.Context, from shoal.PeerID, request []byte, stream shoal.Stream) error {
			if !j.p.jam {
				return real(ctx, from, request, stream)
			}
			c := newConn(stream)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					if _, err := c.watched(time.Minute); err != nil {
						return
					}
				}
			}()
			c.beat(4*time.Second, done)
			return nil
		}
	}
	j.Node.HandleStream(method, h)
}

// TestAPeerThatNeverRunsIsAskedLater has the only holder of the data take tasks and begin none. Each task finishes elsewhere; the
// first waits for that peer, the next ones do not, until it is forgotten; and once it runs tasks it gets them again.
func TestAPeerThatNeverRunsIsAskedLater(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFabric(t, 4, nil)
		defer f.stop()
		mod, in := f.module("hello", hello, 0, 1, 2, 3), f.data("text", 2)
		home, bad := f.nodes[0], f.nodes[2]
		bad.jam = true
		run := func() (shoal.Outcome, time.Duration) {
			began := time.Now()
			out, explain, err := home.s.Run(t.Context(), shoal.Task{Module: mod, Inputs: []shoal.Input{{Name: "d", CID: in}}}, RunOptions{})
			if err != nil {
				t.Fatalf("%v\n%s", err, explain)
			}
			return out, time.Since(began)
		}
		out, took := run()
		if out.Peer == bad.id || took < 10*time.Second || took > 15*time.Second {
			t.Fatalf("on %s after %v", out.Peer.Short(), took)
		}
		home.drop(in) // it was fetched to run there; where the data lies is to pull again
		for _, p := range f.nodes {
			if p != bad {
				p.drop(in)
			}
		}
		time.Sleep(6 * time.Second) // what was known of holders is old
		if out, took := run(); out.Peer == bad.id || took > time.Second {
			t.Errorf("the second task: on %s after %v", out.Peer.Short(), took)
		}
		var rate PeerRate
		for _, r := range home.s.Rates(t.Context()).Peers {
			if r.Peer == bad.id {
				rate = r
			}
		}
		if rate.Lost != 1 || rate.Doubt < 2 || rate.Doubt > 5 || rate.Runs != 0 {
			t.Errorf("%+v", rate)
		}
		for _, p := range f.nodes {
			if p != bad {
				p.drop(in)
			}
		}
		bad.jam = false
		time.Sleep(10 * time.Minute)
		if out, _ := run(); out.Peer != bad.id {
			t.Errorf("it is never asked again: on %s", out.Peer.Short())
		}
	})
}

// TestAPeerThatSaysTooMuchGetsLess has one of three workers be ten times slower than it says. Once that is learnt it gets few of
// the tasks, and what was learnt outlives the node.
func TestAPeerThatSaysTooMuchGetsLess(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFabric(t, 4, func(_ int, c *Config) { c.Slots = 4 })
		defer f.stop()
		mod := f.module("work", func(ctx context.Context, r shoal.Run) (int, error) {
			time.Sleep(time.Second)
			return 0, nil
		}, 0, 1, 2, 3)
		slow := f.nodes[3]
		slow.runner.Register([]byte("\x00asmwork"), func(ctx context.Context, r shoal.Run) (int, error) {
			time.Sleep(10 * time.Second)
			return 0, nil
		})
		for _, p := range f.nodes[1:] {
			p.labels = map[string]string{"role": "worker"}
		}
		run := func(n int, on shoal.PeerID) map[shoal.PeerID]int {
			by := map[shoal.PeerID]int{}
			for i := range n {
				out, _, err := f.nodes[0].s.Run(t.Context(), shoal.Task{Module: mod, Args: []string{fmt.Sprint(i)}, Needs: `labels.role == "worker"`}, RunOptions{On: on})
				if err != nil {
					t.Fatal(err)
				}
				by[out.Peer]++
				time.Sleep(300 * time.Millisecond)
			}
			return by
		}
		run(5, f.nodes[1].id)
		run(3, slow.id)
		if by := run(40, ""); by[slow.id] > 2 || by[f.nodes[1].id] < 5 || by[f.nodes[2].id] < 5 {
			t.Errorf("of 40 tasks: %v", by)
		}
		home := f.nodes[0]
		before := home.s.Rates(t.Context())
		home.s.Close()
		again := openRates(home.kv, home.cfg)
		if home.s = nil; len(again.Modules) != 1 || again.Peers[slow.id] == nil || again.Peers[slow.id].Factor < 1.5 {
			t.Errorf("kept %+v, there was %+v", again.Peers[slow.id], before)
		}
	})
}
