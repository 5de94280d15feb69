package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/bench/hostile"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/node"
)

// setup is what a node's process is told.
type setup struct {
	Dir    string
	Join   string // an invite; "": it founds the fabric, or comes back to it
	Listen string
	Idle   time.Duration // after which agents sleep; 0: the default
}

// ready is what it says of itself.
type ready struct{ ID, Invite string }

// worker is a node in a process of its own.
type worker struct {
	*node.Node
	hammer *hammer
	last   sync.Map // agent -> *atomic.Int64: what its counter stood at
}

// serve starts a node as `shoal up` does, on loopback.
func serve(ctx context.Context, s setup) (*rig.Worker, error) {
	release := node.Headroom()
	n, err := node.Open(ctx, node.Config{
		Dir: s.Dir, Join: s.Join, Listen: []string{s.Listen}, NoMDNS: true, Agents: agents.Config{Idle: s.Idle},
		Compiler: func(ctx context.Context, args ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "/proc/self/exe", append([]string{hostile.CompileArg}, args...)...)
		},
	})
	if err != nil {
		return nil, err
	}
	r := ready{ID: string(n.ID())}
	if s.Join == "" && n.Start() == node.Founded {
		if r.Invite, err = n.Invite(ctx, node.InviteOptions{TTL: time.Hour}); err != nil {
			return nil, err
		}
	}
	w := &worker{Node: n}
	return &rig.Worker{
		Ready: r,
		Close: func() { n.Close(); release() },
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"met":    rig.Verb(w.met),
			"create": rig.Verb(w.create),
			"ring":   rig.Verb(w.ring),
			"each":   rig.Verb(w.each),
			"led":    rig.Verb(w.led),
			"memory": rig.Verb(w.memory),
			"heard":  rig.Verb(w.heard),
			"begin":  rig.Verb(w.beginHammer),
			"acked":  rig.Verb(w.acked),
			"end":    rig.Verb(w.endHammer),
		},
	}, nil
}

// met waits until this node is connected with so many members, and takes them for alive.
func (w *worker) met(ctx context.Context, others int) (any, error) {
	for {
		peers, _, err := w.Peers(ctx, "")
		if err != nil {
			return nil, err
		}
		alive := 0
		for _, p := range peers {
			if p.State == shoal.Alive {
				alive++
			}
		}
		if w.Status().Connected >= others && alive >= others {
			return nil, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// birth is an order to make agents, called Name0, Name1 and so on.
type birth struct {
	Code     string // what Node.CreateAgent takes, or a file, which is uploaded first
	Name     string
	First, N int
	Parallel int
}

// born is what came of it.
type born struct {
	Keys []string
	Took time.Duration
}

func (w *worker) create(ctx context.Context, b birth) (born, error) {
	out := born{Keys: make([]string, b.N)}
	if strings.HasPrefix(b.Code, "example:") { // else each birth uploads it anew
		c, err := w.Module(ctx, b.Code)
		if err != nil {
			return out, err
		}
		b.Code = c.String()
	}
	if filepath.IsAbs(b.Code) {
		wasm, err := os.ReadFile(b.Code)
		if err != nil {
			return out, err
		}
		c, _, err := w.Upload(ctx, filepath.Base(b.Code), wasm)
		if err != nil {
			return out, err
		}
		b.Code = c.String()
	}
	begun := time.Now()
	err := parallel(max(1, b.Parallel), b.N, func(i int) error {
		o := agents.CreateOptions{Name: b.Name + strconv.Itoa(b.First+i), Strict: true} // with three keepers, or not at all
		for try := 1; ; try++ {
			c, err := w.CreateAgent(ctx, b.Code, cid.Undef, o)
			if err == nil {
				out.Keys[i] = c.Key
				return nil
			}
			if shoal.KindOf(err) != shoal.Refused || try == 20 {
				return err
			}
			if err := pause(ctx, 250*time.Millisecond); err != nil { // a keeper is too busy to answer in time
				return err
			}
		}
	})
	out.Took = time.Since(begun)
	return out, err
}

// parallel does n things, some at once, until one fails.
func parallel(workers, n int, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Bool
	errs := make([]error, workers)
	var done sync.WaitGroup
	for k := range workers {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if errs[k] = do(i); errs[k] != nil {
					failed.Store(true)
					return
				}
			}
		})
	}
	done.Wait()
	return errors.Join(errs...)
}

// request is what each caller calls, over and over.
type request struct {
	Method  string
	Payload []byte
	Read    bool
	Count   bool // the reply must be one more than the last one's
	Echo    bool // the reply must be the payload
}

func (w *worker) counter(agent string) *atomic.Int64 {
	v, _ := w.last.LoadOrStore(agent, new(atomic.Int64))
	return v.(*atomic.Int64)
}

// caller returns a function that calls an agent and looks at the reply. No two callers count on one agent at once.
func (w *worker) caller(agent string, r request) func(context.Context) error {
	last := w.counter(agent)
	return func(ctx context.Context) error {
		reply, err := w.CallAgent(ctx, agent, shoal.CallRequest{Method: r.Method, Payload: r.Payload, Read: r.Read})
		if err != nil {
			return err
		}
		if r.Echo && string(reply) != string(r.Payload) {
			return fmt.Errorf("agent %s replied %d bytes that are not what was sent", agent, len(reply))
		}
		if r.Count {
			n, err := strconv.ParseInt(string(reply), 10, 64)
			if was := last.Swap(n); err != nil || n != was+1 {
				return fmt.Errorf("agent %s counts %q after %d", agent, reply, was)
			}
		}
		return nil
	}
}

// load is an order to call agents for a time, each by callers of its own.
type load struct {
	Agents  []string
	Callers int // of each
	Time    time.Duration
	request
}

func (w *worker) ring(ctx context.Context, l load) (rig.Figures, error) {
	var all []func(context.Context) error
	for _, a := range l.Agents {
		for range max(1, l.Callers) {
			all = append(all, w.caller(a, l.request))
		}
	}
	return rig.Ring(ctx, l.Time, all)
}

// tour is an order to call each agent, so many times (0: once) before the next.
type tour struct {
	Agents   []string
	Times    int
	Parallel int
	request
}

// each returns what the first, the second call and so on of each agent took, in µs.
func (w *worker) each(ctx context.Context, t tour) ([][]float64, error) {
	times := make([][]float64, max(1, t.Times))
	for k := range times {
		times[k] = make([]float64, len(t.Agents))
	}
	return times, parallel(max(1, t.Parallel), len(t.Agents), func(i int) error {
		call := w.caller(t.Agents[i], t.request)
		for k := range times {
			at := time.Now()
			if err := call(ctx); err != nil {
				return err
			}
			times[k][i] = float64(time.Since(at).Nanoseconds()) / 1e3
		}
		return nil
	})
}

// led says who leads each of the agents.
func (w *worker) led(ctx context.Context, list []string) ([]string, error) {
	out := make([]string, len(list))
	err := parallel(16, len(list), func(i int) error {
		s, err := w.ShowAgent(ctx, list[i])
		if err == nil {
			out[i] = string(s.Leader)
		}
		return err
	})
	return out, err
}
