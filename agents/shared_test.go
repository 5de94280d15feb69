package agents

import (
	"context"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// sharer counts in its own state and in the mergeable one.
var sharer = agenttest.Behaviour{
	"count": func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		if err := t.Shared.Change(shoal.SharedChange{Verb: shoal.SharedAdd, Name: "n", By: 1}); err != nil {
			return nil, err
		}
		v, _, err := t.State.Get([]byte("n"))
		v = append(v, 'x')
		if err == nil {
			err = t.State.Put([]byte("n"), v)
		}
		if string(t.Payload) == "fail" {
			err = shoal.E(shoal.Failed, "count", "as told", "")
		}
		return v, err
	},
	"look": func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		if err := t.Shared.Change(shoal.SharedChange{Verb: shoal.SharedAdd, Name: "n", By: 1}); !t.Read || shoal.KindOf(err) != shoal.Refused {
			return nil, shoal.E(shoal.Failed, "look", "a change was not refused", "")
		}
		o, _ := t.Shared.Get("n", "", 0)
		v, _, err := t.State.Get([]byte("n"))
		return append([]byte{'0' + byte(o.Number)}, v...), err
	},
	migrate: func(_ context.Context, t *shoal.Turn, memory *any) ([]byte, error) {
		step, _ := (*memory).(int)
		*memory = step + 1
		err := t.Shared.Change(shoal.SharedChange{Verb: shoal.SharedAdd, Name: "migrated", By: 1})
		switch {
		case err == nil && step == 0:
			return []byte(migrateMore), nil
		case err == nil && t.Agent == spoilt:
			err = shoal.E(shoal.Failed, "migrate", "the second step", "")
		}
		return nil, err
	},
}

var spoilt shoal.Key // whose migration fails

// TestSharedState: what a turn changes of mergeable state counts if the turn does; and the turn does not count if that cannot be made durable.
func TestSharedState(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0, Config{})
		w.shared = agenttest.NewShared()
		for range 3 {
			w.add()
		}
		c, err := w.nodes[0].Create(context.Background(), CreateOptions{Name: "s", Code: "sharer"})
		must(t, err)
		look := func(want string) {
			t.Helper()
			if got, err := w.nodes[1].Call(context.Background(), "s", shoal.CallRequest{Method: "look", Read: true}); err != nil || string(got) != want {
				t.Fatalf("%q, %v, want %q", got, err, want)
			}
		}
		w.nodes[1].wantCall("x", "s", "count", "")
		w.nodes[2].wantCall("xx", "s", "count", "")
		look("2xx")
		if _, err := w.nodes[1].call("s", "count", "fail"); shoal.KindOf(err) != shoal.Failed {
			t.Error(err)
		}
		look("2xx")
		w.shared.Fail = shoal.E(shoal.Full, "disk", "it is full", "")
		if _, err := w.nodes[1].call("s", "count", ""); err == nil || !strings.Contains(err.Error(), "it is full") {
			t.Error(err)
		}
		w.shared.Fail = nil
		look("2xx")
		once := shoal.CallRequest{Method: "count", Request: "order 7"}
		for range 3 {
			if got, err := w.nodes[1].Call(context.Background(), "s", once); err != nil || string(got) != "xxx" {
				t.Fatalf("%q, %v", got, err)
			}
		}
		look("3xxx")

		// A migration is one step, however many calls it takes.
		moved, err := w.nodes[0].Create(context.Background(), CreateOptions{Name: "m", Code: "counter"})
		must(t, err)
		spoilt, _, _, err = parseAgent(moved.Key)
		must(t, err)
		if _, err := w.nodes[0].Upgrade(context.Background(), "m", "sharer"); err == nil {
			t.Error("a migration that fails went well")
		}
		if got := w.shared.Dump(); got != "n counter 3\n" {
			t.Errorf("after a migration that failed: %s", got)
		}
		spoilt, _, _, err = parseAgent(c.Key)
		must(t, err)
		if _, err := w.nodes[0].Upgrade(context.Background(), "m", "sharer"); err != nil {
			t.Error(err)
		}
		if got := w.shared.Dump(); got != "migrated counter 2\nn counter 3\n" {
			t.Errorf("after a migration: %s", got)
		}
	})
}
