package shoaltest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// DirectoryNode is one node's directory and the node's name.
type DirectoryNode struct {
	ID shoal.PeerID
	shoal.Directory
}

// directoryPatience bounds how long an announcement may take to be heard.
const directoryPatience = 10 * time.Second

// DirectorySuite holds implementations of shoal.Directory against the contract. open gives n nodes
// that know one another, with nothing announced.
func DirectorySuite(t *testing.T, open func(t *testing.T, n int) []DirectoryNode) {
	t.Run("alone", func(t *testing.T) { directoryAlone(t, open(t, 1)[0]) })
	nodes := open(t, 3)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, nodes []DirectoryNode, key func(i int) shoal.Key)
	}{
		{"nobody", directoryNobody},
		{"found by others", directoryOthers},
		{"each once, and the limit", directoryLimit},
		{"withdraw", directoryWithdraw},
		{"many keys", directoryMany},
		{"bad keys", directoryBadKeys},
		{"context", directoryContext},
		{"trace", directoryTrace},
		{"at once", directoryAtOnce},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, nodes, func(i int) shoal.Key { return shoal.NameKey("suite", fmt.Sprint(c.name, i)) })
		})
	}
}

// Found collects what d finds under key, within ctx.
func Found(ctx context.Context, d shoal.Directory, key shoal.Key, limit int) (peers []shoal.PeerID, err error) {
	for p, e := range d.Find(ctx, key, limit) {
		if e != nil {
			err = e
			continue
		}
		peers = append(peers, p)
	}
	return peers, err
}

// mustFind waits until d finds exactly want under key, in whatever order.
func mustFind(t *testing.T, d DirectoryNode, key shoal.Key, want ...shoal.PeerID) {
	t.Helper()
	slices.Sort(want)
	var got []shoal.PeerID
	var err error
	for start := time.Now(); time.Since(start) < directoryPatience; time.Sleep(20 * time.Millisecond) {
		if got, err = Found(t.Context(), d, key, 0); err == nil {
			if slices.Sort(got); slices.Equal(got, want) {
				return
			}
		}
	}
	t.Fatalf("%s finds %v, %v; want %v", d.ID.Short(), got, err, want)
}

func directoryAlone(t *testing.T, d DirectoryNode) {
	key := shoal.NameKey("suite", "alone")
	mustFind(t, d, key)
	mustDo(t, d.Provide(t.Context(), key))
	mustFind(t, d, key, d.ID)
	mustDo(t, d.Provide(t.Context()))
	mustDo(t, d.Withdraw(t.Context(), key, shoal.NameKey("suite", "never provided")))
	mustFind(t, d, key)
}

func directoryNobody(t *testing.T, nodes []DirectoryNode, key func(int) shoal.Key) {
	for _, d := range nodes {
		mustFind(t, d, key(0))
	}
}

func directoryOthers(t *testing.T, nodes []DirectoryNode, key func(int) shoal.Key) {
	keys := []shoal.Key{key(0)}
	mustDo(t, nodes[0].Provide(t.Context(), keys...))
	keys[0] = key(1) // the slice is the caller's again
	if got, err := Found(t.Context(), nodes[0], key(0), 1); err != nil || !slices.Equal(got, []shoal.PeerID{nodes[0].ID}) {
		t.Fatalf("the node itself finds %v, %v at once", got, err)
	}
	for _, d := range nodes {
		mustFind(t, d, key(0), nodes[0].ID)
	}
	mustFind(t, nodes[0], key(1))
}

func directoryLimit(t *testing.T, nodes []DirectoryNode, key func(int) shoal.Key) {
	var all []shoal.PeerID
	for _, d := range nodes {
		mustDo(t, d.Provide(t.Context(), key(0), key(0)))
		mustDo(t, d.Provide(t.Context(), key(0)))
		all = append(all, d.ID)
	}
	for _, d := range nodes {
		mustFind(t, d, key(0), all...)
		for limit := 1; limit <= len(nodes)+1; limit++ {
			got, err := Found(t.Context(), d, key(0), limit)
			if err != nil || len(got) != min(limit, len(nodes)) || got[0] != d.ID {
				t.Fatalf("limit %d: %v, %v", limit, got, err)
			}
			if slices.Sort(got); len(slices.Compact(got)) != min(limit, len(nodes)) {
				t.Fatalf("limit %d: somebody twice in %v", limit, got)
			}
		}
		for range d.Find(t.Context(), key(0), 0) {
			break // leaving early is fine
		}
	}
}

