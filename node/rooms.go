package node

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	corehost "github.com/libp2p/go-libp2p/core/host"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/blobs"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/devices"
	"github.com/shoal-fabric/shoal/dht"
	"github.com/shoal-fabric/shoal/gossip"
	"github.com/shoal-fabric/shoal/host"
	"github.com/shoal-fabric/shoal/members"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/plans"
	"github.com/shoal-fabric/shoal/pubsub"
	"github.com/shoal-fabric/shoal/rpc"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/scheduler"
	"github.com/shoal-fabric/shoal/services"
	"github.com/shoal-fabric/shoal/state"
	"github.com/shoal-fabric/shoal/storage"
)

// rooms are the node's organs, in the order in which they are built; they are closed in reverse.
type rooms struct {
	disk    *storage.Storage
	host    *host.Host
	members *members.Members
	rpc     *rpc.RPC
	dht     *dht.DHT
	guard   *data.Guard
	blobs   *blobs.Blobs
	data    *data.Data
	sandbox *sandbox.Sandbox
	native  *native.Native
	sched   *scheduler.Scheduler
	plans   *plans.Plans
	agents  *agents.Agents
	state   *state.State
	gossip  *gossip.Gossip
	pubsub  *pubsub.PubSub

	services *services.Services

	sandboxed *sandbox.Sandbox // the same as sandbox where it is this node's own, and is closed with it
}

// bitswap is open to strangers: its filter decides for each block.
const bitswapProtocols = "/ipfs/bitswap"

// build puts the rooms together: first those that need no fabric, then the fabric is founded,
// joined or found again, then the rest, whose protocols bear its name.
func (n *Node) build(ctx, life context.Context) error {
	r, cfg := n.rooms, n.cfg
	key, err := cfg.identity(r.disk.KV("node"))
	if err != nil {
		return err
	}
	listen, err := listenAddrs(cfg.Listen)
	if err != nil {
		return err
	}
	// Before the host, which begins to hear others at once: what nobody listens to is not said again soon.
	n.knownGauges()
	attributes, free, err := n.machine(ctx)
	if err != nil {
		cfg.Log.Warn("node: this machine is described in part only", "err", err)
	}
	if err := n.buildNative(ctx, attributes.GPUs); err != nil {
		return err
	}
	attributes.Labels, attributes.Version = cfg.Labels, Version
	if cfg.stage().Attributes == nil {
		attributes.Rates = n.knownRates(attributes.CPU)
	}
	attributes.Executors = r.native.Names()
	n.free.Store(&free)
	r.host, err = openHost(r.disk.KV("node"), host.Config{
		Key: key, Listen: listen, MDNS: !cfg.NoMDNS, Open: []string{bitswapProtocols}, Shun: cfg.shun, Log: cfg.Log,
		Carrier: cfg.Carrier, Relays: cfg.Relays, Private: cfg.Private, LowPeers: cfg.LowPeers, HighPeers: cfg.HighPeers, Grace: cfg.Grace,
	})
	if err != nil {
		return err
	}
	r.members, err = members.New(members.Config{
		Key: key, Attributes: attributes, Load: n.load, Table: !cfg.NoTable, Log: cfg.Log, Now: cfg.now,
	}, members.Deps{Door: r.host, Network: r.host, KV: r.disk.KV("members")})
	if err != nil {
		return err
	}
	n.late.members.Store(r.members)
	r.host.SetAdmit(r.members.Admit)
	if err := n.enter(ctx); err != nil {
		return err
	}
	fabric := r.members.Fabric()
	r.rpc = rpc.New(r.host.Libp2p(), rpc.Config{Fabric: fabric, Connect: n.connect, ReadAhead: cfg.stage().ReadAhead, Count: cfg.stage().Count, Log: cfg.Log})
	r.members.Attach(r.rpc)
	if r.dht, err = dht.New(r.host.Libp2p(), dht.Config{
		Fabric: fabric, IsMember: n.isMember, Step: cfg.patience(), Table: r.disk.Table("dht"), Warm: cfg.stage().Warm, Log: cfg.Log,
	}); err != nil {
		return err
	}
	n.late.dht.Store(r.dht)
	r.guard = data.NewGuard(r.disk.Blocks())
	var swap corehost.Host
	if cfg.Stage == nil {
		swap = r.host.Libp2p()
	}
	r.blobs, err = blobs.New(blobs.Config{
		Store: r.guard, Host: swap, Log: cfg.Log,
		Public: func(c cid.Cid) bool {
			d := n.late.data.Load() // bitswap may be asked before there is one
			return d != nil && d.Public(c)
		},
		Member: r.members.Known,
	})
	if err != nil {
		return err
	}
	if err := n.buildState(); err != nil {
		return err
	}
	if err := n.buildMinds(); err != nil {
		return err
	}
	if err := n.buildAgents(key); err != nil {
		return err
	}
	if err := n.buildServices(); err != nil {
		return err
	}
	if err := n.buildTopics(); err != nil {
		return err
	}
	n.follow()
	if n.start == Founded && !cfg.NoMDNS {
		n.run(life, "look around", n.lookAround)
	}
	for name, loop := range map[string]func(context.Context) error{
		"members": r.members.Run, "data": r.data.Run, "announce": n.announce, "agents": r.agents.Run, "state": r.state.Run,
		"services": r.services.Run, "topics": r.pubsub.Run, "machine": n.watch, "measure": n.calibrate, "gauge": n.gauge,
	} {
		n.run(life, name, loop)
	}
	return nil
}

