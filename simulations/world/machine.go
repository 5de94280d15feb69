package world

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
	"github.com/shoal-fabric/shoal/simulations/memnet"
	"github.com/shoal-fabric/shoal/simulations/scenario"
	"github.com/shoal-fabric/shoal/storage"
)

// executor is the name of the native executor of machines with graphics processors.
const executor = "gpu"

// machine is one node's machine: what stays when the node is gone.
type machine struct {
	w      *world
	i      int
	class  *scenario.Class
	region int
	key    ed25519.PrivateKey
	id     shoal.PeerID
	place  [32]byte // in the key space
	listen string

	disk *storage.Disk
	live atomic.Pointer[node.Node] // nil: it is down

	slowCPU, slowGPU factor
	step             atomic.Int64 // of the clock, nanoseconds

	turn chan struct{} // holds one: who starts or stops it has taken it
	down int           // reasons for it to be down; of who has the turn
	life int           // of who has the turn
	kept map[int][]int // partitions that it kept by dataset, when it went down; of who has the turn
}

// factor is a number that faults change.
type factor struct{ bits atomic.Uint64 }

func (f *factor) set(x float64) { f.bits.Store(math.Float64bits(x)) }

func (f *factor) get() float64 {
	if b := f.bits.Load(); b != 0 {
		return math.Float64frombits(b)
	}
	return 1
}

func (w *world) newMachine(i int, class *scenario.Class, region int, dice *rand.Rand) *machine {
	var seed [ed25519.SeedSize]byte
	for j := range seed {
		seed[j] = byte(dice.Uint32())
	}
	key := ed25519.NewKeyFromSeed(seed[:])
	m := &machine{
		w: w, i: i, class: class, region: region, key: key, id: capability.PeerIDOf(key.Public().(ed25519.PublicKey)),
		listen: fmt.Sprintf("/ip4/10.%d.%d.%d/tcp/4170", i>>16&255, i>>8&255, i&255),
		turn:   make(chan struct{}, 1),
	}
	m.turn <- struct{}{}
	m.place = place(m.id)
	m.newDisk()
	return m
}

func (m *machine) newDisk() { m.disk = storage.NewDisk(uint64(m.class.Disk), m.class.Sync) }

// now is the machine's clock.
func (m *machine) now() time.Time { return time.Now().Add(time.Duration(m.step.Load())) }

// attributes say what the machine is.
func (m *machine) attributes() *shoal.Attributes {
	c := m.class
	a := &shoal.Attributes{
		OS: "linux", Arch: "amd64", CPUs: c.Cores, Memory: uint64(c.Memory), Disk: uint64(c.Disk), HashMBs: c.HashMBs(),
		Rates: shoal.Rates{Gas: c.Gas, Memory: 10, Disk: float64(c.DiskRate) / 1e9},
	}
	for _, g := range c.GPUs {
		for k := range max(g.Count, 1) {
			a.GPUs = append(a.GPUs, shoal.GPU{Vendor: g.Vendor, Model: g.Model, Memory: uint64(g.Memory), ID: fmt.Sprintf("%s-%d-%d", g.Vendor, m.i, len(a.GPUs)+k)})
		}
	}
	for i := range a.GPUs {
		a.GPUs[i].ID = fmt.Sprintf("%s-%d-%d", a.GPUs[i].Vendor, m.i, i)
	}
	return a
}