func directoryWithdraw(t *testing.T, nodes []DirectoryNode, key func(int) shoal.Key) {
	mustDo(t, nodes[0].Provide(t.Context(), key(0), key(1)))
	mustFind(t, nodes[1], key(0), nodes[0].ID)
	mustDo(t, nodes[0].Withdraw(t.Context(), key(0)))
	mustFind(t, nodes[0], key(0))
	mustFind(t, nodes[0], key(1), nodes[0].ID)
	mustDo(t, nodes[0].Provide(t.Context(), key(0)))
	mustFind(t, nodes[0], key(0), nodes[0].ID)
	mustFind(t, nodes[2], key(0), nodes[0].ID)
}

func directoryMany(t *testing.T, nodes []DirectoryNode, key func(int) shoal.Key) {
	var keys []shoal.Key
	for i := range 100 {
		keys = append(keys, key(i))
	}
	mustDo(t, nodes[1].Provide(t.Context(), keys...))
	for _, k := range keys {
		mustFind(t, nodes[2], k, nodes[1].ID)
	}
}

func directoryBadKeys(t *testing.T, nodes []DirectoryNode, key func(int) shoal.Key) {
	for _, bad := range []shoal.Key{"", "x", key(0)[:20], key(0) + "x"} {
		wantKind(t, nodes[0].Provide(t.Context(), key(0), bad), shoal.Invalid)
		wantKind(t, nodes[0].Withdraw(t.Context(), bad), shoal.Invalid)
		got, err := Found(t.Context(), nodes[0], bad, 0)
		wantKind(t, err, shoal.Invalid)
		if len(got) > 0 {
			t.Fatalf("found %v", got)
		}
	}
	mustFind(t, nodes[0], key(0)) // nothing of the refused call holds
}

func directoryContext(t *testing.T, nodes []DirectoryNode, key func(int) shoal.Key) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantKind(t, nodes[0].Provide(ctx, key(0)), shoal.Canceled)
	_, err := Found(ctx, nodes[1], key(0), 0)
	wantKind(t, err, shoal.Canceled)
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = Found(late, nodes[1], key(0), 0)
	wantKind(t, err, shoal.Timeout)
}

func directoryTrace(t *testing.T, nodes []DirectoryNode, key func(int) shoal.Key) {
	mustDo(t, nodes[0].Provide(t.Context(), key(0)))
	mustFind(t, nodes[1], key(0), nodes[0].ID)
	var busy atomic.Bool
	var hops []shoal.Hop
	ctx := shoal.WithTrace(t.Context(), func(h shoal.Hop) {
		if busy.Swap(true) {
			t.Error("two hops at a time")
		}
		hops = append(hops, h)
		busy.Store(false)
	})
	got, err := Found(ctx, nodes[1], key(0), 0)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
	provider := false
	for i, h := range hops {
		if h.Peer == "" || h.After < 0 || h.After > directoryPatience || i > 0 && h.After < hops[i-1].After {
			t.Errorf("hop %d is %+v", i, h)
		}
		switch h.Event {
		case "ask", "answer", "fail":
		case "provider":
			provider = provider || h.Peer == nodes[0].ID
		default:
			t.Errorf("unknown event %q", h.Event)
		}
	}
	if !provider {
		t.Errorf("no hop named the provider: %+v", hops)
	}
}

func directoryAtOnce(t *testing.T, nodes []DirectoryNode, key func(int) shoal.Key) {
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			d := nodes[g%len(nodes)]
			for i := range 5 {
				if err := d.Provide(t.Context(), key(i)); err != nil {
					t.Error(err)
				}
				if got, err := Found(t.Context(), d, key(i), 1); err != nil || len(got) != 1 {
					t.Errorf("got %v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	for i := range 5 {
		mustFind(t, nodes[0], key(i), nodes[0].ID, nodes[1].ID, nodes[2].ID)
	}
}
