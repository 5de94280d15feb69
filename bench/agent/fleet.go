package agent

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const keepers = 3

// codes are the kinds of ours, and the counters they call.
var codes = map[string]string{"shoal": "example:counter", "shoal-c": "example:counterc"}

// fleet is a fabric: as many keepers as an agent has, and a caller that keeps none of them.
type fleet struct {
	r      *rig.Run
	dir    string
	core   int
	idle   time.Duration
	setups []setup
	nodes  []*rig.Proc // the last is the caller
	ids    []string
	invite string
}

// roles are those of all benchmarks of agents.
func roles() map[string]rig.Role { return map[string]rig.Role{"node": rig.As(serve)} }

// newFleet starts the keepers; join brings the caller, once the agents are made.
func newFleet(ctx context.Context, r *rig.Run, name string, core int, idle time.Duration) (*fleet, error) {
	f := &fleet{r: r, dir: filepath.Join(r.Work, name), core: core, idle: idle}
	for range keepers {
		if err := f.join(ctx); err != nil {
			return nil, err
		}
	}
	return f, f.meet(ctx)
}

// join adds a node.
func (f *fleet) join(ctx context.Context) error {
	at, err := FreePort()
	if err != nil {
		return err
	}
	i := len(f.nodes)
	f.setups = append(f.setups, setup{Dir: filepath.Join(f.dir, fmt.Sprint("n", i)), Join: f.invite, Listen: at, Idle: f.idle})
	f.nodes, f.ids = append(f.nodes, nil), append(f.ids, "")
	return f.start(ctx, i)
}

// start starts a node, or starts it again.
func (f *fleet) start(ctx context.Context, i int) error {
	var is ready
	p, err := f.r.Procs.Start(ctx, "node", f.core, f.setups[i], &is)
	if err != nil {
		return fmt.Errorf("node %d: %w", i, err)
	}
	f.nodes[i], f.ids[i] = p, is.ID
	if is.Invite != "" {
		f.invite = is.Invite
	}
	return nil
}

// meet waits until all nodes are connected with each other.
func (f *fleet) meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for i, p := range f.nodes {
		if err := p.Do(ctx, "met", len(f.nodes)-1, nil); err != nil {
			return fmt.Errorf("node %d does not meet the others: %w", i, err)
		}
	}
	return nil
}

func (f *fleet) caller() *rig.Proc { return f.nodes[len(f.nodes)-1] }

// create makes n agents of a code, as many on each keeper, which then calls its own once and so comes to lead them.
// Those of the first keeper come first.
func (f *fleet) create(ctx context.Context, code, name string, n, parallel int, first request) (keys []string, err error) {
	for i, p := range f.nodes[:keepers] {
		share := (n + keepers - 1 - i) / keepers
		if share == 0 {
			continue
		}
		var b born
		if err := p.Do(ctx, "create", birth{Code: code, Name: fmt.Sprint(name, i, "-"), N: share, Parallel: parallel}, &b); err != nil {
			return nil, err
		}
		if err := p.Do(ctx, "each", tour{Agents: b.Keys, Parallel: parallel, request: first}, nil); err != nil {
			return nil, err
		}
		keys = append(keys, b.Keys...)
	}
	return keys, nil
}

// FreePort returns an address of this machine that nobody listens at. A node that comes back takes it again.
func FreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
