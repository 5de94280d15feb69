package services

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// world is a few nodes in memory, in a bubble of virtual time.
type world struct {
	t     *testing.T
	net   *shoaltest.Network
	nodes []*peerNode
	names *names
	code  *code

	shared *agenttest.Shared
}

type peerNode struct {
	*Services
	id    shoal.PeerID
	net   *shoaltest.Node
	dead  atomic.Bool
	label string
	end   context.CancelFunc
}

// inWorld runs f with n nodes, and closes them.
func inWorld(t *testing.T, n int, cfg Config, f func(t *testing.T, w *world)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		w := &world{t: t, net: shoaltest.NewNetwork(), names: &names{list: map[string]Named{}}, code: &code{ran: map[string]int{}, open: map[shoal.PeerID]int{}, cost: 10 * time.Millisecond}, shared: agenttest.NewShared()}
		if cfg.Slots == 0 {
			cfg.Slots = 2
		}
		dir := shoaltest.NewDirectories()
		for i := range n {
			nd := &peerNode{id: shoal.PeerID(fmt.Sprintf("node-%d", i)), label: fmt.Sprint(i)}
			nd.net = w.net.Node(nd.id)
			w.nodes = append(w.nodes, nd)
			var err error
			nd.Services, err = New(cfg, Deps{
				Peers: nd.net, Directory: dir.Node(nd.id), Members: members{w, nd}, Names: keeper{w.names, w, nd}, Code: codeAt{w.code, nd.id}, Shared: w.shared,
				Link: func(shoal.PeerID) (time.Duration, float64) { return time.Millisecond, 1e8 },
				Load: func() shoal.Load { return shoal.Load{Slots: 2} },
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, end := context.WithCancel(context.Background())
			nd.end = end
			go func() { _ = nd.Run(ctx) }()
		}
		for a := range w.nodes {
			for b := range w.nodes {
				if a != b {
					w.net.Delay(w.nodes[a].id, w.nodes[b].id, 500*time.Microsecond)
				}
			}
		}
		f(t, w)
		for _, nd := range w.nodes {
			nd.end()
			_ = nd.Close()
		}
		synctest.Wait()
		for p, n := range w.code.open {
			if n != 0 {
				t.Errorf("%d instances are left on %s", n, p)
			}
		}
	})
}

// kill ends a node as a power cut does.
func (w *world) kill(nd *peerNode) {
	nd.dead.Store(true)
	nd.net.Stop()
	nd.end()
	_ = nd.Close()
}

func (w *world) create(s Spec) {
	w.t.Helper()
	if s.Code == "" {
		s.Code = shoal.BlockCID([]byte("module")).String()
	}
	if s.Method == "" {
		s.Method = "echo"
	}
	if _, err := w.nodes[0].Create(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) call(i int, name, payload string) (string, error) {
	b, err := w.nodes[i].Call(w.t.Context(), name, []byte(payload), CallOptions{})
	return string(b), err
}

// instances sums up what living nodes have, and lists where.
func (w *world) instances() (n int, on map[shoal.PeerID]int) {
	w.code.mu.Lock()
	defer w.code.mu.Unlock()
	on = map[shoal.PeerID]int{}
	for p, k := range w.code.open {
		if n += k; k > 0 {
			on[p] = k
		}
	}
	return n, on
}

// members are all nodes, of which the dead are down.
type members struct {
	w  *world
	me *peerNode
}

func (m members) of(nd *peerNode) shoal.Member {
	s := shoal.Alive
	if nd.dead.Load() {
		s = shoal.Down
	}
	return shoal.Member{ID: nd.id, State: s, Attributes: shoal.Attributes{CPUs: 2, Labels: map[string]string{"n": nd.label}}}
}

func (m members) Table() (list []shoal.Member) {
	for _, nd := range m.w.nodes {
		if nd != m.me {
			list = append(list, m.of(nd))
		}
	}
	return list
}

func (m members) Self() shoal.Member { return m.of(m.me) }

// names are the directory, which all nodes keep.
type names struct {
	mu   sync.Mutex
	list map[string]Named
	down atomic.Bool
}

type keeper struct {
	*names
	w  *world
	me *peerNode
}

func (n *names) Full(name string) (string, error) { return name, nil }

func (n *names) Define(_ context.Context, name string, key shoal.Key, spec []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.list[name]; ok {
		return shoal.E(shoal.Exists, "create service "+name, "there is one", "")
	}
	n.list[name] = Named{name, key, spec, time.Now().UnixMilli()}
	return nil
}

func (n *names) Find(_ context.Context, name string) (Named, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d, ok := n.list[name]
	switch {
	case n.down.Load():
		return d, shoal.E(shoal.Unavailable, "service "+name, "the directory is down", "")
	case !ok:
		return d, shoal.E(shoal.NotFound, "service "+name, "no such name", "")
	}
	return d, nil
}

func (n *names) Remove(ctx context.Context, name string) (Named, error) {
	d, err := n.Find(ctx, name)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.list, name)
	return d, err
}

