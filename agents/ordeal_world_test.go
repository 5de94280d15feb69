package agents

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/nemesis"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/storage"
)

// ordeal is five machines with disks, a network, clients of agents, and what is done to all of them, in virtual
// time. The machines run this room and package storage as they are.
type ordeal struct {
	t        testing.TB
	seed     uint64
	rng      *rand.Rand // of the faults
	begun    time.Time
	ctx      context.Context
	work     sync.WaitGroup
	cfg      Config
	off      switches
	lies     atomic.Bool // disks do not do what a sync asks: a mutation
	stands   bool        // clocks stand still in a pause: a mutation
	root     ed25519.PrivateKey
	web      *web
	dirs     *shoaltest.Directories
	code     map[string]shoal.Behaviour
	machines []*machine
	h        *nemesis.History
	last     func(*crowd) // is called when all is healed and the clients are done
	trace    func(format string, args ...any)

	mu    sync.Mutex
	state map[shoal.PeerID]shoal.MemberState
}

// machine may be switched off and on again. What is of one run of its process is a life.
type machine struct {
	o    *ordeal
	id   shoal.PeerID
	key  ed25519.PrivateKey
	disk *disk
	slow atomic.Int64 // a sync takes so long
	sick atomic.Bool

	mu     sync.Mutex
	life   *life
	paused bool
	frozen time.Duration // what its clock shows as long as it is paused
	since  time.Time
	stood  time.Duration // by which pauses have held its clock up
	rate   float64       // of its clock
	wall   time.Duration // by which its wall clock is wrong
}

// life is one run of a machine's process.
type life struct {
	m        *machine
	id       shoal.PeerID
	ctx      context.Context
	end      context.CancelFunc
	agents   *Agents
	store    *storage.Storage
	handlers map[string]shoal.Handler
	streams  map[string]shoal.StreamHandler
	stop     context.CancelFunc
	stopped  chan struct{}
	shut     atomic.Bool // holds what comes and goes, as long as the machine is paused
}

const machines = 5

func newOrdeal(t testing.TB, seed uint64, code map[string]shoal.Behaviour, set func(*ordeal)) *ordeal {
	o := &ordeal{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), begun: time.Now(), root: key(1000), web: newWeb(seed),
		dirs: shoaltest.NewDirectories(), code: code, h: &nemesis.History{}, state: map[shoal.PeerID]shoal.MemberState{},
		trace: func(string, ...any) {},
	}
	o.ctx = context.Background()
	o.cfg = Config{Replace: 5 * time.Second, Idle: time.Duration(2+o.rng.IntN(20)) * time.Second, TailBytes: 4 << 10}
	if testing.Verbose() && *ordealTrace {
		o.trace = func(format string, args ...any) {
			fmt.Fprintf(t.Output(), "%8.3f %s\n", time.Since(o.begun).Seconds(), fmt.Sprintf(format, args...))
		}
		o.cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if set != nil {
		set(o)
	}
	for i := range machines {
		k := key(i)
		m := &machine{o: o, key: k, id: public(k), disk: &disk{FS: vfs.NewCrashableMem(), lies: &o.lies}, rate: 1 + float64(o.rng.IntN(3)-1)/100}
		o.machines = append(o.machines, m)
		m.start()
	}
	must(t, o.machines[0].living().agents.FoundOwner(o.root, public(o.root)))
	return o
}

// complain tells of what must not be, unless a rule is off: then histories have to show it.
func (o *ordeal) complain(format string, args ...any) {
	if o.off == (switches{}) && !o.lies.Load() && !o.stands {
		o.t.Errorf("seed %d: %s", o.seed, fmt.Sprintf(format, args...))
	}
}

func (o *ordeal) setState(id shoal.PeerID, s shoal.MemberState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state[id] = s
}

// living returns the machine's life, nil while it is off.
func (m *machine) living() *life {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.life
}

// start switches the machine on.
func (m *machine) start() {
	l := &life{
		m: m, id: m.id, handlers: map[string]shoal.Handler{}, streams: map[string]shoal.StreamHandler{}, stopped: make(chan struct{}),
	}
	l.ctx, l.end = context.WithCancel(m.o.ctx)
	store, table, err := openPlate(l)
	if err != nil {
		m.o.complain("%s does not start: %v", m.id.Short(), err)
		return
	}
	cfg := m.o.cfg
	cfg.Now = m.wallclock
	l.store = store
	l.agents, err = New(cfg, Deps{
		Peers: l, Directory: m.o.dirs.Node(m.id), Table: table, Members: company{m}, Code: village{m}, Data: noData{}, Key: m.key,
		Boottime: m.boottime,
	})
	must(m.o.t, err)
	l.agents.off = m.o.off
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	go func() {
		defer close(l.stopped)
		_ = l.agents.Run(ctx)
	}()
	m.mu.Lock()
	m.life = l
	m.mu.Unlock()
	m.o.web.change(func() { m.o.web.lives[m.id] = l })
	m.o.setState(m.id, shoal.Alive)
	m.o.trace("%s starts", m.id.Short())
}

