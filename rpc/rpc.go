// Package rpc is how a node asks another: it implements shoal.Peers over libp2p streams.
//
// Small calls. All requests to a peer share one long-lived stream; each carries an ID, answers come
// back in any order. One goroutine at a time writes: it yields before a write as long as frames go on
// coming, so that those of all callers who are ready leave in one piece (group commit; on a stream whose
// Write only queues, batching needs that yield). When nobody else is about, the frame leaves at once, and
// an answer is written by its handler's goroutine. An asker never writes himself: his context may end
// while the stream does not move. A body over 64 KiB is cut into parts that take turns
// with one another and let small frames pass. The deadline travels as the time left, so clocks need
// not agree; a caller who gives up sends a cancel, and the handler's context ends.
//
// Large bodies. Open gives a libp2p stream of its own, one protocol per method, so that the
// connection counters tell traffic apart by method. Bytes travel in chunks of up to 256 KiB behind
// a header of four bytes; the end of a body and a handler's error are records of their own. A
// stream that was cut off therefore never looks like one that ended. The context given to Open
// governs the whole life of the stream. Close says that the caller is no longer interested: the
// handler's context ends. Whoever wants to be sure that all was taken calls CloseWrite and reads to
// io.EOF before Close.
//
// Promises. A request is sent at most once: a call whose connection breaks after that fails with
// Unavailable and may have been executed; the next call dials anew. Calls and bytes in flight are
// bounded on both sides: the asker waits for room (as long as its context allows), the asked
// refuses with Overloaded and a hint when to retry. A handler that panics gives an Internal error.
// Garbage from a peer ends the stream it came on, and nothing else. A call to the node itself is a
// call of the handler; it is not bounded, and lasts as long as the handler does.
//
// On the way each call measures the link: round trips from small calls less the time the handler
// took, rates from streams, where it is the receiver who measures and tells the sender at the end.
package rpc

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	corehost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Config says how a node asks and answers. Limits of zero take their defaults.
type Config struct {
	// Fabric is the ID of the fabric; it names the protocols.
	Fabric string
	// Connect dials a peer that is not connected. Nil: libp2p dials the addresses it has noted.
	Connect func(ctx context.Context, p shoal.PeerID) error
	// Log gets what no caller sees, handlers that panicked above all. Nil: nothing is logged.
	Log *slog.Logger

	// MaxCalls and MaxBytes bound the calls that wait for an answer from one peer and the bytes of
	// their requests; further callers wait. As the asked, a node takes twice as much from one peer.
	// Defaults 2048 and 32 MiB.
	MaxCalls int
	MaxBytes int64
	// MaxHandlers and MaxHandled bound the requests of all peers being handled at once, and the
	// bytes of their requests and replies; beyond, requests are refused. Defaults 16384 and 256 MiB.
	MaxHandlers int
	MaxHandled  int64
	// MaxStreams bounds the open streams that one peer has to this node, MaxAllStreams those of
	// all peers; beyond, streams are refused. Defaults 1024 and 8192.
	MaxStreams    int
	MaxAllStreams int

	// ReadAhead is what is read at once of the calls of one peer, and of the answers of one: some bytes of
	// memory for each. Default 32 KiB.
	ReadAhead int
	// Count is told of each call that this node made of another, and how many bytes were said. It must not wait. Nil: nobody is.
	Count func(method string, bytes int)
}

func (c Config) validate() Config {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.MaxCalls, 2048)
	def(&c.MaxHandlers, 16384)
	def(&c.MaxStreams, 1024)
	def(&c.MaxAllStreams, 8192)
	def(&c.ReadAhead, readBuffer)
	if c.MaxBytes <= 0 {
		c.MaxBytes = 32 << 20
	}
	if c.MaxHandled <= 0 {
		c.MaxHandled = 256 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

const (
	dialTime   = 15 * time.Second       // for connecting and opening the shared stream
	closeTime  = 5 * time.Second        // that Close gives handlers
	retryAfter = 100 * time.Millisecond // what a refused asker is told
)

// method is what answers the requests of one name.
type method struct {
	name    string
	handler shoal.Handler
}

// RPC implements shoal.Peers over a libp2p host.
type RPC struct {
	cfg  Config
	host corehost.Host
	self shoal.PeerID
	life context.Context
	end  context.CancelFunc

	mu      sync.RWMutex
	asks    map[string]method
	streams map[string]shoal.StreamHandler
	peers   map[shoal.PeerID]*remote
	closed  bool
	loops   sync.WaitGroup // goroutines that serve or read streams

	asking, asked probes

	handled  *gate // requests of all peers
	opened   *gate // streams of all peers
	callPool sync.Pool
	crew     *crew
}

// New serves requests that come through h from now on. It does not own h.
func New(h corehost.Host, cfg Config) *RPC {
	cfg = cfg.validate()
	r := &RPC{
		cfg: cfg, host: h, self: shoal.PeerID(h.ID().String()),
		asks: map[string]method{}, streams: map[string]shoal.StreamHandler{},
		peers:   map[shoal.PeerID]*remote{},
		handled: newGate(cfg.MaxHandlers, cfg.MaxHandled),
		opened:  newGate(cfg.MaxAllStreams, int64(cfg.MaxAllStreams)),
	}
	r.callPool.New = func() any { return &call{done: make(chan struct{}, 1)} }
	r.life, r.end = context.WithCancel(context.Background())
	r.crew = newCrew(r.life)
	h.SetStreamHandler(r.protocol(), r.serve)
	r.HandleStream(probeMethod, r.serveProbe)
	return r
}

func (r *RPC) protocol() protocol.ID { return protocol.ID("/shoal/" + r.cfg.Fabric + "/rpc/1") }

func (r *RPC) streamProtocol(method string) protocol.ID {
	return protocol.ID("/shoal/" + r.cfg.Fabric + "/stream/" + method + "/1")
}

// Self returns the ID of this node.
func (r *RPC) Self() shoal.PeerID { return r.self }

// Handle registers a method of at most 128 bytes.
func (r *RPC) Handle(name string, h shoal.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(name) > maxMethod || r.asks[name].handler != nil {
		panic("rpc: method " + name + " is registered twice, or its name is too long")
	}
	r.asks[name] = method{name, h}
}

// HandleStream registers a stream method of at most 128 bytes.
func (r *RPC) HandleStream(method string, h shoal.StreamHandler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(method) > maxMethod || r.streams[method] != nil {
		panic("rpc: stream method " + method + " is registered twice, or its name is too long")
	}
	r.streams[method] = h
	r.host.SetStreamHandler(r.streamProtocol(method), func(raw network.Stream) { r.serveStream(raw, method, h) })
}

// Link returns what has been measured of the way to p.
func (r *RPC) Link(p shoal.PeerID) Link {
	r.mu.RLock()
	peer := r.peers[p]
	r.mu.RUnlock()
	if peer == nil {
		return Link{}
	}
	return peer.meter.get()
}

// Close ends all streams and calls. It waits for handlers, whose contexts have ended, for up to 5 s.
func (r *RPC) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	r.end() // the libp2p handlers stay, and reset: an unknown protocol would look like an older version
	done := make(chan struct{})
	go func() {
		r.loops.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(closeTime):
		return shoal.E(shoal.Timeout, "close rpc", "handlers still run", "")
	}
}

