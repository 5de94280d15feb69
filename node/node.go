// Package node builds one node out of the rooms and offers its verbs. rooms.go is the one place
// where rooms meet. A Node shows no room to the outside: doors (the HTTP server, the demo) use its
// methods, which may be called from many goroutines.
package node

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/dht/absent"
)

// How a node came up.
const (
	Founded  = "founded"
	Joined   = "joined"
	CameBack = "came back to"
)

// Node is one running node.
type Node struct {
	cfg   Config
	start string
	begun time.Time
	rooms *rooms
	late  late

	saying sync.Mutex                      // of who changes what this node says of its machine
	free   atomic.Pointer[[]shoal.GPULoad] // as last seen
	gauges atomic.Pointer[map[string]gauged]

	probing atomic.Bool // a link is
	absent  absent.Memory[shoal.PeerID]

	stop context.CancelFunc
	loop sync.WaitGroup

	close  sync.Once
	closed error
	done   chan struct{} // closed when the node has left its fabric
	left   sync.Once
}

// Open starts a node in cfg.Dir and returns when it is a member of its fabric and serves: it founds
// one, joins one (cfg.Join), or comes back to the one its directory belongs to. ctx bounds only the
// start.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := makeDir(cfg.Dir); err != nil {
		return nil, err
	}
	disk, err := cfg.store()
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	n := &Node{cfg: cfg, begun: time.Now(), stop: stop, done: make(chan struct{})}
	n.rooms = &rooms{disk: disk}
	if err := n.build(ctx, life); err != nil {
		stop()
		n.loop.Wait()
		return nil, errors.Join(err, n.rooms.close())
	}
	return n, nil
}

// Start says how the node came up: Founded, Joined or CameBack.
func (n *Node) Start() string { return n.start }

// ID returns the node's peer ID.
func (n *Node) ID() shoal.PeerID { return n.rooms.host.ID() }

// Done is closed when the node has left its fabric and should be closed.
func (n *Node) Done() <-chan struct{} { return n.done }

// Close stops the node; it is expected back. What was acknowledged is on disk.
func (n *Node) Close() error {
	n.close.Do(func() {
		n.stop()
		n.rooms.hangUp()
		n.loop.Wait()
		n.closed = n.rooms.close()
	})
	return n.closed
}

// Kill stops the node as a power cut would look to its peers: its connections end without a goodbye.
func (n *Node) Kill() {
	_ = n.rooms.host.Close()
	_ = n.Close()
}

// Leave hands over what this node keeps, refuses further tasks, says goodbye, and closes Done.
// Refused: something would be lost; the node then stays.
func (n *Node) Leave(ctx context.Context, progress func(data.Progress)) error {
	if err := n.belong("leave"); err != nil {
		return err
	}
	// Agents first: their code is data, and stays here until others have it.
	err := n.rooms.agents.Drain(ctx, func(left, all int) {
		if progress != nil && all > 0 {
			progress(data.Progress{Phase: "agents", Done: uint64(all - left), Total: uint64(all)})
		}
	})
	if err != nil {
		return err
	}
	if err := n.rooms.data.Drain(ctx, progress); err != nil {
		return err
	}
	if err := n.rooms.sched.Drain(ctx); err != nil {
		return err
	}
	if err := n.rooms.services.Drain(ctx); err != nil {
		return err
	}
	if err := n.rooms.members.Leave(ctx); err != nil {
		return err
	}
	n.left.Do(func() { close(n.done) })
	return nil
}

// run starts a loop of a room, which ends with the node.
func (n *Node) run(ctx context.Context, name string, loop func(context.Context) error) {
	n.loop.Go(func() {
		if err := loop(ctx); err != nil && ctx.Err() == nil {
			n.cfg.Log.Error("node: a loop ended", "loop", name, "err", err)
		}
	})
}
