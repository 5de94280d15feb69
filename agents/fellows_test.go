package agents

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// conf is the newest configuration of an agent that a node has on disk. It wakes nobody.
func (w *world) conf(key shoal.Key) (c group.Conf) {
	for _, n := range w.nodes {
		if n.Agents == nil {
			continue
		}
		if m, err := n.store.mark(key); err == nil && m.Conf.Index >= c.Index {
			c = m.Conf
		}
	}
	return c
}

// whole waits until three keep an agent, each a peer that lives with the disk that it has, and returns how long that took.
func (w *world) whole(key shoal.Key, within time.Duration) time.Duration {
	w.t.Helper()
	begun := time.Now()
	for time.Since(begun) < within {
		fine := 0
		c := w.conf(key)
		for _, m := range c.Members {
			if slices.ContainsFunc(w.nodes, func(n *peer) bool {
				return n.Agents != nil && n.id == m.Peer && n.store.name == m.Store && m.Role == group.Voter
			}) {
				fine++
			}
		}
		if fine == 3 && len(c.Members) == 3 {
			return time.Since(begun)
		}
		time.Sleep(time.Second)
	}
	w.t.Fatalf("after %v it is kept by %+v", within, w.conf(key).Members)
	return 0
}

// asleep makes an agent, and waits until nothing is in memory any more.
func (w *world) asleep() (key shoal.Key, keeper *peer) {
	w.t.Helper()
	c := w.nodes[1].create("a", 3)
	w.nodes[1].wantCall("1", "a", "add", "")
	key, _, _, err := parseAgent(c.Key)
	must(w.t, err)
	time.Sleep(5 * time.Minute)
	for _, n := range w.nodes {
		if _, awake := n.Kept(); awake > 0 {
			w.t.Fatalf("%d agents are in use on %s", awake, n.id.Short())
		}
	}
	m := w.conf(key).Members[1]
	return key, w.nodes[slices.IndexFunc(w.nodes, func(n *peer) bool { return n.id == m.Peer })]
}

// TestSleeperWithoutTable: no table knows that a keeper of an agent that sleeps is gone; the others ask, and replace it.
func TestSleeperWithoutTable(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, w *world) {
		key, lost := w.asleep()
		lost.kill()
		w.mu.Lock()
		delete(w.state, lost.id)
		w.mu.Unlock()
		t.Log("replaced after", w.whole(key, 5*time.Minute))
		n := w.nodes[0]
		if n == lost {
			n = w.nodes[2]
		}
		n.wantCall("2", "a", "add", "")
	})
}

// TestSleeperOnWipedDisk: a keeper of an agent that sleeps comes back at once, with another disk.
func TestSleeperOnWipedDisk(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, w *world) {
		key, lost := w.asleep()
		lost.kill()
		lost.table = shoaltest.NewTable()
		lost.restart()
		t.Log("replaced after", w.whole(key, 8*time.Minute))
		w.nodes[0].wantCall("2", "a", "add", "")
	})
}

// TestWipedKeeperInUse: the same of an agent that is called all the time.
func TestWipedKeeperInUse(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, w *world) {
		key, lost := w.asleep()
		n := w.nodes[0]
		if n == lost {
			n = w.nodes[2]
		}
		lost.kill()
		lost.table = shoaltest.NewTable()
		lost.restart()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan int)
		go func() {
			calls := 0
			for ; ctx.Err() == nil; time.Sleep(time.Second) {
				if _, err := n.call("a", "add", ""); err != nil {
					t.Error(err)
				}
				calls++
			}
			done <- calls
		}()
		t.Log("replaced after", w.whole(key, time.Minute))
		cancel()
		n.wantCall(itoa(<-done+2), "a", "add", "")
	})
}
