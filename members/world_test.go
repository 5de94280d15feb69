package members

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/wire"
)

// world is a network in memory for tests in a synctest bubble. Connections are as TCP's: they end
// with the node that dies, and outlive a cable that is cut.
type world struct {
	t     *testing.T
	delay time.Duration

	mu    sync.Mutex
	nodes map[shoal.PeerID]*machine
	cut   map[[2]shoal.PeerID]bool // from, to
	conns map[[2]shoal.PeerID]bool // both orders
	bytes map[string]int           // by method, requests and replies
	count map[string]int
	most  int // bytes of the largest message
}

// machine is a computer with a disk, on which a node runs or not.
type machine struct {
	w     *world
	id    shoal.PeerID
	key   ed25519.PrivateKey
	kv    *shoaltest.KV
	cfg   Config
	addrs []string
	load  shoal.Load

	up       bool
	frozen   bool // SIGSTOP
	m        *Members
	door     map[string]shoal.Handler
	methods  map[string]shoal.Handler
	notify   []func(shoal.PeerID, bool)
	discover []func(shoal.PeerID, []string)
	book     map[shoal.PeerID][]string
	stop     context.CancelFunc
	done     chan struct{}
}

func testKey(n int) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Append(nil, "members test key ", n))
	return ed25519.NewKeyFromSeed(seed[:])
}

// inWorld runs a test in virtual time.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		w := &world{
			t: t, delay: time.Millisecond, nodes: map[shoal.PeerID]*machine{}, cut: map[[2]shoal.PeerID]bool{},
			conns: map[[2]shoal.PeerID]bool{}, bytes: map[string]int{}, count: map[string]int{},
		}
		defer func() {
			for _, c := range w.nodes {
				c.halt()
			}
			time.Sleep(20 * time.Second) // what still waits for a lost reply gives up
		}()
		f(t, w)
	})
}

// machine makes the n-th machine; edit may change its configuration.
func (w *world) machine(n int, edit ...func(*Config)) *machine {
	c := &machine{
		w: w, key: testKey(n), kv: shoaltest.NewKV(), addrs: []string{fmt.Sprintf("/ip4/10.0.%d.%d/tcp/4170", n/250, n%250)},
	}
	c.id = capability.PeerIDOf(c.key.Public().(ed25519.PublicKey))
	c.cfg = Config{
		Key: c.key, Table: true, Seed: uint64(n) + 1,
		Attributes: shoal.Attributes{OS: "linux", CPUs: n + 1},
		Load:       func() shoal.Load { w.mu.Lock(); defer w.mu.Unlock(); return c.load },
	}
	for _, f := range edit {
		f(&c.cfg)
	}
	w.mu.Lock()
	w.nodes[c.id] = c
	w.mu.Unlock()
	return c
}

// boot starts a node from what is on the machine's disk, without its loop.
func (c *machine) boot() *machine {
	c.w.t.Helper()
	c.w.mu.Lock()
	c.up, c.frozen = true, false
	c.door, c.methods, c.book = map[string]shoal.Handler{}, map[string]shoal.Handler{}, map[shoal.PeerID][]string{}
	c.notify, c.discover = nil, nil
	c.w.mu.Unlock()
	m, err := New(c.cfg, Deps{Door: c, Network: c, KV: c.kv})
	if err != nil {
		c.w.t.Fatal(err)
	}
	c.m = m
	return c
}

// run starts the loop.
func (c *machine) run() *machine {
	c.m.Attach(rpc{c})
	ctx, stop := context.WithCancel(context.Background())
	c.stop, c.done = stop, make(chan struct{})
	go func() {
		defer close(c.done)
		if err := c.m.Run(ctx); err != nil {
			c.w.t.Error(err)
		}
	}()
	return c
}

// halt ends the node as SIGTERM and kill -9 do: connections are reset.
func (c *machine) halt() {
	c.w.mu.Lock()
	c.up = false
	c.w.mu.Unlock()
	for _, p := range c.Connected() {
		c.Disconnect(p)
	}
	if c.stop != nil {
		c.stop()
		<-c.done
		c.stop = nil
	}
}

func (c *machine) isUp() bool {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.up
}

func (c *machine) freeze(on bool) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.frozen = on
}

// found makes n running members: the first founds, the others join through it.
func (w *world) found(n int, edit ...func(*Config)) []*machine {
	w.t.Helper()
	list := []*machine{w.machine(0, edit...).boot()}
	w.must(list[0].m.Found())
	list[0].run()
	for i := 1; i < n; i++ {
		list = append(list, w.join(w.machine(i, edit...), list[0]))
	}
	return list
}

