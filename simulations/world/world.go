package world

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/internal/nemesis"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/memnet"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
	"github.com/shoal-fabric/shoal/storage"
)

// Options say how a world is run.
type Options struct {
	Policy cost.Policy
	// Progress is told now and then what happens and how far it is, in simulated time. It must not wait.
	Progress func(Progress)
	Log      *slog.Logger // of the nodes; nil: discard
	Stop     *atomic.Bool // set from outside: it ends early, with what there is; nil: it cannot be
	Dir      string       // for scratch files of tasks; "": a temporary folder

	told func(note string) // tests read, at the end, what failed and why
}

// Progress is how far a world is.
type Progress struct {
	Phase string        // "nodes", "data", "load", "settle"
	Done  int           // of Of: nodes, datasets
	Of    int           //
	At    time.Duration // since the load began
	Total time.Duration // that it will take

	Events uint64 // of the network, so far
}

// Times of a world.
const (
	settling  = 30 * time.Second // between the start of the nodes and the load, at least
	warming   = 25 * time.Second // in place of it between the start of nodes that have a table and what is put: more than dht's warmTime
	resting   = 45 * time.Second // between what was made in nodes that have a table and the load: its connections are closed again, and holders of data have counted copies
	mostOpens = 8                // nodes that are started at once
	mostMade  = 8                // datasets, agents, topics that are made at once
	patience  = 10 * time.Minute // for what is set up before the load
)

// world is one simulated cluster.
type world struct {
	s    *scenario.Scenario
	seed uint64
	o    Options
	born time.Time // of the bubble
	zero time.Time // the load begins

	ctx      context.Context
	dir      string
	net      *memnet.Net
	links    *links
	shared   *storage.Shared
	box      *sandbox.Sandbox
	machines []*machine
	byID     map[shoal.PeerID]*machine
	natural  bool // nodes join as real ones do
	nat      bool // some cannot be connected to

	data   []*dataset
	agents []*agent
	topics []*channel
	tally  *tally

	history nemesis.History // of agents
	clients atomic.Int64    // of the history

	ends   sync.WaitGroup // of nodes that are gone
	mu     sync.Mutex
	dices  map[string]*rand.Rand
	lives  map[*node.Node]*nodeLife
	notes  []string
	broken []string // what must not be, beside what the histories show
}

// Run carries a scenario out, in the synctest bubble that it is called in, and returns what was found. ctx must be of that
// bubble; when it ends, or Stop is set, the run is Cut. An error means that the cluster could not be set up.
func Run(ctx context.Context, s *scenario.Scenario, seed uint64, o Options) (*report.Run, error) {
	r, check, err := carry(ctx, s, seed, o)
	if err == nil {
		r.Broken = append(r.Broken, check()...)
	}
	return r, err
}

// carry is Run without the check of histories, which computes for long and may do so outside of the bubble.
func carry(ctx context.Context, s *scenario.Scenario, seed uint64, o Options) (r *report.Run, check func() []string, err error) {
	w := &world{
		s: s, seed: seed, o: o, born: time.Now(), natural: s.Start == "bootstrap", tally: newTally(),
		dices: map[string]*rand.Rand{}, lives: map[*node.Node]*nodeLife{}, byID: map[shoal.PeerID]*machine{},
	}
	if w.o.Progress == nil {
		w.o.Progress = func(Progress) {}
	}
	if w.dir, err = os.MkdirTemp(o.Dir, "shoal-world-"); err != nil {
		return nil, nil, shoal.Wrap(shoal.Internal, "simulate", err)
	}
	defer os.RemoveAll(w.dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.ctx = ctx
	w.watchStop(cancel)
	capability.Remember(1 << 16)
	defer capability.Remember(0)
	w.shared = storage.NewShared(64 << 20)
	defer w.shared.Close()
	if w.box, err = sandbox.New(sandbox.Config{}); err != nil {
		return nil, nil, err
	}
	defer w.box.Close()
	defer w.close()
	defer cancel() // who listens ends before the nodes
	if err := w.build(ctx); err != nil {
		return nil, nil, err
	}
	if err := w.stock(ctx); err != nil {
		return nil, nil, err
	}
	w.play(ctx)
	cut := ctx.Err() != nil
	r, check = w.report(cut), w.checks()
	if w.o.told != nil {
		for _, n := range w.notes {
			w.o.told(n)
		}
	}
	return r, check, nil
}

// watchStop ends the run when it is asked for from outside. Nothing in a bubble can wait for that, so it looks.
func (w *world) watchStop(cancel func()) {
	if w.o.Stop == nil {
		return
	}
	ctx := w.ctx
	w.ends.Go(func() {
		for ctx.Err() == nil {
			if w.o.Stop.Load() {
				cancel()
				return
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	})
}

// dice returns the dice of a purpose that others share.
func (w *world) dice(purpose string) *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dices[purpose] == nil {
		w.dices[purpose] = scenario.Dice(w.seed, purpose)
	}
	return rand.New(rand.NewPCG(w.dices[purpose].Uint64(), 0))
}

// note keeps a line for whoever looks for a reason.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.notes) < 100 {
		w.notes = append(w.notes, fmt.Sprintf("%v: ", time.Since(w.zero).Round(time.Millisecond))+fmt.Sprintf(format, args...))
	}
}

