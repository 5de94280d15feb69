package shoaltest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Network is a network in memory. Each node of it speaks shoal.Peers with the others. What crosses
// it is copied, errors go through their wire form, so nothing is shared that a real network would
// not share. Faults hold from the call on, also for messages on their way.
type Network struct {
	mu     sync.Mutex
	nodes  map[shoal.PeerID]*Node
	links  map[link]*fault
	asked  map[string]int
	rand   *rand.Rand
	change chan struct{} // closed and renewed when a fault changes

	// Patience bounds the wait for a message that was lost: the caller's context usually ends
	// first; otherwise the call fails with Unavailable after this. Set it before use. Default 5 s.
	Patience time.Duration
}

type link struct{ from, to shoal.PeerID }

type fault struct {
	cut   bool
	delay time.Duration
	drop  float64
}

// NewNetwork returns a network without nodes or faults.
func NewNetwork() *Network {
	return &Network{
		nodes: map[shoal.PeerID]*Node{}, links: map[link]*fault{}, asked: map[string]int{},
		rand: rand.New(rand.NewPCG(1, 2)), change: make(chan struct{}), Patience: 5 * time.Second,
	}
}

// Node returns the node called id, making it at the first call.
func (n *Network) Node(id shoal.PeerID) *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[id] == nil {
		node := &Node{id: id, net: n, handlers: map[string]shoal.Handler{}, streams: map[string]shoal.StreamHandler{}}
		node.start()
		n.nodes[id] = node
	}
	return n.nodes[id]
}

// Cut has everything that from sends to to vanish, requests and replies alike; the other direction
// goes on. A lost message looks like silence, so the asker waits (see Patience). Open streams
// between the two break.
func (n *Network) Cut(from, to shoal.PeerID) { n.fault(from, to, func(f *fault) { f.cut = true }) }

// Heal removes the cut.
func (n *Network) Heal(from, to shoal.PeerID) { n.fault(from, to, func(f *fault) { f.cut = false }) }

// Delay has each message from from to to take d; of a stream only the opening is delayed.
func (n *Network) Delay(from, to shoal.PeerID, d time.Duration) {
	n.fault(from, to, func(f *fault) { f.delay = d })
}

// Drop loses that share (0 to 1) of the requests and replies from from to to, as Cut does. Which
// ones is drawn from a fixed seed. Streams are not touched.
func (n *Network) Drop(from, to shoal.PeerID, share float64) {
	n.fault(from, to, func(f *fault) { f.drop = share })
}

// Asked returns how many requests and streams of a method have reached handlers of other nodes.
func (n *Network) Asked(method string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[method]
}

func (n *Network) fault(from, to shoal.PeerID, set func(*fault)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := link{from, to}
	if n.links[l] == nil {
		n.links[l] = &fault{}
	}
	set(n.links[l])
	n.changed()
}

func (n *Network) changed() {
	close(n.change)
	n.change = make(chan struct{})
}

// isCut tells whether from can send to to, and returns a channel that closes when that may change.
func (n *Network) isCut(from, to shoal.PeerID) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.links[link{from, to}]
	return f != nil && f.cut, n.change
}

