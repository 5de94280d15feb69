package agents

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestRecover loses two of three keepers for good: the agent refuses, naming them, until it is recovered from
// the third; when the others come back after all they neither answer nor vote with what they have.
func TestRecover(t *testing.T) {
	inBubble(t, 7, func(t *testing.T, w *world) {
		ctx := context.Background()
		time.Sleep(time.Minute) // the directory has its keepers
		dir, err := w.nodes[0].Show(ctx, "directory")
		must(t, err)
		var made *Created
		var lost, left []*peer
		for i := range 200 { // one whose keepers can be lost without the directory's
			name := "a" + itoa(i)
			made = w.nodes[i%7].create(name, 3)
			lost, left = nil, nil
			for _, n := range w.nodes {
				switch {
				case contains(made.Keepers, n.id) && !contains(dir.Keepers, n.id) && len(lost) < 2:
					lost = append(lost, n)
				case contains(made.Keepers, n.id):
					left = append(left, n)
				}
			}
			if len(lost) == 2 {
				break
			}
		}
		if len(lost) < 2 {
			t.Fatal("no such agent")
		}
		asker := left[0]
		asker.wantCall("1", made.Name, "add", "")
		asker.wantCall("2", made.Name, "add", "")
		time.Sleep(time.Second) // a majority has it: now all have
		if _, err := asker.Recover(ctx, made.Name, true, nil); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "is enough") {
			t.Errorf("recovery of what needs none: %v", err)
		}
		for _, n := range lost {
			n.kill()
			w.setState(n.id, shoal.Down)
		}
		time.Sleep(3 * time.Second) // the lease ends
		if _, err := asker.read(made.Name); err == nil {
			t.Fatal("an answer without a majority")
		}
		if _, err := asker.Recover(ctx, made.Name, false, nil); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), lost[0].id.Short()) {
			t.Errorf("recovery without accepting loss: %v", err)
		}
		r, err := asker.Recover(ctx, made.Name, true, nil)
		must(t, err)
		if r.Generation != 2 || r.Keeper != asker.id || len(r.Missing) != 2 {
			t.Errorf("%+v", r)
		}
		asker.wantCall("3", made.Name, "add", "")
		list, err := asker.History(ctx, made.Name)
		must(t, err)
		if last := list[len(list)-1]; last.Generation != 2 {
			t.Errorf("the history's end: %+v", last)
		}
		for _, n := range lost {
			n.restart()
			w.setState(n.id, shoal.Alive)
		}
		time.Sleep(3 * time.Second)
		for i, n := range lost {
			n.wantCall(itoa(4+i), made.Key, "add", "")
		}
		w.keepers(made.Name, 3, 5*time.Minute)
		time.Sleep(time.Second) // all three know that it is theirs now, and not the first one's alone
		for _, n := range w.nodes {
			if got, err := n.read(made.Key); err != nil || got != "5" {
				t.Errorf("a read: %s, %v", got, err)
			}
		}
		left[0].kill() // and what was recovered outlives its first keeper
		w.setState(left[0].id, shoal.Down)
		lost[0].wantCall("6", made.Key, "add", "")
	})
}

// TestRecoverDirectory: a directory's recovery is its owner's to sign.
func TestRecoverDirectory(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, w *world) {
		ctx := context.Background()
		made := w.nodes[1].create("counter", 3)
		time.Sleep(3 * time.Minute)
		dir, err := w.nodes[0].Show(ctx, "directory")
		must(t, err)
		var asker *peer
		n := 0
		for _, p := range w.nodes {
			if contains(dir.Keepers, p.id) && n < 2 {
				n++
				p.kill()
				w.setState(p.id, shoal.Down)
			} else {
				asker = p
			}
		}
		if _, err := asker.Recover(ctx, "directory", true, nil); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "owner") {
			t.Errorf("recovery without the owner: %v", err)
		}
		r, err := asker.Recover(ctx, "directory", true, w.root)
		must(t, err)
		if r.Generation != 2 {
			t.Errorf("%+v", r)
		}
		e, err := asker.find(ctx, public(w.root), "counter")
		if err != nil || KeyText(shoal.Key(e.Key)) != made.Key {
			t.Errorf("the name after it: %+v, %v", e, err)
		}
	})
}
