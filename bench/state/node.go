package state

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/state"
	"github.com/shoal-fabric/shoal/state/merge"
)

//go:embed guest/add.wasm
var guest []byte

// setup is what a node's process is told.
type setup struct{ Dir, Join string }

// ready is what it says of itself.
type ready struct{ ID, Invite string }

// worker is a node in a process of its own.
type worker struct{ *node.Node }

// serve starts a node as `shoal up` does, on loopback.
func serve(ctx context.Context, s setup) (*rig.Worker, error) {
	release := node.Headroom()
	n, err := node.Open(ctx, node.Config{Dir: s.Dir, Join: s.Join, Listen: []string{"127.0.0.1:0"}, NoMDNS: true})
	if err != nil {
		return nil, err
	}
	r := ready{ID: string(n.ID())}
	if s.Join == "" {
		if r.Invite, err = n.Invite(ctx, node.InviteOptions{TTL: time.Hour}); err != nil {
			return nil, err
		}
	}
	w := &worker{n}
	return &rig.Worker{
		Ready: r,
		Close: func() { n.Close(); release() },
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"met":     rig.Verb(w.met),
			"create":  rig.Verb(w.create),
			"ring":    rig.Verb(w.ring),
			"change":  rig.Verb(w.change),
			"traffic": rig.Verb(func(context.Context, *int) (uint64, error) { return sum(n.Traffic()), nil }),
		},
	}, nil
}

// sum is all bytes that the streams of a node's connections brought it: of all nodes together, all that were sent.
func sum(t node.Traffic) uint64 { return t.Code + t.Data + t.Result + t.Other }

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

// create makes so many agents of the guest.
func (w *worker) create(ctx context.Context, n int) (keys []string, err error) {
	c, _, err := w.Upload(ctx, "add.wasm", guest)
	if err != nil {
		return nil, err
	}
	for i := range n {
		a, err := w.CreateAgent(ctx, c.String(), cid.Undef, agents.CreateOptions{Name: fmt.Sprint("adder", i)})
		if err != nil {
			return nil, err
		}
		keys = append(keys, a.Key)
	}
	return keys, nil
}

// load is an order to call agents for a time, each by one caller.
type load struct {
	Agents []string
	Method string
	N      int // increments of a call
	Time   time.Duration
}

// ring counts increments: calls that were answered, times N. What the counters have more than before must be that.
func (w *worker) ring(ctx context.Context, l load) (rig.Figures, error) {
	var done atomic.Int64
	var all []func(context.Context) error
	for _, a := range l.Agents {
		all = append(all, func(ctx context.Context) error {
			_, err := w.CallAgent(ctx, a, shoal.CallRequest{Method: l.Method, Payload: []byte(strconv.Itoa(l.N))})
			if err == nil {
				done.Add(int64(l.N))
			}
			return err
		})
	}
	before := w.total("bench/" + l.Method)
	f, err := rig.Ring(ctx, l.Time, all)
	if got := w.total("bench/"+l.Method) - before; err == nil && got != done.Load() {
		err = fmt.Errorf("%d increments were acknowledged, and the counters have %d more", done.Load(), got)
	}
	return f, err
}

// total adds up the counters of a name.
func (w *worker) total(name string) (n int64) {
	list, _ := w.State(name) // none yet: 0
	for _, o := range list {
		n += o.Number
	}
	return n
}

// order is to change keys, all at once by some callers, one a call, and to wait for the other nodes' changes of them.
type order struct {
	Name    string // of the map
	Node    int
	Nodes   int
	Keys    int
	Callers int
}

// changed is when, in Unix nanoseconds, the last change of this node's was durable, and when this node had all.
type changed struct{ Last, All int64 }

// The kinds of keys take turns: a counter and a set that all nodes change, and a register of each node's own.
func (o order) op(key int) state.Change {
	c := state.Change{Name: o.Name, Field: fmt.Sprintf("key-%06d", key)}
	switch key % 3 {
	case 0:
		c.Verb, c.By = state.Add, 1
	case 1:
		c.Verb, c.Item = state.Insert, fmt.Sprint("element-", o.Node)
	default:
		c.Field += fmt.Sprint(".", o.Node)
		c.Verb, c.Text = state.Put, fmt.Appendf(nil, "value %010d", key)
	}
	return c
}

func (w *worker) change(ctx context.Context, o order) (out changed, err error) {
	errs := make([]error, o.Callers)
	var next atomic.Int64
	var done sync.WaitGroup
	for k := range o.Callers {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < o.Keys && errs[k] == nil; i = int(next.Add(1)) - 1 {
				errs[k] = w.ChangeState(ctx, 1, o.op(i))
			}
		})
	}
	done.Wait()
	if err := errors.Join(errs...); err != nil {
		return out, err
	}
	out.Last = time.Now().UnixNano()
	for w.seen(o.Name) < o.Keys*o.Nodes {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return out, err
		}
	}
	out.All = time.Now().UnixNano()
	return out, nil
}

// seen counts the changes of a map's keys that are known here.
func (w *worker) seen(name string) (n int) {
	list, _ := w.State(name)
	for _, o := range list {
		switch o.Kind {
		case merge.Counter:
			n += int(o.Number)
		case merge.Set:
			n += len(o.Items)
		default:
			n++
		}
	}
	return n
}