// join has c join through by, and runs it.
func (w *world) join(c, by *machine) *machine {
	w.t.Helper()
	w.must(c.boot().m.Join(w.t.Context(), w.invite(by, InviteOptions{})))
	return c.run()
}

func (w *world) invite(by *machine, o InviteOptions) string {
	w.t.Helper()
	text, err := by.m.Invite(o)
	w.must(err)
	return text
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// within waits until ok, for at most d, and returns how long that took.
func (w *world) within(d time.Duration, what string, ok func() bool) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > d {
			for _, c := range w.nodes {
				if c.isUp() && c.m != nil {
					w.t.Log(c.id.Short(), c.m.Standing(), w.states(c))
				}
			}
			w.t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(begin)
}

// states shows a table.
func (w *world) states(c *machine) string {
	var out []string
	for _, r := range c.m.Table() {
		out = append(out, r.ID.Short()+"="+string(r.State))
	}
	return strings.Join(out, " ")
}

// all reports whether each of list sees each other one in that state.
func all(list []*machine, state shoal.MemberState) func() bool {
	return func() bool {
		for _, a := range list {
			for _, b := range list {
				if r, ok := a.m.Lookup(b.id); a != b && (!ok || r.State != state) {
					return false
				}
			}
		}
		return true
	}
}

// sees reports whether each of list sees p in that state.
func sees(list []*machine, p *machine, state shoal.MemberState) func() bool {
	return func() bool {
		return !slices.ContainsFunc(list, func(c *machine) bool {
			r, ok := c.m.Lookup(p.id)
			return !ok || r.State != state
		})
	}
}

// oneWay stops what a sends to b; on=false lets it through again.
func (w *world) oneWay(a, b *machine, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]shoal.PeerID{a.id, b.id}] = on
}

// split cuts each of a off each of b.
func (w *world) split(a, b []*machine, on bool) {
	for _, x := range a {
		for _, y := range b {
			w.oneWay(x, y, on)
			w.oneWay(y, x, on)
		}
	}
}

// passes waits for the way of one message and reports whether it arrives.
func (w *world) passes(from, to *machine) bool {
	time.Sleep(w.delay)
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.cut[[2]shoal.PeerID{from.id, to.id}] && to.up && !to.frozen && !from.frozen
}

var errRefused = errors.New("connection refused")

// Connect implements Network.
func (c *machine) Connect(ctx context.Context, p shoal.PeerID, addrs []string) error {
	w := c.w
	w.mu.Lock()
	to := w.nodes[p]
	there := w.conns[[2]shoal.PeerID{c.id, p}]
	if len(addrs) == 0 {
		addrs = c.book[p]
	}
	w.mu.Unlock()
	if there {
		return nil
	}
	var faults []string
	for _, a := range addrs {
		err := errRefused
		up, frozen := false, false
		if to != nil {
			w.mu.Lock()
			up, frozen = to.up, to.frozen
			w.mu.Unlock()
		}
		if (up || frozen) && slices.Contains(to.addrs, a) {
			if w.passes(c, to) && w.passes(to, c) {
				w.link(c, to)
				return nil
			}
			if up {
				<-ctx.Done()
				err = ctx.Err()
			}
		} else {
			time.Sleep(w.delay)
		}
		faults = append(faults, a+": "+err.Error())
	}
	return shoal.E(shoal.Unavailable, "connect to "+string(p), "it cannot be reached:\n  "+strings.Join(faults, "\n  "), "")
}

func (w *world) link(a, b *machine) {
	w.mu.Lock()
	if !a.up || !b.up || w.conns[[2]shoal.PeerID{a.id, b.id}] {
		w.mu.Unlock()
		return
	}
	w.conns[[2]shoal.PeerID{a.id, b.id}], w.conns[[2]shoal.PeerID{b.id, a.id}] = true, true
	a.book[b.id], b.book[a.id] = b.addrs, a.addrs
	fa, fb := a.notify, b.notify
	w.mu.Unlock()
	for _, f := range fa {
		f(b.id, true)
	}
	for _, f := range fb {
		f(a.id, true)
	}
}

// Disconnect implements Network.
func (c *machine) Disconnect(p shoal.PeerID) {
	w := c.w
	w.mu.Lock()
	to, there := w.nodes[p], w.conns[[2]shoal.PeerID{c.id, p}]
	delete(w.conns, [2]shoal.PeerID{c.id, p})
	delete(w.conns, [2]shoal.PeerID{p, c.id})
	w.mu.Unlock()
	if !there {
		return
	}
	for _, f := range c.notify {
		f(p, false)
	}
	for _, f := range to.notify {
		f(c.id, false)
	}
}