func (n *names) List(context.Context, shoal.PeerID) ([]Named, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.list)), nil
}

// Kept implements Names: the first of the living nodes is the first keeper.
func (k keeper) Kept(yield func(Named, bool)) error {
	list, _ := k.List(context.Background(), "")
	i := slices.IndexFunc(k.w.nodes, func(nd *peerNode) bool { return !nd.dead.Load() })
	for _, d := range list {
		yield(d, k.w.nodes[i] == k.me)
	}
	return nil
}

// code is a module with the methods echo and, if batches is set, echo_batch. A call takes cost, a batch that and a tenth of it for
// each call. What a payload begins with may have it do something else.
type code struct {
	mu      sync.Mutex
	cost    time.Duration
	batches bool
	broken  map[shoal.PeerID]error // nodes on which it cannot be opened
	ran     map[string]int         // by payload
	sizes   []int                  // of batches
	open    map[shoal.PeerID]int
	most    int // at once
}

type codeAt struct {
	*code
	at shoal.PeerID
}

func (c codeAt) Keep(context.Context, string, ...shoal.PeerID) error { return nil }

func (c codeAt) Here(context.Context, string) (uint64, uint64, bool) { return 1000, 0, true }

func (c codeAt) Behaviour(context.Context, string) (shoal.Behaviour, error) { return c, nil }

func (c codeAt) Methods() []string {
	if c.batches {
		return []string{"echo", "echo_batch"}
	}
	return []string{"echo"}
}

func (c codeAt) Open(context.Context) (shoal.Instance, error) {
	time.Sleep(20 * time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.broken[c.at]; err != nil {
		return nil, err
	}
	c.open[c.at]++
	n := 0
	for _, k := range c.open {
		n += k
	}
	c.most = max(c.most, n)
	return &instance{c: c}, nil
}

type instance struct {
	c      codeAt
	closed bool
}

func (i *instance) Broken() bool { return i.closed }

func (i *instance) Close() {
	if !i.closed {
		i.closed = true
		i.c.mu.Lock()
		i.c.open[i.c.at]--
		i.c.mu.Unlock()
	}
}

func (i *instance) Turn(ctx context.Context, t *shoal.Turn) ([]byte, error) {
	payloads := [][]byte{t.Payload}
	took := i.c.cost
	if t.Method == "echo_batch" {
		payloads = nil
		for b := t.Payload[4:]; len(b) > 0; {
			n := binary.LittleEndian.Uint32(b)
			payloads = append(payloads, b[4:4+n])
			b = b[4+n:]
		}
		took += i.c.cost / 10 * time.Duration(len(payloads))
	}
	i.c.mu.Lock()
	i.c.sizes = append(i.c.sizes, len(payloads))
	for _, p := range payloads {
		i.c.ran[string(p)]++
	}
	i.c.mu.Unlock()
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(payloads)))
	for _, p := range payloads {
		kind, reply := uint32(0), string(p)
		switch do, _, _ := strings.Cut(string(p), " "); do {
		case "trap":
			i.Close()
			return nil, shoal.E(shoal.Failed, "method", "trap: unreachable", "mend the program")
		case "hang":
			<-ctx.Done()
			i.Close()
			return nil, ctx.Err()
		case "bad":
			kind, reply = 1, "as told"
			if len(payloads) == 1 {
				return nil, shoal.E(shoal.Failed, "method", "as told", "")
			}
		case "share":
			if err := t.Shared.Change(shoal.SharedChange{Verb: shoal.SharedAdd, Name: "shared", By: 1}); err != nil {
				return nil, err
			}
		case "put":
			if err := t.State.Put([]byte("k"), nil); err != nil {
				return nil, err
			}
		}
		out = binary.LittleEndian.AppendUint32(out, kind)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(reply)))
		out = append(out, reply...)
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		i.Close()
		return nil, ctx.Err()
	}
	if t.Method == "echo" {
		return payloads[0], nil
	}
	return out, nil
}