// open starts the machine's node. Who has the turn calls it.
func (m *machine) open(ctx context.Context, by *node.Node, invite string) error {
	w, c, peers := m.w, m.class, m.w.s.Peers()
	warm := m.life == 0 && !w.natural // a later life has to find its place by itself
	m.life++
	disk := m.disk
	cfg := node.Config{
		Dir: filepath.Join(w.dir, fmt.Sprintf("%d-%d", m.i, m.life)), Join: invite, Listen: []string{m.listen},
		NoTable: !w.s.Table, Slots: c.Cores, Memory: uint64(c.Memory) / uint64(max(c.Cores, 1)), Log: w.o.Log,
		Placement: node.Placement{Policy: w.o.Policy},
		Carrier:   w.net.Carrier(memnet.Place{Region: m.region, Up: float64(c.Up), Down: float64(c.Down), NAT: c.NAT}),
		Relays:    w.nat, Private: c.NAT, LowPeers: peers.Low, HighPeers: peers.High, Grace: peers.Grace,
		Labels: map[string]string{"class": c.Name, "region": w.s.Regions[m.region].Name},
		Stage: &node.Stage{
			Key: m.key, Storage: storage.Options{FS: disk, Shared: w.shared, Pause: disk.Pause}, Pause: disk.Pause,
			Attributes: m.attributes(), Now: m.now, Boottime: func() time.Duration { return time.Since(w.born) + time.Hour }, By: by,
			Sandbox: w.box, Runner: func(r shoal.Runner) shoal.Runner { return &bench{Runner: r, m: m, ready: map[string]bool{}} },
			Device: m.compute, Natives: map[string]agents.Native{agentCode: {Behaviour: ledger{}}}, ReadAhead: 512, Count: w.tally.called, Warm: warm,
		},
	}
	for k, v := range c.Labels {
		cfg.Labels[k] = v
	}
	if len(c.GPUs) > 0 {
		cfg.Executors = []native.Executor{{Name: executor, Devices: reserve.Want{Whole: 1}, Time: 24 * time.Hour}}
	}
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return shoal.Wrap(shoal.Unavailable, fmt.Sprintf("start node %d", m.i), err)
	}
	m.live.Store(n)
	w.started(m, n)
	return nil
}

// cut takes the power away: what was not synced is lost, and nobody is told. Who has the turn calls it.
func (m *machine) cut(wipe bool) {
	n := m.live.Swap(nil)
	if n == nil {
		return
	}
	m.kept = map[int][]int{}
	for i, d := range m.w.data {
		if k := n.Backstage().Kept(d.root); len(k) > 0 && !wipe {
			m.kept[i] = k
		}
	}
	m.w.stopped(m, n)
	m.w.net.Kill(peerOf(m.id))
	if wipe {
		m.newDisk()
	} else {
		m.disk = m.disk.Cut(m.w.dice("cut").Uint64())
	}
	dir := filepath.Join(m.w.dir, fmt.Sprintf("%d-%d", m.i, m.life))
	m.w.ends.Go(func() { // what is left of it runs into the void
		n.Kill()
		_ = os.RemoveAll(dir)
	})
}

// fail has the machine go down, for one more reason.
func (m *machine) fail(wipe bool) {
	<-m.turn
	defer func() { m.turn <- struct{}{} }()
	if m.down++; m.down == 1 {
		m.cut(wipe)
	}
}

// mend takes a reason away; the machine comes back when none is left.
func (m *machine) mend(ctx context.Context) {
	<-m.turn
	defer func() { m.turn <- struct{}{} }()
	if m.down--; m.down > 0 || ctx.Err() != nil {
		return
	}
	for try := 0; ctx.Err() == nil; try++ {
		by := m.w.anyUp(m, m.w.dice("any"))
		if by == nil {
			by = m.w.machines[0].live.Load()
		}
		invite := ""
		if m.w.natural && by != nil && m.fresh() {
			if text, err := by.Invite(ctx, node.InviteOptions{}); err == nil {
				invite, by = text, nil
			}
		}
		err := m.open(ctx, by, invite)
		if err == nil {
			return
		}
		m.w.note("node %d does not come back: %v", m.i, err)
		time.Sleep(time.Duration(min(try+1, 30)) * time.Second)
	}
}

// fresh reports whether the machine's disk is empty.
func (m *machine) fresh() bool {
	list, err := m.disk.List("/")
	return err != nil || len(list) == 0
}