// kill cuts the machine's power: nobody is told, and of the disk there is what was synced, and part percent of the
// rest.
func (m *machine) kill(part int, noise bool) {
	m.mu.Lock()
	l := m.life
	m.life, m.paused = nil, false
	m.mu.Unlock()
	if l == nil {
		return
	}
	m.o.trace("%s is killed", m.id.Short())
	l.end() // from now on it sends nothing, and nobody is answered
	after := m.disk.cut(part, m.o.rng)
	l.shut.Store(false)
	m.o.web.change(func() { delete(m.o.web.lives, m.id) })
	m.disk = after
	m.slow.Store(0)
	m.sick.Store(false)
	if noise {
		must(m.o.t, after.noise("/node", m.o.rng))
	}
	m.o.work.Go(func() { // what is left of the process; nobody hears of it
		time.AfterFunc(2*time.Second, func() {
			m.o.mu.Lock()
			defer m.o.mu.Unlock()
			if m.living() == nil && m.o.state[m.id] != shoal.Left {
				m.o.state[m.id] = shoal.Down
			}
		})
		l.stop()
		<-l.stopped
		_ = l.agents.Close()
		_ = l.store.Close()
	})
}

// pause holds the machine, as SIGSTOP does: its clock, its disk, and all that comes and goes. Goroutines of it that
// still run see the moment of the pause, and nothing of what they do gets out before it is over.
func (m *machine) pause() {
	l := m.living()
	if l == nil {
		return
	}
	at := m.boottime()
	m.mu.Lock()
	m.paused, m.frozen, m.since = true, at, time.Now()
	m.mu.Unlock()
	l.shut.Store(true)
	m.o.trace("%s is paused", m.id.Short())
}

// resume lets it go on: its clock jumps. first runs before anything that came meanwhile arrives.
func (m *machine) resume(first func()) {
	m.mu.Lock()
	m.paused = false
	if m.o.stands {
		m.stood += time.Since(m.since)
	}
	l := m.life
	m.mu.Unlock()
	m.o.trace("%s goes on", m.id.Short())
	if l == nil {
		return
	}
	if first != nil {
		first()
	}
	l.shut.Store(false)
	m.o.web.change(func() {})
}

// boottime is the machine's clock that never steps; it is a little too fast or slow.
func (m *machine) boottime() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.paused {
		return m.frozen
	}
	return time.Hour + time.Duration(m.rate*float64(time.Since(m.o.begun))) - m.stood
}

// wallclock is its wall clock.
func (m *machine) wallclock() time.Time {
	at := m.boottime()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.o.begun.Add(at + m.wall)
}

func (l *life) gone() bool { return l.ctx.Err() != nil }
func (l *life) held() bool { return l.shut.Load() && !l.gone() }

// open waits as long as the machine is paused, and reports whether it still runs then.
func (l *life) open() bool {
	for {
		l.m.o.web.mu.Lock()
		held, changed := l.held(), l.m.o.web.changed
		l.m.o.web.mu.Unlock()
		if !held {
			return !l.gone()
		}
		select {
		case <-changed:
		case <-l.ctx.Done():
			return false
		}
	}
}

// call calls an agent from a client beside the machine. An outcome that the machine did not live to tell is unknown.
func (m *machine) call(ctx context.Context, agent string, r shoal.CallRequest) ([]byte, error) {
	l := m.living()
	if l == nil || !l.open() {
		return nil, unreachable(m.id)
	}
	reply, err := l.agents.Call(ctx, agent, r)
	if !l.open() {
		return nil, unreachable(m.id)
	}
	return reply, err
}

// leads reports whether the machine believes that it leads an agent.
func (m *machine) leads(k shoal.Key) bool {
	l := m.living()
	if l == nil {
		return false
	}
	l.agents.mu.Lock()
	x := l.agents.awake[k]
	l.agents.mu.Unlock()
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.open
}

// close ends all.
func (o *ordeal) close() {
	for _, m := range o.machines {
		m.kill(100, false)
	}
	o.work.Wait()
	time.Sleep(time.Minute) // whatever is left comes to its end
}

// company is the member table of a machine.
type company struct{ m *machine }

// Fabric implements Members.
func (c company) Fabric() string { return "test" }

// Root implements Members.
func (c company) Root() shoal.PeerID { return public(c.m.o.root) }

// Self implements Members.
func (c company) Self() shoal.Member { return shoal.Member{ID: c.m.id, State: shoal.Alive} }

// Table implements Members.
func (c company) Table() (list []shoal.Member) {
	c.m.o.mu.Lock()
	defer c.m.o.mu.Unlock()
	for _, m := range c.m.o.machines {
		if s := c.m.o.state[m.id]; m != c.m && s != "" {
			list = append(list, shoal.Member{ID: m.id, State: s})
		}
	}
	return list
}

// village is the code of agents: modules that were compiled before time became virtual. A turn takes a while.
type village struct{ m *machine }

// Keep implements Code.
func (village) Keep(context.Context, string, ...shoal.PeerID) error { return nil }

// Behaviour implements Code.
func (v village) Behaviour(_ context.Context, code string) (shoal.Behaviour, error) {
	b := v.m.o.code[code]
	if b == nil {
		return nil, shoal.E(shoal.Invalid, "code "+code, "unknown", "")
	}
	return unhurried{b, v.m}, nil
}

type unhurried struct {
	shoal.Behaviour
	m *machine
}

// Open implements shoal.Behaviour.
func (u unhurried) Open(ctx context.Context) (shoal.Instance, error) {
	i, err := u.Behaviour.Open(ctx)
	return slowly{i, u.m}, err
}

type slowly struct {
	shoal.Instance
	m *machine
}

// Turn implements shoal.Instance: the machine may be paused before and after.
func (s slowly) Turn(ctx context.Context, t *shoal.Turn) ([]byte, error) {
	wait := func() {
		delay, _, _, _ := s.m.o.web.draw("")
		time.Sleep(delay)
		if l := s.m.living(); l != nil {
			l.open()
		}
	}
	wait()
	reply, err := s.Instance.Turn(ctx, t)
	wait()
	return reply, err
}
