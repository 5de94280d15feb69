package agents

import (
	"context"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/wire"
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

// TestDepartureWhileAStateComes: a keeper hears that it was removed while the state comes with which it is to be one anew. What ends the first
// member takes all that there is of the group, so the state is refused and comes again: it would have holes.
func TestDepartureWhileAStateComes(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		p := w.nodes[1]
		c := w.nodes[0].create("a", 3)
		w.nodes[0].wantCall("1", "a", "add", "")
		time.Sleep(time.Second)
		key, _, _, err := parseAgent(c.Key)
		must(t, err)
		x, err := p.get(key)
		must(t, err)
		x.mu.Lock()
		head := consignment{Genesis: x.rec.Genesis, Generation: x.rec.Generation, Mark: x.mark, Code: x.program}
		x.mu.Unlock()
		head.Mark.Index, head.Mark.Conf.Index = head.Mark.Index+2, head.Mark.Index+1
		head.Mark.Conf.Members = slices.DeleteFunc(slices.Clone(head.Mark.Conf.Members), func(m group.Member) bool { return m.Peer == p.id })
		head.Mark.Conf.Members = append(head.Mark.Conf.Members, group.Member{
			ID: head.Mark.Conf.Next, Role: group.Learner, Keeper: group.Keeper{Peer: p.id, Store: p.store.name},
		})
		head.Mark.Conf.Next++
		send := func(on func(say func(piece))) error {
			r, s := io.Pipe()
			done := make(chan error, 1)
			go func() { done <- p.takeIn(key, head, r) }()
			on(func(b piece) { must(t, wire.WriteFrame(s, wire.Marshal(b), wire.MaxFrame)) })
			must(t, s.Close())
			return <-done
		}
		pair := [][2][]byte{{[]byte("k"), []byte("v")}}
		err = send(func(say func(piece)) {
			say(piece{Pairs: pair})
			synctest.Wait()
			x.mu.Lock()
			x.depart(p.store.leaving(key, x.self), shoal.E(shoal.NotFound, "agent", "it left", ""))
			x.mu.Unlock()
			synctest.Wait()
			say(piece{End: true, Total: 1})
		})
		if shoal.KindOf(err) != shoal.Unavailable {
			t.Errorf("a state with holes: %v", err)
		}
		must(t, send(func(say func(piece)) { say(piece{Pairs: pair, End: true, Total: 1}) }))
		rec, _, err := p.store.load(key)
		must(t, err)
		if _, ok, err := p.store.state(key, rec).Get([]byte("k")); err != nil || !ok {
			t.Errorf("the state that came again is not whole: %v", err)
		}
	})
}
