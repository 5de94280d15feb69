package agents

import (
	"context"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

func nobodys(shoal.PeerID) (ed25519.PrivateKey, error) { return nil, nil }

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
		if _, err := asker.Recover(ctx, made.Name, true, nobodys); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "is enough") {
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
		if _, err := asker.Recover(ctx, made.Name, false, nobodys); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), lost[0].id.Short()) {
			t.Errorf("recovery without accepting loss: %v", err)
		}
		r, err := asker.Recover(ctx, made.Name, true, nobodys)
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
		if _, err := asker.Recover(ctx, "directory", true, nobodys); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "owner") {
			t.Errorf("recovery without the owner: %v", err)
		}
		r, err := asker.Recover(ctx, "directory", true, func(shoal.PeerID) (ed25519.PrivateKey, error) { return w.root, nil })
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

// TestOwners: names of one owner are not those of another; and a key answers when its owner's directory is dead.
func TestOwners(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, w *world) {
		ctx := context.Background()
		owner := public(key(2000))
		must(t, w.nodes[1].FoundOwner(key(2000), owner))
		w.nodes[0].create("hits", 1)
		own := w.nodes[1].create(string(owner)+"/hits", 1)
		for _, n := range w.nodes[2:] {
			n.wantCall("0", string(owner)+"/hits", "get", "")
		}
		w.nodes[2].wantCall("1", string(owner)+"/hits", "add", "")
		w.nodes[1].wantCall("2", string(owner[len(owner)-8:])+"/hits", "add", "")
		w.nodes[3].wantCall("1", "hits", "add", "")
		if _, err := w.nodes[2].Create(ctx, CreateOptions{Name: string(owner) + "/hits", Code: "counter"}); shoal.KindOf(err) != shoal.Exists {
			t.Errorf("the name again: %v", err)
		}
		if _, err := w.nodes[2].Create(ctx, CreateOptions{Name: "nobody99/hits", Code: "counter"}); shoal.KindOf(err) != shoal.NotFound {
			t.Errorf("an owner that nobody knows: %v", err)
		}
		list, err := w.nodes[4].List(ctx, owner, "", 0)
		if err != nil || len(list) != 1 || list[0].Name != "hits" {
			t.Errorf("the owner's names: %+v, %v", list, err)
		}
		time.Sleep(3 * time.Minute) // its directory has three keepers
		dir, err := w.nodes[2].Show(ctx, string(owner)+"/directory")
		must(t, err)
		if len(dir.Keepers) != 3 {
			t.Fatalf("the directory: %+v", dir)
		}
		var away, asker *peer
		for _, n := range w.nodes {
			if !contains(dir.Keepers, n.id) {
				away, asker = n, away
			}
		}
		must(t, w.nodes[2].Move(ctx, own.Key, away.id))
		for _, n := range w.nodes {
			if contains(dir.Keepers, n.id) {
				n.kill()
				w.setState(n.id, shoal.Down)
			}
		}
		asker.wantCall("3", own.Key, "add", "")
		time.Sleep(nameLife) // what is remembered of a name is old, and all that there is
		for _, n := range w.nodes {
			if n.Agents == nil {
				continue
			}
			n.names.mu.Lock()
			known := n.names.list.Contains(string(owner) + "/hits")
			n.names.mu.Unlock()
			begin := time.Now()
			_, err := n.call(string(owner)+"/hits", "get", "")
			if took := time.Since(begin); known != (err == nil) || known && took > 2*nameWait {
				t.Errorf("the name without its directory, known before: %v: %v after %v", known, err, took)
			}
		}
	})
}
