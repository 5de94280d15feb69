package agents

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// Code that comes with the node runs as any other, and whoever gave it hears of its turns where they are led, and only there.
func TestNatives(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, Config{})
		turns := make([]atomic.Int64, 2)
		for i := range turns { // they are the nodes 1 and 2
			w.natives = map[string]Native{"native:probe": {Behaviour: agenttest.Probe(), Turned: func(shoal.Key, string) { turns[i].Add(1) }}}
			w.add()
		}
		p := w.nodes[1]
		c, err := p.Create(t.Context(), CreateOptions{Name: directory.Paths + "a/b", Code: "native:probe", Near: []shoal.PeerID{p.id}})
		must(t, err)
		for range 5 {
			_, err := p.Call(t.Context(), c.Name, shoal.CallRequest{Method: "put", Payload: []byte("a 1")})
			must(t, err)
		}
		time.Sleep(time.Second)
		if a, b := turns[0].Load(), turns[1].Load(); a != 5 || b != 0 {
			t.Errorf("the leader's node heard of %d turns, another of %d", a, b)
		}
		if _, err := p.Upgrade(t.Context(), c.Name, c.Key); err == nil {
			t.Error("native code was upgraded")
		}
	})
}

func TestPaths(t *testing.T) {
	for s, want := range map[string][2]string{
		"a": {"", "a"}, "o/a": {"o", "a"}, "topic:a": {"", "topic:a"}, "topic:a/b/c": {"", "topic:a/b/c"}, "o/topic:a/b": {"o", "topic:a/b"},
		"o/a/b": {}, "topic:": {}, "topic:/a": {}, "topic:a//b": {}, "topic:a/": {}, "/a": {"", "a"}, "o/": {},
	} {
		_, owner, name, err := parseAgent(s)
		if err != nil {
			owner, name = "", ""
		}
		if want != [2]string{string(owner), name} {
			t.Errorf("%s: owner %q, name %q, %v", s, owner, name, err)
		}
	}
}