// Connected implements Network.
func (c *machine) Connected() (list []shoal.PeerID) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	for l := range maps.Keys(c.w.conns) {
		if l[0] == c.id {
			list = append(list, l[1])
		}
	}
	slices.Sort(list)
	return list
}

// Addresses implements Network.
func (c *machine) Addresses() (list []string) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	list = append(list, "/ip4/127.0.0.1/tcp/4170/p2p/"+string(c.id))
	for _, a := range c.addrs {
		list = append(list, a+"/p2p/"+string(c.id))
	}
	return list
}

// Notify implements Network.
func (c *machine) Notify(f func(shoal.PeerID, bool)) { c.notify = append(c.notify, f) }

// OnDiscover implements Discovery.
func (c *machine) OnDiscover(f func(shoal.PeerID, []string)) { c.discover = append(c.discover, f) }

// multicast has all machines hear of one another, as mDNS does.
func (w *world) multicast() {
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a.isUp() && b.isUp() && a != b {
				for _, f := range a.discover {
					f(b.id, b.addrs)
				}
			}
		}
	}
}

// HandleDoor implements Door.
func (c *machine) HandleDoor(method string, f shoal.Handler) { c.door[method] = f }

// AskDoor implements Door.
func (c *machine) AskDoor(ctx context.Context, p shoal.PeerID, method string, req []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.Connect(ctx, p, nil); err != nil {
		return nil, err
	}
	b, err := c.carry(ctx, p, "door."+method, req, func(to *machine) shoal.Handler { return to.door[method] })
	return b, shoal.Wrap(shoal.Unavailable, "ask "+p.Short()+" for "+method, err)
}

// carry brings a request to a handler and the reply back.
func (c *machine) carry(ctx context.Context, p shoal.PeerID, what string, req []byte, find func(*machine) shoal.Handler) ([]byte, error) {
	w := c.w
	w.mu.Lock()
	to := w.nodes[p]
	w.bytes[what] += len(req)
	w.count[what]++
	w.count[what+" of "+p.Short()]++
	w.most = max(w.most, len(req))
	w.mu.Unlock()
	if !w.passes(c, to) {
		if !to.isUp() {
			return nil, shoal.E(shoal.Unavailable, what, "the stream was reset", "")
		}
		<-ctx.Done()
		return nil, shoal.Wrap(shoal.Timeout, what, ctx.Err())
	}
	h := find(to)
	if h == nil {
		return nil, shoal.E(shoal.Refused, what, "no such method", "")
	}
	reply, err := h(ctx, c.id, bytes.Clone(req))
	w.mu.Lock()
	w.bytes[what] += len(reply)
	w.most = max(w.most, len(reply))
	w.mu.Unlock()
	if !w.passes(to, c) {
		<-ctx.Done()
		return nil, shoal.Wrap(shoal.Timeout, what, ctx.Err())
	}
	if err != nil {
		return nil, wire.FromError(err).Err()
	}
	return reply, nil
}

// rpc is shoal.Peers as the house builds it: behind the gate on both sides, dialing on demand.
type rpc struct{ *machine }

func (r rpc) Self() shoal.PeerID { return r.id }

func (r rpc) Handle(method string, h shoal.Handler) { r.methods[method] = h }

func (r rpc) HandleStream(string, shoal.StreamHandler) {}

func (r rpc) Open(context.Context, shoal.PeerID, string, []byte) (shoal.Stream, error) {
	return nil, errors.New("no streams here")
}

func (r rpc) Ask(ctx context.Context, p shoal.PeerID, method string, req []byte) ([]byte, error) {
	if err := r.Connect(ctx, p, r.m.Addresses(p)); err != nil {
		return nil, err
	}
	if err := r.m.Admit(ctx, p); err != nil {
		return nil, err
	}
	return r.carry(ctx, p, method, req, func(to *machine) shoal.Handler {
		return func(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
			if err := to.m.Admit(ctx, from); err != nil {
				return nil, shoal.E(shoal.Unavailable, method, "the stream was reset", "") // what a reset looks like
			}
			h := to.methods[method]
			if h == nil {
				return nil, shoal.E(shoal.Invalid, method, "unknown method", "")
			}
			return h(ctx, from, req)
		}
	})
}