func (n *Node) buildMinds() (err error) {
	r, cfg := n.rooms, n.cfg
	r.data, err = data.New(data.Config{
		RepairEvery: cfg.Repair, HeldTimeout: cfg.patience(), NoExtra: cfg.Placement.NoCopies, Log: cfg.Log,
	}, data.Deps{
		Store: r.guard, Graph: graph{r.blobs}, Peers: r.rpc, Directory: r.dht, KV: r.disk.KV("data"),
		Members: n.everybody, Free: r.disk.Free, RTT: func(p shoal.PeerID) time.Duration { return r.rpc.Link(p).RTT },
	})
	if err != nil {
		return err
	}
	if r.sandbox = cfg.stage().Sandbox; r.sandbox == nil {
		r.sandbox, err = sandbox.New(sandbox.Config{
			CacheDir: filepath.Join(cfg.Dir, "modules"), Memory: cfg.Memory, Compiler: cfg.Compiler, Log: cfg.Log,
		})
		if err != nil {
			return err
		}
		r.sandboxed = r.sandbox
	}
	var runner shoal.Runner = runners{r.sandbox, r.native}
	if cfg.runner != nil {
		runner = cfg.runner(runner)
	}
	r.sched, err = scheduler.New(scheduler.Config{
		Slots: cfg.Slots, Queue: cfg.Queue, Weights: cfg.Weights, Dir: filepath.Join(cfg.Dir, "tasks"),
		OfferWait: cfg.patience(), Policy: cfg.Placement.Policy, Log: cfg.Log,
	}, scheduler.Deps{
		Peers: r.rpc, Data: taskData{r.data, r.disk}, Runner: runner, Members: r.members, KV: r.disk.KV("tasks"), Link: n.link,
		Agents: lateAgents{n}, Shared: r.state, Directory: r.dht, Room: r.native.Room, Used: r.data.Demand,
		Probe: n.probe, Probed: func(p shoal.PeerID) bool { return r.rpc.Link(p).Probed },
	})
	if err != nil {
		return err
	}
	r.plans, err = plans.New(plans.Config{Copies: cfg.copies, Scratch: filepath.Join(cfg.Dir, "tasks", "scratch"), Log: cfg.Log}, plans.Deps{
		Tasks: r.sched, Data: taskData{r.data, r.disk}, Members: r.members, KV: r.disk.KV("plans"), Keep: n.keep,
	})
	if err != nil {
		return err
	}
	n.late.data.Store(r.data)
	n.late.sched.Store(r.sched)
	return nil
}

// late are the rooms that others may ask for before they are built.
type late struct {
	dht   atomic.Pointer[dht.DHT]
	data  atomic.Pointer[data.Data]
	sched atomic.Pointer[scheduler.Scheduler]

	members atomic.Pointer[members.Members]

	agents atomic.Pointer[agents.Agents]
	pubsub atomic.Pointer[pubsub.PubSub]
}

// follow keeps the routing table and the connections in step with the member table.
func (n *Node) follow() {
	r := n.rooms
	r.members.OnChange(func(m shoal.Member) {
		switch m.State {
		case shoal.Alive:
			r.dht.AddPeer(m.ID, m.Addresses)
		case shoal.Left: // it hangs up itself, once it has read that its goodbye was heard
			r.dht.RemovePeer(m.ID)
		case shoal.Forgotten:
			r.dht.RemovePeer(m.ID)
			r.host.Disconnect(m.ID)
		}
	})
	for _, m := range r.members.Table() {
		if m.State == shoal.Alive {
			r.dht.AddPeer(m.ID, m.Addresses)
		}
	}
}

// haste is how long a dial may take at addresses that may be of old before the DHT is asked as well: four round trips over an ocean.
const haste = 2 * time.Second