// build starts all nodes.
func (w *world) build(ctx context.Context) error {
	s := w.s
	w.net = memnet.New(memnet.Config{
		Latency: func(a, b int) time.Duration { return s.Latency[a][b] },
		Jitter:  s.Jitter, Seed: w.seed, Grain: grain(s),
		Loss: func(a, b int) float64 {
			if len(s.Loss) == 0 {
				return 0
			}
			return s.Loss[a][b]
		},
	})
	w.links = &links{w: w}
	w.settle()
	open := func(m *machine, by *node.Node, invite string) error {
		<-m.turn
		defer func() { m.turn <- struct{}{} }()
		return m.open(ctx, by, invite)
	}
	first := w.machines[0]
	if err := open(first, nil, ""); err != nil {
		return err
	}
	founder := first.live.Load()
	for at := 1; at < len(w.machines); {
		n := min(mostOpens, len(w.machines)-at)
		errs := make([]error, n)
		var all sync.WaitGroup
		for i := range n {
			m := w.machines[at+i]
			by, invite := founder, ""
			if w.natural {
				text, err := w.machines[w.dice("invite").IntN(at)].live.Load().Invite(ctx, node.InviteOptions{})
				if err != nil {
					return err
				}
				by, invite = nil, text
			}
			all.Go(func() { errs[i] = open(m, by, invite) })
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		at += n
		w.o.Progress(Progress{Phase: "nodes", Done: at, Of: len(w.machines)})
	}
	if w.natural {
		w.sleep(ctx, settling)
		return ctx.Err()
	}
	w.fill()
	if err := w.announce(); err != nil {
		return err
	}
	w.acquaint(ctx)
	w.sleep(ctx, warming)
	return ctx.Err()
}

// grain is how finely packets arrive: a small part of the shortest way.
func grain(s *scenario.Scenario) time.Duration {
	const most = 100 * time.Microsecond
	g := 4 * most
	for _, row := range s.Latency {
		for _, d := range row {
			g = min(g, d)
		}
	}
	return g / 4
}

// settle makes the machines, in the order of classes, and says in which region each stands.
func (w *world) settle() {
	dice, keys := scenario.Dice(w.seed, "regions"), scenario.Dice(w.seed, "keys")
	for i := range w.s.Classes {
		c := &w.s.Classes[i]
		w.nat = w.nat || c.NAT
		var here []int
		for j, g := range w.s.Regions {
			for _, name := range c.Regions {
				if name == g.Name {
					here = append(here, j)
				}
			}
		}
		for k := range c.Count {
			g := 0
			if len(here) > 0 {
				g = here[k%len(here)]
			} else {
				x := dice.Float64()
				for g < len(w.s.Regions)-1 && x >= w.s.Regions[g].Share {
					x -= w.s.Regions[g].Share
					g++
				}
			}
			m := w.newMachine(len(w.machines), c, g, keys)
			w.machines = append(w.machines, m)
			w.byID[m.id] = m
		}
	}
}

// sleep waits, unless the run ends.
func (w *world) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// anyUp returns a node that is up, other than that of m; nil: there is none.
func (w *world) anyUp(m *machine, dice *rand.Rand) *node.Node {
	at := dice.IntN(len(w.machines))
	for i := range w.machines {
		if o := w.machines[(at+i)%len(w.machines)]; o != m {
			if n := o.live.Load(); n != nil {
				return n
			}
		}
	}
	return nil
}

// close ends all nodes.
func (w *world) close() {
	var all sync.WaitGroup
	room := make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	for _, m := range w.machines {
		n := m.live.Swap(nil)
		if n == nil {
			continue
		}
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			n.Kill()
		})
	}
	all.Wait()
	w.ends.Wait()
	time.Sleep(time.Minute) // what nobody waits for, such as the last packets, comes to its end
}