// begin counts a goroutine that Close waits for; false after Close.
func (r *RPC) begin() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return false
	}
	r.loops.Add(1)
	return true
}

// remote returns what this node knows of a peer.
func (r *RPC) remote(p shoal.PeerID) (*remote, error) {
	r.mu.RLock()
	known := r.peers[p]
	r.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	id, err := peer.Decode(string(p))
	if err != nil {
		return nil, shoal.E(shoal.Invalid, fmt.Sprintf("peer '%.72s'", p), "not a peer ID",
			"copy it whole, as 'shoal peers' printed it")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers[p] == nil {
		r.peers[p] = newRemote(r, id, p)
	}
	return r.peers[p], nil
}

// Ask implements shoal.Peers.
func (r *RPC) Ask(ctx context.Context, to shoal.PeerID, method string, request []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, shoal.Wrap(shoal.Canceled, about("ask", method, to), err)
	}
	if len(request) > wire.MaxFrame || len(method) > maxMethod {
		return nil, tooLarge(about("ask", method, to), len(request))
	}
	if to == r.self {
		return r.askSelf(ctx, method, request)
	}
	p, err := r.remote(to)
	if err != nil {
		return nil, err
	}
	reply, err := p.ask(ctx, method, request)
	if r.cfg.Count != nil {
		r.cfg.Count(method, len(method)+len(request)+len(reply))
	}
	return reply, err
}

// askSelf is the call that stays on this node. The two copies keep the law that nobody shares bytes.
func (r *RPC) askSelf(ctx context.Context, method string, request []byte) ([]byte, error) {
	_, h := r.handler([]byte(method))
	if h == nil {
		return nil, unknownMethod(about("ask", method, r.self))
	}
	reply, err := r.call(ctx, h, r.self, method, bytes.Clone(request))
	if err != nil {
		return nil, shoal.Wrap(shoal.KindOf(err), "", err)
	}
	return bytes.Clone(reply), nil
}

// handler returns a method's handler and its name, so that a request needs no string of its own.
func (r *RPC) handler(name []byte) (string, shoal.Handler) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m := r.asks[string(name)]
	return m.name, m.handler
}

// call runs a handler, and turns a panic and a reply that is too large into errors.
func (r *RPC) call(ctx context.Context, h shoal.Handler, from shoal.PeerID, method string,
	request []byte,
) (reply []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			reply, err = nil, r.panicked(method, from, v)
		}
	}()
	if reply, err = h(ctx, from, request); err != nil {
		return nil, err
	}
	if len(reply) > wire.MaxFrame {
		return nil, tooLarge("reply of "+method, len(reply))
	}
	return reply, nil
}

func (r *RPC) panicked(method string, from shoal.PeerID, v any) error {
	r.cfg.Log.Error("handler panicked", "method", method, "from", from, "panic", v, "stack", string(debug.Stack()))
	return shoal.E(shoal.Internal, method, fmt.Sprint("the handler panicked: ", v), "see the log of "+r.self.Short())
}

// about names a call for errors.
func about(verb, method string, to shoal.PeerID) string {
	join := " of "
	if verb == "open" {
		join = " at "
	}
	return verb + " " + method + join + to.Short()
}

func tooLarge(what string, n int) error {
	return shoal.E(shoal.Invalid, what, fmt.Sprintf("%d bytes, more than the limit of %d", n, wire.MaxFrame),
		"send large bodies on a stream of their own")
}

func unknownMethod(what string) error {
	return shoal.E(shoal.Unavailable, what, "the peer does not know this method, or is still starting",
		"try again, or check that both nodes run the same version of shoal")
}

func overloaded(what string) error {
	return &shoal.Error{
		Kind: shoal.Overloaded, What: what, Why: "the peer handles too much already", Try: "try again later",
		RetryAfter: retryAfter,
	}
}

// oneLine puts libp2p's long errors on a line.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