// connect dials a member whose stream is wanted: at the addresses the table has, else at those that an announcement or an earlier
// connection told, else at those that the DHT finds: of a peer that somebody who was asked has met, else in the record that it put. To
// ask the DHT makes two dozen connections in place of one, so it is not asked again and again for one that is gone.
func (n *Node) connect(ctx context.Context, p shoal.PeerID) (err error) {
	addrs := n.rooms.members.Addresses(p)
	if d := n.late.dht.Load(); len(addrs) == 0 && d != nil {
		if n.rooms.host.Heard(p) {
			soon, cancel := context.WithTimeout(ctx, haste)
			err := n.rooms.host.Connect(soon, p, nil)
			cancel()
			if err == nil || ctx.Err() != nil {
				return err
			}
		}
		if err := n.absent.Check(p, time.Now()); err != nil {
			return err
		}
		addrs, err = d.FindPeer(ctx, p)
		if err != nil && shoal.KindOf(err) == shoal.NotFound {
			var m shoal.Member
			if m, err = n.keptRecord(ctx, p); err == nil {
				addrs = m.Addresses
			}
		}
		if ctx.Err() == nil { // the DHT has said all it knows; a dial that takes longer than its caller waits is in vain as well
			defer func() {
				if err == nil {
					n.absent.Found(p)
				} else {
					n.absent.Lost(p, err, time.Now())
				}
			}()
		}
		if err != nil {
			return err
		}
	}
	return n.rooms.host.Connect(ctx, p, addrs)
}

func (n *Node) isMember(ctx context.Context, p shoal.PeerID) bool {
	return n.rooms.members.Admit(ctx, p) == nil
}

func (n *Node) everybody() []shoal.Member {
	return append(n.rooms.members.Table(), n.rooms.members.Self())
}

func (n *Node) link(p shoal.PeerID) (time.Duration, float64) {
	l := n.rooms.rpc.Link(p)
	return l.RTT, l.Rate
}

// probe has the way to a peer measured, unless that was done of late.
func (n *Node) probe(p shoal.PeerID) {
	if !n.probing.CompareAndSwap(false, true) { // a decision asks for many at once; the next one asks again
		return
	}
	go func() {
		defer n.probing.Store(false)
		if _, err := n.rooms.rpc.Probe(context.Background(), p); err != nil && shoal.KindOf(err) != shoal.Refused {
			n.cfg.Log.Debug("node: a link was not probed", "peer", p, "err", err)
		}
	}()
}

// load is what this node tells others of itself.
func (n *Node) load() shoal.Load {
	var l shoal.Load
	if s := n.late.sched.Load(); s != nil {
		l = s.Load()
	}
	l.DiskFree, _ = n.rooms.disk.Free()
	l.DiskFree = min(l.DiskFree, devices.Largest)
	l.HeldBytes = n.rooms.disk.Held()
	if free := n.free.Load(); free != nil {
		l.GPUs = *free
	}
	return l
}

// hangUp ends what loops and calls may wait for.
func (r *rooms) hangUp() {
	if r.pubsub != nil {
		_ = r.pubsub.Close()
	}
	if r.services != nil {
		_ = r.services.Close()
	}
	if r.agents != nil {
		_ = r.agents.Close()
	}
	if r.plans != nil {
		_ = r.plans.Close()
	}
	if r.sched != nil {
		_ = r.sched.Close()
	}
}

// close closes the rooms in the reverse order of build.
func (r *rooms) close() error {
	var errs []error
	if r.gossip != nil {
		errs = append(errs, r.gossip.Close())
	}
	if r.native != nil {
		errs = append(errs, r.native.Close())
	}
	if r.sandboxed != nil {
		errs = append(errs, r.sandboxed.Close())
	}
	if r.state != nil {
		errs = append(errs, r.state.Close())
	}
	if r.blobs != nil {
		errs = append(errs, r.blobs.Close())
	}
	if r.dht != nil {
		errs = append(errs, r.dht.Close())
	}
	if r.rpc != nil {
		errs = append(errs, r.rpc.Close())
	}
	if r.host != nil {
		errs = append(errs, r.host.Close())
	}
	if r.disk != nil {
		errs = append(errs, r.disk.Close())
	}
	return errors.Join(errs...)
}

// listenAddrs turns what a user types into multiaddrs: host:port means TCP and QUIC there.
func listenAddrs(list []string) ([]string, error) {
	var out []string
	for _, l := range list {
		if strings.HasPrefix(l, "/") {
			bare, _, _ := strings.Cut(l, "/p2p/") // as 'shoal status' prints it
			out = append(out, bare)
			continue
		}
		a, err := hostPort(l)
		if err != nil {
			return nil, err
		}
		out = append(out, a...)
	}
	return out, nil
}
