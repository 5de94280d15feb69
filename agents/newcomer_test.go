package agents

import (
	"maps"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestNewcomer: a node that has just begun knows nobody yet. What is asked of it then waits, and is not said to be unknown.
func TestNewcomer(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		c := w.nodes[0].create("a", 3)
		w.nodes[1].wantCall("1", "a", "add", "")
		w.add() // it keeps nothing
		n := w.nodes[4]
		n.kill()
		w.mu.Lock()
		states := maps.Clone(w.state)
		clear(w.state)
		w.mu.Unlock()
		for _, o := range w.nodes {
			w.dirs.Expire(o.id)
		}
		n.restart()
		time.AfterFunc(5*time.Second, func() {
			w.mu.Lock()
			maps.Copy(w.state, states)
			w.mu.Unlock()
		})
		byKey := make(chan error, 1)
		go func() {
			_, err := n.call(c.Key, "get", "")
			byKey <- err
		}()
		n.wantCall("2", "a", "add", "")
		if err := <-byKey; err != nil {
			t.Error(err)
		}
		_, err := n.call("nobody", "get", "")
		if shoal.KindOf(err) != shoal.NotFound {
			t.Errorf("a name that nobody has: %v", err)
		}
	})
}

// TestNamesOutOfReach: that nobody keeps the directory who could be asked does not mean that there is no such name.
func TestNamesOutOfReach(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		w.nodes[0].create("a", 1)
		w.keepers("directory", 3, time.Minute)
		w.add()
		n := w.nodes[4]
		n.wantCall("1", "a", "add", "")
		time.Sleep(time.Minute)
		for _, o := range w.nodes[:4] {
			o.kill()
			w.setState(o.id, shoal.Down)
			w.dirs.Expire(o.id)
		}
		n.kill()
		n.restart() // it has forgotten where things are
		time.Sleep(2 * meetTime)
		_, err := n.call("b", "get", "")
		if shoal.KindOf(err) != shoal.Unavailable && shoal.KindOf(err) != shoal.Timeout {
			t.Errorf("a name in a directory that is out of reach: %v", err)
		}
	})
}
