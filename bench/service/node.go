package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/bench/hostile"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/services"
)

// setup is what a node's process is told.
type setup struct {
	Dir, Join, Listen, Label string
}

// ready is what it says of itself.
type ready struct{ Invite string }

// worker is a node in a process of its own.
type worker struct{ *node.Node }

// serve starts a node as `shoal up` does, on loopback.
func serve(ctx context.Context, s setup) (*rig.Worker, error) {
	release := node.Headroom()
	n, err := node.Open(ctx, node.Config{
		Dir: s.Dir, Join: s.Join, Listen: []string{s.Listen}, NoMDNS: true, Labels: map[string]string{"n": s.Label},
		Compiler: func(ctx context.Context, args ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "/proc/self/exe", append([]string{hostile.CompileArg}, args...)...)
		},
	})
	if err != nil {
		return nil, err
	}
	var r ready
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
			"met": rig.Verb(w.met), "create": rig.Verb(w.create), "batches": rig.Verb(w.batches), "ramp": rig.Verb(w.ramp),
			"instances": rig.Verb(w.instances), "first": rig.Verb(w.first),
		},
	}, nil
}

// met waits until this node takes so many members for alive.
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
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// creation is an order to make a service.
type creation struct {
	Name, Needs string
	Target      time.Duration
}

func (w *worker) create(ctx context.Context, c creation) (any, error) {
	return w.CreateService(ctx, node.ServiceSpec{Name: c.Name, Code: "example:classify", Method: "classify", Needs: c.Needs, Target: c.Target})
}

// order is to have messages classified, ten at a time, for a while.
type order struct {
	Service  string
	Messages []message
	Time     time.Duration
}

// one calls the service with a message, and looks at the answer.
func (w *worker) one(ctx context.Context, service string, m message) error {
	got, err := w.CallService(ctx, service, []byte(m.Text), services.CallOptions{})
	if err == nil && string(got) != m.Want {
		err = fmt.Errorf("it says %q, not %q", got, m.Want)
	}
	return err
}

func (w *worker) batches(ctx context.Context, o order) (rig.Figures, error) {
	todo, done := make(chan message), make(chan error, batchOf)
	defer close(todo)
	for range batchOf { // callers that stay, as those of a server do
		go func() {
			for m := range todo {
				done <- w.one(ctx, o.Service, m)
			}
		}()
	}
	return laps(ctx, o, func(_ context.Context, list []message) error {
		for _, m := range list {
			todo <- m
		}
		var all error
		for range list {
			all = errors.Join(all, <-done)
		}
		return all
	})
}

// laps has batches done, one after the other.
func laps(ctx context.Context, o order, do func(context.Context, []message) error) (rig.Figures, error) {
	at := 0
	return rig.Ring(ctx, o.Time, []func(context.Context) error{func(ctx context.Context) error {
		list := o.Messages[at : at+batchOf]
		at = (at + batchOf) % (len(o.Messages) - batchOf + 1)
		return do(ctx, list)
	}})
}

// ramp is a load that grows and shrinks.
type ramp struct {
	Service string
	Texts   []message
	Peak    float64
	Up      time.Duration // and as long down
	Seed    uint64
}

// curve is what came of it.
type curve struct {
	FirstMS         float64
	Calls, Failed   int
	Failure         string
	P50, P99, P99Up float64 // ms
	Instances       []int   // every two seconds
}

// first says how long one call takes, in ms.
func (w *worker) first(ctx context.Context, r ramp) (float64, error) {
	begun := time.Now()
	err := w.one(ctx, r.Service, r.Texts[0])
	return time.Since(begun).Seconds() * 1000, err
}

// ramp calls at random moments, whether or not earlier calls are answered.
func (w *worker) ramp(ctx context.Context, r ramp) (c curve, err error) {
	if c.FirstMS, err = w.first(ctx, r); err != nil {
		return c, err
	}
	rng := rand.New(rand.NewPCG(r.Seed, 'r'))
	var mu sync.Mutex
	var up, all []float64
	var wait sync.WaitGroup
	begun := time.Now()
	looking, stop := context.WithCancel(ctx)
	wait.Go(func() {
		for at := 2 * time.Second; ; at += 2 * time.Second {
			select {
			case <-looking.Done():
				return
			case <-time.After(time.Until(begun.Add(at))):
			}
			if n, err := w.instances(ctx, r.Service); err == nil {
				mu.Lock()
				c.Instances = append(c.Instances, n)
				mu.Unlock()
			}
		}
	})
	var calls sync.WaitGroup
	for at := time.Duration(0); ; {
		share := 1 - (max(at, r.Up)-min(at, r.Up)).Seconds()/r.Up.Seconds()
		rate := max(r.Peak*share, 1)
		at += time.Duration(rng.ExpFloat64() / rate * float64(time.Second))
		if at >= 2*r.Up {
			break
		}
		time.Sleep(time.Until(begun.Add(at)))
		m := r.Texts[rng.IntN(len(r.Texts))]
		calls.Go(func() {
			t := time.Now()
			err := w.one(ctx, r.Service, m)
			took := time.Since(t).Seconds() * 1000
			mu.Lock()
			defer mu.Unlock()
			if c.Calls++; err != nil {
				c.Failed++
				c.Failure = err.Error()
				return
			}
			if all = append(all, took); at < r.Up {
				up = append(up, took)
			}
		})
	}
	calls.Wait()
	stop()
	wait.Wait()
	slices.Sort(all)
	slices.Sort(up)
	c.P50, c.P99, c.P99Up = all[len(all)/2], all[len(all)*99/100], up[len(up)*99/100]
	return c, nil
}

func (w *worker) instances(ctx context.Context, service string) (int, error) {
	s, err := w.ShowService(ctx, service)
	if err != nil {
		return 0, err
	}
	return s.Instances, nil
}

// open makes an instance of the module, outside of any node.
func open(ctx context.Context) (shoal.Instance, func(), error) {
	wasm, ok := examples.Module("classify")
	if !ok {
		return nil, nil, fmt.Errorf("there is no example classify")
	}
	s, err := sandbox.New(sandbox.Config{})
	if err != nil {
		return nil, nil, err
	}
	c := shoal.BlockCID(wasm)
	if _, err := s.Compile(ctx, c, wasm); err != nil {
		return nil, nil, err
	}
	b, err := s.Behaviour(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	inst, err := b.Open(ctx)
	return inst, func() { inst.Close(); s.Close() }, err
}

// local classifies in its own process.
func local(ctx context.Context, _ any) (*rig.Worker, error) {
	inst, end, err := open(ctx)
	if err != nil {
		return nil, err
	}
	batches := func(ctx context.Context, o order) (rig.Figures, error) {
		return laps(ctx, o, func(ctx context.Context, list []message) error {
			for _, m := range list {
				got, err := inst.Turn(ctx, &shoal.Turn{Method: "classify", Payload: []byte(m.Text), Now: time.Now()})
				if err != nil || string(got) != m.Want {
					return fmt.Errorf("%q, not %q: %v", got, m.Want, err)
				}
			}
			return nil
		})
	}
	return &rig.Worker{Close: end, Do: map[string]func(context.Context, json.RawMessage) (any, error){"batches": rig.Verb(batches)}}, nil
}