// send carries one message: it waits out the delay and reports whether the message arrives.
func (n *Network) send(ctx context.Context, from, to shoal.PeerID, droppable bool) bool {
	n.mu.Lock()
	var f fault
	if p := n.links[link{from, to}]; p != nil {
		f = *p
	}
	lost := droppable && f.drop > 0 && n.rand.Float64() < f.drop
	n.mu.Unlock()
	if f.delay > 0 {
		t := time.NewTimer(f.delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	cut, _ := n.isCut(from, to)
	return !cut && !lost
}

// Node is one node of a Network. It implements shoal.Peers.
type Node struct {
	id       shoal.PeerID
	net      *Network
	handlers map[string]shoal.Handler
	streams  map[string]shoal.StreamHandler
	life     context.Context // ends with Stop; nil while stopped
	end      context.CancelFunc
}

func (a *Node) start() { a.life, a.end = context.WithCancel(context.Background()) }

// Stop kills the node, as kill -9 would: calls to it fail at once with Unavailable, those under way
// too; its streams break and the contexts of its handlers end. Its own calls fail as well.
func (a *Node) Stop() {
	a.net.mu.Lock()
	defer a.net.mu.Unlock()
	if a.life != nil {
		a.end()
		a.life = nil
	}
	a.net.changed()
}

// Start brings a stopped node back, with its handlers.
func (a *Node) Start() {
	a.net.mu.Lock()
	defer a.net.mu.Unlock()
	if a.life == nil {
		a.start()
	}
}

// Self returns the node's ID.
func (a *Node) Self() shoal.PeerID { return a.id }

// Handle registers a method.
func (a *Node) Handle(method string, h shoal.Handler) {
	a.net.mu.Lock()
	defer a.net.mu.Unlock()
	if a.handlers[method] != nil {
		panic("shoaltest: method " + method + " is registered twice")
	}
	a.handlers[method] = h
}

// HandleStream registers a stream method.
func (a *Node) HandleStream(method string, h shoal.StreamHandler) {
	a.net.mu.Lock()
	defer a.net.mu.Unlock()
	if a.streams[method] != nil {
		panic("shoaltest: stream method " + method + " is registered twice")
	}
	a.streams[method] = h
}

// Ask implements shoal.Peers. Asking the node itself ignores all faults but Stop.
func (a *Node) Ask(ctx context.Context, to shoal.PeerID, method string, request []byte) ([]byte, error) {
	what := "ask " + method + " of " + to.Short()
	p, err := a.reach(ctx, to, what, request)
	if err != nil {
		return nil, err
	}
	h := p.to.handler(method)
	if h == nil {
		return nil, unknownMethod(what)
	}
	request = bytes.Clone(request)
	if p.to == a {
		return answer(ctx, h, a.id, method, request)
	}

	type result struct {
		reply   []byte
		err     error
		arrived bool
	}
	done := make(chan result, 1)
	handling, cancel := p.context(ctx)
	defer cancel()
	go func() {
		var r result
		if a.net.send(handling, a.id, to, true) {
			a.net.count(method)
			r.reply, r.err = answer(handling, h, a.id, method, request)
			r.arrived = a.net.send(handling, to, a.id, true)
		}
		if !r.arrived {
			a.net.wait(handling)
		}
		done <- r
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
	case <-p.asker.Done():
	case <-p.asked.Done():
	}
	switch {
	case r.arrived && r.err == nil:
		return r.reply, nil
	case ctx.Err() != nil:
		return nil, shoal.Wrap(shoal.Canceled, what, ctx.Err())
	case p.asker.Err() != nil || p.asked.Err() != nil:
		return nil, stopped(what)
	case !r.arrived && handling.Err() != nil: // the handler's copy of the deadline was first
		return nil, shoal.Wrap(shoal.Canceled, what, handling.Err())
	case !r.arrived:
		return nil, shoal.E(shoal.Unavailable, what, "no answer", "check the network between the two nodes")
	}
	return nil, r.err
}

// path is the way between two running nodes.
type path struct {
	to           *Node
	asker, asked context.Context // end when that node stops
}

// reach finds the node called to, if it runs.
func (a *Node) reach(ctx context.Context, to shoal.PeerID, what string, request []byte) (path, error) {
	if err := ctx.Err(); err != nil {
		return path{}, shoal.Wrap(shoal.Canceled, what, err)
	}
	if len(request) > wire.MaxFrame {
		return path{}, tooLarge(what, len(request))
	}
	a.net.mu.Lock()
	defer a.net.mu.Unlock()
	b := a.net.nodes[to]
	if b == nil || b.life == nil || a.life == nil {
		err := stopped(what)
		err.Err = shoal.ErrUnsent
		return path{}, err
	}
	return path{b, a.life, b.life}, nil
}

// context is that of a handler: it has the asker's deadline and none of its values, and ends when
// the asker gives up or either node stops.
func (p path) context(ctx context.Context) (context.Context, context.CancelFunc) {
	handling, cancel := context.WithCancel(p.asked)
	free := func() {}
	if d, ok := ctx.Deadline(); ok {
		handling, free = context.WithDeadline(handling, d)
	}
	forget, forgetAsker := context.AfterFunc(ctx, cancel), context.AfterFunc(p.asker, cancel)
	return handling, func() {
		forget()
		forgetAsker()
		free()
		cancel()
	}
}

func (a *Node) handler(method string) shoal.Handler {
	a.net.mu.Lock()
	defer a.net.mu.Unlock()
	return a.handlers[method]
}

// count notes a message that has reached a handler.
func (n *Network) count(method string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked[method]++
}

// wait is what the asker of a lost message does.
func (n *Network) wait(ctx context.Context) {
	t := time.NewTimer(n.Patience)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// answer runs a handler as the wire would: panics and causes stay on this node.
func answer(ctx context.Context, h shoal.Handler, from shoal.PeerID, method string,
	request []byte,
) (reply []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			reply, err = nil, shoal.E(shoal.Internal, method, fmt.Sprint("the handler panicked: ", v), "")
		}
	}()
	reply, err = h(ctx, from, request)
	switch {
	case err != nil:
		return nil, wire.FromError(err).Err()
	case len(reply) > wire.MaxFrame:
		return nil, tooLarge(method, len(reply))
	}
	return bytes.Clone(reply), nil
}

func stopped(what string) *shoal.Error {
	return shoal.E(shoal.Unavailable, what, "the peer cannot be reached", "check that it runs")
}

func unknownMethod(what string) error {
	return shoal.E(shoal.Unavailable, what, "the peer does not know this method, or is still starting",
		"try again, or check that both nodes run the same version of shoal")
}

func tooLarge(what string, n int) error {
	return shoal.E(shoal.Invalid, what, fmt.Sprintf("%d bytes, more than the limit of %d", n, wire.MaxFrame),
		"send large bodies on a stream of their own")
}
