package native

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// Native runs the executors of one node. Its methods may be called from many goroutines.
type Native struct {
	cfg   Config
	names []string
	list  map[string]Executor

	alive context.Context // ends with Close
	close context.CancelFunc
	work  sync.WaitGroup // runs

	mu     sync.Mutex
	ledger reserve.Ledger
	looked time.Time // at the devices
	queue  []*waiter // for devices, in their order
	held   map[*holding]struct{}
}

// holding is a run with its devices.
type holding struct {
	grant reserve.Grant
	end   context.CancelCauseFunc
}

// New checks the executors, of which each program must be there, and looks at the devices. An error of kind
// Invalid names the field. It starts nothing.
func New(ctx context.Context, cfg Config) (*Native, error) {
	n := &Native{cfg: cfg.withDefaults(), list: map[string]Executor{}, held: map[*holding]struct{}{}}
	list := cfg.Executors
	if cfg.Simulate == nil {
		var err error
		if list, err = resolve(cfg.Executors); err != nil {
			return nil, err
		}
	}
	for _, x := range list {
		n.list[x.Name] = x
		n.names = append(n.names, x.Name)
	}
	slices.Sort(n.names)
	n.alive, n.close = context.WithCancel(context.Background())
	if len(list) == 0 || cfg.Simulate != nil {
		return n, nil
	}
	if cfg.Helper == nil {
		return nil, shoal.E(shoal.Invalid, "executors", "this node has no program to stand between it and them", "set Helper")
	}
	if err := os.RemoveAll(cfg.Dir); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "clear "+cfg.Dir, err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "make "+cfg.Dir, err)
	}
	return n, nil
}

// Names lists the executors that can run something, now or when others have ended: those whose devices are
// there and in order.
func (n *Native) Names() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.able()
}

// able is Names. The lock is held.
func (n *Native) able() (list []string) {
	for _, name := range n.names {
		if n.never(n.list[name]) == nil {
			list = append(list, name)
		}
	}
	return list
}

// Idle says of each executor that can run nothing why that is so.
func (n *Native) Idle() map[string]error {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string]error{}
	for _, name := range n.names {
		if err := n.never(n.list[name]); err != nil {
			out[name] = err
		}
	}
	return out
}

// never says why an executor can run nothing, also when all others have ended; nil if it can. The lock is held.
func (n *Native) never(x Executor) error {
	if err := n.ledger.Could(x.Devices); shoal.KindOf(err) == shoal.Refused {
		return err
	}
	return nil
}

// Devices lists the devices and who has them; none where there are no executors.
func (n *Native) Devices() []reserve.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ledger.States()
}

// SetDevices says which devices there are now. A task whose device is no good any more ends with Unavailable.
func (n *Native) SetDevices(list []reserve.Device) {
	if len(n.list) == 0 {
		return
	}
	if n.setDevices(list) && n.cfg.Changed != nil {
		n.cfg.Changed()
	}
}

// setDevices is SetDevices, and reports whether Names has changed.
func (n *Native) setDevices(list []reserve.Device) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.able()
	n.ledger.Set(list)
	n.looked = time.Now()
	for h := range n.held {
		if why := n.ledger.Lost(h.grant); why != "" {
			h.end(lostDevice(why))
		}
	}
	n.serve()
	return !slices.Equal(was, n.able())
}

func lostDevice(why string) *shoal.Error {
	return shoal.E(shoal.Unavailable, "", why, "it runs again elsewhere if it can; see 'shoal status' there")
}

// look asks for the devices, unless that was done less than age ago. What was known stays if nobody can say.
func (n *Native) look(ctx context.Context, age time.Duration) {
	n.mu.Lock()
	fresh := time.Since(n.looked) < age
	n.mu.Unlock()
	if n.cfg.Look == nil || fresh {
		return
	}
	list, err := n.cfg.Look(ctx)
	if err != nil {
		n.cfg.Log.Warn("the devices cannot be looked at", "error", err)
		return
	}
	n.SetDevices(list)
}

// watchDevices looks at the devices from time to time while a run has some.
func (n *Native) watchDevices(ctx context.Context) {
	tick := time.NewTicker(n.cfg.LookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.look(ctx, n.cfg.LookEvery/2) // another run's look serves as well
		}
	}
}

