package agents

import (
	"context"
	"crypto/ed25519"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestStaleKeeper: a keeper is away while all with whom it kept an agent are replaced, and they leave. What its disk says when it comes back
// is then of no use: nobody named there knows of the agent any more. Its node must find the agent as any other does.
func TestStaleKeeper(t *testing.T) {
	inBubble(t, 6, func(t *testing.T, w *world) {
		c := w.nodes[0].create("a", 3)
		w.nodes[0].wantCall("1", "a", "add", "")
		key, _, _, err := parseAgent(c.Key)
		must(t, err)
		n := 1
		show := func(asker *peer) *Show {
			t.Helper()
			s, err := asker.Show(context.Background(), "a")
			must(t, err)
			return s
		}
		of := func(id shoal.PeerID) *peer {
			for _, p := range w.nodes {
				if p.id == id {
					return p
				}
			}
			t.Fatalf("no node %s", id)
			return nil
		}
		// user is a node that did not keep it in the beginning: it lives all the time.
		user := func() *peer {
			for _, p := range w.nodes {
				if !contains(c.Keepers, p.id) {
					return p
				}
			}
			return nil
		}
		// replace ends a keeper, and uses the agent until another is in its place.
		replace := func(lost *peer) {
			t.Helper()
			lost.kill()
			w.setState(lost.id, shoal.Down)
			for range 240 {
				n++
				user().wantCall(itoa(n), "a", "add", "")
				if s := show(user()); len(s.Keepers) == 3 && !contains(s.Keepers, lost.id) {
					return
				}
				time.Sleep(time.Second)
			}
			t.Fatalf("%s is not replaced", lost.id.Short())
		}
		// leave has one that was replaced come back, and find out: it asks for votes while the agent sleeps, and is told; and may go when the
		// agent is in use again. The table goes on saying that it is down, so that it is not chosen again.
		leave := func(p *peer) {
			t.Helper()
			p.restart()
			for range 20 {
				time.Sleep(2 * time.Minute)
				ask, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				_, _ = p.serve(ask, p.id, &question{Key: []byte(key), Method: "get", Read: true})
				cancel()
				for range 10 {
					user().wantCall(itoa(n), "a", "get", "")
					if was, err := p.store.removed(key); err == nil && was > 0 {
						return
					}
					time.Sleep(time.Second)
				}
			}
			t.Fatalf("%s does not leave", p.id.Short())
		}
		leader := show(w.nodes[0]).Leader
		var followers []*peer
		for _, k := range c.Keepers {
			if k != leader {
				followers = append(followers, of(k))
			}
		}
		stale := followers[0]
		replace(stale)
		replace(followers[1])
		leave(followers[1])
		replace(of(leader))
		leave(of(leader))
		for _, p := range w.nodes {
			w.setState(p.id, shoal.Alive)
		}
		stale.restart()
		if _, _, _, err := stale.store.glance(key); err != nil {
			t.Fatalf("it keeps nothing that could mislead it: %v", err)
		}
		none := func(shoal.PeerID) (ed25519.PrivateKey, error) { return nil, nil }
		if r, err := stale.Recover(context.Background(), "a", true, none); shoal.KindOf(err) != shoal.Refused {
			t.Fatalf("recovery from what is old, of an agent that lives: %+v, %v", r, err)
		}
		if s := show(stale); len(s.Keepers) != 3 || contains(s.Keepers, stale.id) {
			t.Errorf("it shows keepers %v", s.Keepers)
		}
		for _, silent := range []bool{false, true} { // one of those who left does not even answer
			if silent {
				w.net.Cut(stale.id, leader)
			}
			stale.kill()
			stale.restart()
			for range 3 {
				if got, err := stale.read("a"); err != nil || got != itoa(n) {
					t.Errorf("read: %q, %v; want %d (silent: %v)", got, err, n, silent)
				}
			}
		}
	})
}

// TestDeparture: who needs a group while what ends it here is on its way to the disk waits for that. It would find the group as it was, or a part of
// it, and take that for damage.
func TestDeparture(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		p := w.nodes[1]
		c := w.nodes[0].create("a", 3)
		w.nodes[0].wantCall("1", "a", "add", "")
		time.Sleep(time.Second)
		key, _, _, err := parseAgent(c.Key)
		must(t, err)
		x, err := p.get(key)
		must(t, err)
		const busy = 3 * time.Second // the disk
		p.writer.put([]shoal.Write{{Key: []byte("slow"), Value: []byte{1}}}, true, func(error) { time.Sleep(busy) })
		synctest.Wait()
		x.mu.Lock()
		x.depart(p.store.leaving(key, x.self), shoal.E(shoal.NotFound, "agent", "it left", ""))
		x.mu.Unlock()
		begun := time.Now()
		if _, err := p.get(key); shoal.KindOf(err) != shoal.NotFound {
			t.Errorf("%v, not that it is none of its keepers", err)
		}
		if took := time.Since(begun); took != busy {
			t.Errorf("it waited for %v", took)
		}
		p.Agents.mu.Lock()
		defer p.Agents.mu.Unlock()
		if len(p.behind) > 0 || len(p.sick) > 0 {
			t.Errorf("behind %v, sick %v", p.behind, p.sick)
		}
	})
}
