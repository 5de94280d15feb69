package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/expr"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// lone starts a node that keeps no member table and was introduced to one node only, by an invite that
// names nobody else; nil: it founds the fabric.
func lone(t *testing.T, by *Node, change func(c *Config)) (*Node, error) {
	c := Config{
		Dir: filepath.Join(t.TempDir(), "node"), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, NoMDNS: true, Slots: 1,
		NoTable: true, patient: true, Log: testLog(t),
	}
	if change != nil {
		change(&c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if by != nil {
		invite, err := by.Invite(ctx, InviteOptions{Uses: 1})
		if err != nil {
			return nil, err
		}
		c.Join = invite
	}
	n, err := Open(ctx, c)
	for shoal.KindOf(err) == shoal.Unavailable && ctx.Err() == nil { // the other one is busy with the rest of them
		n, err = Open(ctx, c)
	}
	if err == nil {
		t.Cleanup(func() { _ = n.Close() })
	}
	return n, err
}

// together runs f for each of n, at the same time.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// wall keeps some nodes from meeting those that come after them.
type wall struct {
	mu     sync.Mutex
	before map[shoal.PeerID]bool // nil: the wall is down
}

func (w *wall) shun(p shoal.PeerID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.before != nil && !w.before[p]
}

// sparse starts n lone nodes, node i introduced to node (i-1)/2. The last few, the askers, meet nobody who
// is not one of them until the wall is down.
func sparse(t *testing.T, n, askers int) (ns []*Node, w *wall) {
	t.Helper()
	ns, w = make([]*Node, n), &wall{}
	for begin := 0; begin < n; begin = 2*begin + 1 { // a level of the tree at a time
		together(t, min(begin+1, n-begin), func(i int) (err error) {
			var by *Node
			if i += begin; i > 0 {
				by = ns[(i-1)/2]
			}
			ns[i], err = lone(t, by, func(c *Config) {
				if i >= n-askers {
					c.shun = w.shun
				}
			})
			return err
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = map[shoal.PeerID]bool{}
	for _, nd := range ns {
		w.before[nd.ID()] = true
	}
	return ns, w
}

// fall takes the wall down, in front of nodes that must not have met who.
func (w *wall) fall(t *testing.T, askers []*Node, who []shoal.PeerID) {
	t.Helper()
	for _, nd := range askers {
		for _, p := range who {
			if _, known := nd.rooms.members.Lookup(p); known || nd.rooms.host.IsConnected(p) {
				t.Fatalf("%s knows %s already: the test shows nothing", nd.ID().Short(), p.Short())
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = nil
}

// names are the peers of a list.
func names(list []PeerInfo) (out []shoal.PeerID) {
	for _, p := range list {
		out = append(out, p.PeerID)
	}
	return out
}

// TestTableOff has 30 nodes of which none keeps a table of all members. Each verb is asked of a node that
// has met neither a holder of the data nor the owner of the label.
func TestTableOff(t *testing.T) {
	size := 27 // and three that come later
	if underRace {
		size = 9
	}
	begun := time.Now()
	since := func() time.Duration { return time.Since(begun).Round(time.Millisecond) }
	ns, wall := sparse(t, size, 4)
	t.Logf("%d nodes up after %v", size, since())
	// An agent, made by one of the first: it has as many keepers as its maker is in touch with.
	agent, err := ns[1].CreateAgent(t.Context(), "example:counterc", cid.Undef, agents.CreateOptions{Name: "hits"})
	if err != nil {
		t.Fatal(err)
	}
	late, rare := make([]*Node, 3), `labels.zone == "rare"`
	together(t, len(late), func(i int) (err error) {
		late[i], err = lone(t, ns[i], func(c *Config) {
			if i == 0 {
				c.Labels = map[string]string{"zone": "rare"}
			}
		})
		return err
	})
	asker, owner := ns[size-4:], late[0]
	hidden := []shoal.PeerID{owner.ID(), late[1].ID(), late[2].ID()}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir, alphas := corpus(t, 8, 50)
	root := put(t, late[1], dir, data.PutOptions{Replicas: 1}).Manifest.Root
	if _, err := late[2].Pin(ctx, root); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "the label and the data are announced", func() bool {
		label := expr.Index{Kind: "label", Name: "zone=rare"}
		found, err := shoaltest.Found(ctx, ns[3].rooms.dht, label.Key(), 0)
		if err != nil || !slices.Contains(found, owner.ID()) {
			return false
		}
		list, _, err := ns[3].Where(ctx, root)
		return err == nil && len(list) == 2
	})
	t.Logf("three more are there and all is announced after %v", since())
	wall.fall(t, asker, hidden)

	// peers --where, by one lookup. The load comes from the peer itself, which on a busy machine may be late.
	var list []PeerInfo
	var note string
	eventually(t, 30*time.Second, "the peer with the label is found, with its load", func() bool {
		list, note, err = asker[0].Peers(ctx, rare)
		return err == nil && note == "" && slices.Equal(names(list), hidden[:1]) && list[0].State == shoal.Alive &&
			list[0].Attributes.Labels["zone"] == "rare" && list[0].Load.Slots == 1
	})
	// An expression that implies nothing to look up: a sample, and it says so.
	// A peer that does not answer in time is not in it, which on a busy machine any may be.
	eventually(t, 30*time.Second, "a sample has the peer with the label", func() bool {
		list, note, err = asker[1].Peers(ctx, `labels.exists(k, k == "zone")`)
		return err == nil && strings.Contains(note, "a sample of") && slices.Equal(names(list), hidden[:1])
	})
	// No expression: those in touch, and it says so.
	if _, note, err = asker[1].Peers(ctx, ""); err != nil || !strings.Contains(note, "no table") {
		t.Errorf("peers: note %q, %v", note, err)
	}

	// where, with each hop; then get, and put from the same node.
	var mu sync.Mutex
	events := map[string]int{}
	eventually(t, 30*time.Second, "where finds both holders", func() bool {
		where, _, err := asker[2].Where(shoal.WithTrace(ctx, func(h shoal.Hop) {
			mu.Lock()
			defer mu.Unlock()
			events[h.Event]++
		}), root)
		return err == nil && len(where) == 2
	})
	if events["ask"] == 0 || events["answer"] == 0 || events["provider"] == 0 {
		t.Errorf("where --trace: hops %v", events)
	}
	back := filepath.Join(t.TempDir(), "back")
	if _, err := asker[2].Get(ctx, root, "", back, data.GetOptions{}); err != nil {
		t.Fatalf("get: %v", err)
	}
	same(t, dir, back)
	small, _ := corpus(t, 1, 3)
	if res := put(t, asker[2], small, data.PutOptions{Replicas: 2}); len(res.Holders) != 2 {
		t.Errorf("put of a node that has joined late: %+v", res.Holders)
	}

	// An agent, by its key, whose keepers the caller never met; and by its name.
	for i, what := range []string{agent.Key, "hits"} {
		if got := callAgent(t, asker[i], what, shoal.CallRequest{Method: "add"}); got != fmt.Sprint(i+1) {
			t.Errorf("call of %s: %s, want %d", what, got, i+1)
		}
	}

	// run: a task that one peer's label asks for, and a job where the data lies.
	hello, err := asker[3].Module(ctx, "example:hello")
	if err != nil {
		t.Fatal(err)
	}
	_, ran, explain, err := asker[3].RunTask(ctx, RunSpec{Module: hello, Needs: rare})
	if err != nil || ran.Peer != owner.ID() {
		t.Errorf("run --needs %s: on %s, %v; want %s\n%s", rare, ran.Peer, err, owner.ID(), explain)
	}
	if _, got := count(t, asker[3], root); got != alphas {
		t.Errorf("counted %d, want %d", got, alphas)
	}
	t.Logf("all asked after %v", since())
}