// Room says why a task with this code and these limits could not come here now; nil if it could, or if the
// code is no executor's. wait: it could, and would wait for another to end. Kinds of errors: Unavailable,
// Overloaded: it may later; Refused, Invalid: it will not.
func (n *Native) Room(code cid.Cid, limits shoal.Limits) (wait bool, err error) {
	name, ok := shoal.ExecName(code)
	if !ok {
		return false, nil
	}
	x, err := n.executor(name)
	if err != nil {
		return false, err
	}
	if _, err := n.bounds(x, limits); err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	err = n.ledger.Could(x.Devices)
	switch {
	case x.Devices.None():
		return false, nil
	case err == nil && len(n.queue) == 0:
		return false, nil
	case (err == nil || shoal.KindOf(err) == shoal.Overloaded) && len(n.queue) < n.places():
		return true, nil
	case err == nil:
		err = shoal.E(shoal.Overloaded, "", fmt.Sprintf("%d tasks wait for its devices", len(n.queue)), "try again later")
	}
	return false, busy(err)
}

// places is how many runs may wait for devices: as many as there are devices, so that each finds the next one
// waiting when it comes free. More would only keep slots from other tasks. The lock is held.
func (n *Native) places() int { return max(1, len(n.ledger.States())) }

func (n *Native) executor(name string) (Executor, error) {
	x, ok := n.list[name]
	if !ok {
		return x, shoal.E(shoal.Unavailable, shoal.ExecPrefix+name, "this node has no such executor", "another node may")
	}
	return x, nil
}

// busy turns the ledger's refusal into one for a task: taken devices come free, and for those that are no good
// another node may have others. Names does not have such an executor any more.
func busy(err error) error {
	e, ok := err.(*shoal.Error)
	if !ok {
		return nil
	}
	if e.RetryAfter = time.Second; e.Kind == shoal.Refused {
		e.Kind = shoal.Unavailable
	}
	return e
}

// waiter is a run that waits for devices.
type waiter struct {
	want reserve.Want
	end  context.CancelCauseFunc
	got  chan taken // told once, with room for it
}

type taken struct {
	h   *holding
	err error
}

// take reserves the devices of a run, which end is to end if one of them is lost. Taken ones it waits for, for
// a while, in the order in which runs come.
func (n *Native) take(ctx context.Context, w reserve.Want, end context.CancelCauseFunc) (*holding, error) {
	me := &waiter{w, end, make(chan taken, 1)}
	n.mu.Lock()
	err := n.ledger.Could(w)
	if w.None() || shoal.KindOf(err) == shoal.Refused || err != nil && len(n.queue) >= n.places() {
		defer n.mu.Unlock()
		if err != nil {
			return nil, busy(err)
		}
		return n.hold(me)
	}
	n.queue = append(n.queue, me)
	n.serve()
	n.mu.Unlock()
	late := time.NewTimer(n.cfg.Patience)
	defer late.Stop()
	select {
	case t := <-me.got:
		return t.h, t.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-late.C:
		err = busy(shoal.E(shoal.Overloaded, "", fmt.Sprintf("its devices were taken for %s", n.cfg.Patience), "try again later"))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.queue, me); i >= 0 {
		n.queue = slices.Delete(n.queue, i, i+1)
		n.serve() // who came behind may need less
		return nil, err
	}
	t := <-me.got // both at once
	if t.h != nil {
		n.release(t.h)
	}
	return nil, err
}

// serve gives the first of those that wait what they want. The lock is held.
func (n *Native) serve() {
	for len(n.queue) > 0 {
		first := n.queue[0]
		h, err := n.hold(first)
		if shoal.KindOf(err) == shoal.Overloaded && err != nil {
			return
		}
		n.queue = n.queue[1:]
		first.got <- taken{h, err}
	}
}

// hold reserves what a run wants, now. The lock is held.
func (n *Native) hold(w *waiter) (*holding, error) {
	g, err := n.ledger.Take(w.want)
	if err != nil {
		return nil, busy(err)
	}
	h := &holding{g, w.end}
	n.held[h] = struct{}{}
	return h, nil
}

func (n *Native) give(h *holding) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.release(h)
}

// release takes back what a run had, for those that wait. The lock is held.
func (n *Native) release(h *holding) {
	delete(n.held, h)
	n.ledger.Give(h.grant)
	n.serve()
}

// lost says which device of a run is no good any more.
func (n *Native) lost(h *holding) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ledger.Lost(h.grant)
}

// Close ends all runs and waits until their processes are gone.
func (n *Native) Close() error {
	n.mu.Lock()
	n.close()
	n.mu.Unlock()
	n.work.Wait()
	return nil
}

// begin registers a run that Close waits for; false after Close.
func (n *Native) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.alive.Err() != nil {
		return false
	}
	n.work.Add(1)
	return true
}
