package state

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/state/merge"
)

// world is some nodes over one network, in virtual time.
type world struct {
	t     *testing.T
	net   *shoaltest.Network
	mu    sync.Mutex
	state map[shoal.PeerID]shoal.MemberState
	nodes []*node
	cfg   Config

	doubles func(n *node) func(to shoal.PeerID, method string, b []byte) // nil: no message comes again
}

type node struct {
	*State
	w     *world
	id    shoal.PeerID
	table *shoaltest.Table
	disk  shoal.Table // the table, unless it is one that can lose its power
	stop  context.CancelFunc
	done  chan struct{}
	at    *door
}

// door is a place in the network whose methods belong to the node's present life.
type door struct {
	*shoaltest.Node
	mu      sync.Mutex
	handler shoal.Handler
	stream  shoal.StreamHandler
	double  func(to shoal.PeerID, method string, b []byte) // may send a message again; nil: nothing does
}

func (d *door) Ask(ctx context.Context, to shoal.PeerID, method string, b []byte) ([]byte, error) {
	if d.double != nil {
		d.double(to, method, b)
	}
	return d.Node.Ask(ctx, to, method, b)
}

func (d *door) Handle(method string, h shoal.Handler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.handler == nil {
		d.Node.Handle(method, func(ctx context.Context, from shoal.PeerID, b []byte) ([]byte, error) {
			d.mu.Lock()
			h := d.handler
			d.mu.Unlock()
			return h(ctx, from, b)
		})
	}
	d.handler = h
}

func (d *door) HandleStream(method string, h shoal.StreamHandler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stream == nil {
		d.Node.HandleStream(method, func(ctx context.Context, from shoal.PeerID, b []byte, s shoal.Stream) error {
			d.mu.Lock()
			h := d.stream
			d.mu.Unlock()
			return h(ctx, from, b, s)
		})
	}
	d.stream = h
}

func (n *node) Table() (out []shoal.Member) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	for id, s := range n.w.state {
		if id != n.id {
			out = append(out, shoal.Member{ID: id, State: s})
		}
	}
	slices.SortFunc(out, func(a, b shoal.Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

func (w *world) set(id shoal.PeerID, s shoal.MemberState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state[id] = s
}

func (w *world) add(disk ...shoal.Table) *node {
	n := &node{w: w, id: shoal.PeerID(fmt.Sprintf("peer-%02d", len(w.nodes))), table: shoaltest.NewTable()}
	w.nodes = append(w.nodes, n)
	if len(disk) > 0 {
		n.disk = disk[0]
	}
	w.set(n.id, shoal.Alive)
	n.up()
	return n
}

func (n *node) up() {
	n.w.t.Helper()
	if n.at == nil {
		n.at = &door{Node: n.w.net.Node(n.id)}
		if n.w.doubles != nil {
			n.at.double = n.w.doubles(n)
		}
	}
	var table shoal.Table = n.table
	if n.disk != nil {
		table = n.disk
	}
	s, err := New(n.w.cfg, Deps{Peers: n.at, Members: n, Table: table})
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.at.Start() // not before: the handlers of the process that was killed would take in what comes
	ctx, stop := context.WithCancel(context.Background())
	n.State, n.stop, n.done = s, stop, make(chan struct{})
	go func() {
		defer close(n.done)
		_ = s.Run(ctx)
	}()
}

func (n *node) down() {
	n.stop()
	<-n.done
	n.at.Stop()
	_ = n.Close()
}

func newWorld(t *testing.T, nodes int) *world {
	w := &world{t: t, net: shoaltest.NewNetwork(), state: map[shoal.PeerID]shoal.MemberState{}}
	for range nodes {
		w.add()
	}
	return w
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.down()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) number(t *testing.T, name string) int64 {
	t.Helper()
	list, err := n.Get(name)
	if shoal.KindOf(err) == shoal.NotFound && err != nil {
		return 0
	}
	must(t, err)
	return list[0].Number
}

func (n *node) replica() (r merge.Replica) {
	n.view(func(sp *merge.Space) { r = sp.Self() })
	return r
}

// agree waits until all nodes have the same, and says how long that took.
func (w *world) agree(d time.Duration) time.Duration {
	w.t.Helper()
	begun := time.Now()
	for {
		same := true
		for _, n := range w.nodes[1:] {
			same = same && reflect.DeepEqual(n.List(""), w.nodes[0].List(""))
		}
		if same {
			return time.Since(begun)
		}
		if time.Since(begun) > d {
			for _, n := range w.nodes {
				w.t.Logf("%s: %v", n.id, n.List(""))
			}
			w.t.Fatalf("they do not agree after %v", d)
		}
		time.Sleep(time.Millisecond)
	}
}
