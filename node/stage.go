package node

import (
	"context"
	"crypto/ed25519"
	"iter"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/devices"
	"github.com/shoal-fabric/shoal/dht"
	"github.com/shoal-fabric/shoal/expr"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
	"github.com/shoal-fabric/shoal/storage"
)

// Stage is what a node of a simulated world has in place of a machine; package world builds it. Nothing else of a node is
// different there, but that it does not speak bitswap: a world has no strangers. The zero value of each field leaves the machine's
// in place.
type Stage struct {
	Key        ed25519.PrivateKey // who the node is
	Storage    storage.Options    // of the node's store; Log is the node's
	Pause      func()             // called before each synced write of agents, while nothing is locked: the disk takes its time
	Attributes *shoal.Attributes  // what the machine is, with Rates; Labels, Version and Executors are the node's own affair
	Now        func() time.Time   // the clock, which may step
	Boottime   func() time.Duration
	By         *Node            // a member that vouches: nothing crosses the network to join
	Sandbox    *sandbox.Sandbox // that nodes share, so that a module is compiled once; it is not closed with the node
	// Runner stands between tasks and the sandbox or the executors.
	Runner func(shoal.Runner) shoal.Runner
	// Device stands in for the commands of executors, once they have their devices.
	Device  func(ctx context.Context, r shoal.Run, devices []reserve.Device) (shoal.Ran, error)
	Natives map[string]agents.Native // code of agents, beside that of the node

	ReadAhead int                            // bytes: see rpc.Config
	Count     func(method string, bytes int) // told of calls: see rpc.Config
	// Warm has the node begin as one that has been around for a while: its table will be filled, and what it is has been announced.
	Warm bool
}

// stage returns what the configuration replaces.
func (c *Config) stage() *Stage {
	if c.Stage == nil {
		return &Stage{}
	}
	return c.Stage
}

// storeDir is where the store lies on a disk that is the stage's own.
const storeDir = "/node"

// store opens the node's store.
func (c *Config) store() (*storage.Storage, error) {
	options, dir := c.stage().Storage, c.Dir
	options.Log = c.Log
	if options.FS != nil {
		dir = storeDir
	}
	return storage.Open(dir, options)
}

// identity is that of the stage, else the one that kv remembers.
func (c *Config) identity(kv shoal.KV) (ed25519.PrivateKey, error) {
	if k := c.stage().Key; k != nil {
		return k, nil
	}
	return identity(kv)
}

// boottime returns the clock that never steps.
func (s *Stage) boottime() func() time.Duration {
	if s.Boottime != nil {
		return s.Boottime
	}
	return devices.Boottime
}

// nativeConfig adds to the configuration of executors what stands in for their commands.
func (s *Stage) nativeConfig(c native.Config) native.Config {
	c.Simulate = s.Device
	return c
}

// pausing is a table whose disk takes its time.
type pausing struct {
	shoal.Table
	pause func()
}

func (t pausing) Commit(sync bool, batch ...shoal.Write) error {
	if sync {
		t.pause()
	}
	return t.Table.Commit(sync, batch...)
}

// table returns a table of a room that holds no lock while it commits.
func (n *Node) table(room string) shoal.Table {
	t := n.rooms.disk.Table(room)
	if p := n.cfg.stage().Pause; p != nil {
		return pausing{t, p}
	}
	return t
}

// Backstage is what worlds need of a node beyond its verbs.
type Backstage struct{ n *Node }

// Backstage gives access to what is no verb.
func (n *Node) Backstage() Backstage { return Backstage{n} }

// Closest looks the peers closest to a key up.
func (b Backstage) Closest(ctx context.Context, key string) (dht.Lookup, error) {
	return b.n.rooms.dht.Closest(ctx, key)
}

// Provide announces a key.
func (b Backstage) Provide(ctx context.Context, key shoal.Key) error {
	return b.n.rooms.dht.Provide(ctx, key)
}

// Find finds who announced a key.
func (b Backstage) Find(ctx context.Context, key shoal.Key, limit int) iter.Seq2[shoal.PeerID, error] {
	return b.n.rooms.dht.Find(ctx, key, limit)
}

// Fill puts members into the routing table.
func (b Backstage) Fill(peers map[shoal.PeerID][]string) { b.n.rooms.dht.Fill(peers) }

// Keys are those under which the node announces what it is.
func (b Backstage) Keys() []shoal.Key {
	self := b.n.rooms.members.Self()
	return expr.MemberKeys(&self)
}

// Connect makes a connection to a member.
func (b Backstage) Connect(ctx context.Context, p shoal.PeerID, addresses []string) error {
	return b.n.rooms.host.Connect(ctx, p, addresses)
}

// Note keeps that peers announced a key.
func (b Backstage) Note(key shoal.Key, peers map[shoal.PeerID][]string) error {
	return b.n.rooms.dht.Note(key, peers)
}

// Table lists the peers in the routing table.
func (b Backstage) Table() []shoal.PeerID { return b.n.rooms.dht.Peers() }

// Addresses are where the node listens.
func (b Backstage) Addresses() []string { return b.n.rooms.members.Self().Addresses }

// Kept lists the partitions of a dataset that the node keeps for the fabric.
func (b Backstage) Kept(root cid.Cid) []int { return b.n.rooms.data.Kept(root) }

// Create makes an agent, also of native code.
func (b Backstage) Create(ctx context.Context, o agents.CreateOptions) (*agents.Created, error) {
	return b.n.rooms.agents.Create(ctx, o)
}

// Connections counts the peers that the node is connected to.
func (b Backstage) Connections() int { return len(b.n.rooms.host.Connected()) }

// Toll is what a node has spent since it started on keeping things as they should be.
type Toll struct {
	Repair   uint64 // bytes that came here for new copies of data
	Announce uint64 // bytes of telling the DHT what it holds and is
	Moves    uint64 // agents that moved away by themselves
}

// Toll returns what the node has spent.
func (b Backstage) Toll() Toll {
	r := b.n.rooms
	return Toll{r.data.Stats().Brought, r.dht.Announced(), r.agents.Drawn()}
}

// Queued is how many tasks wait.
func (b Backstage) Queued() int { return b.n.rooms.sched.Load().Queued }
