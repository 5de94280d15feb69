package memnet

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Watch tells when virtual time stands still. It is started outside of the bubble, and told of time by Pulse inside.
//
// In a bubble time moves when every goroutine waits for what only the bubble can bring. One that waits for a sync.Mutex
// whose holder sleeps, or for the machine, keeps it from moving, and nothing says so.
type Watch struct {
	cfg   WatchConfig
	now   atomic.Int64 // of the bubble
	stop  chan struct{}
	done  chan struct{}
	stuck atomic.Int64
}

// WatchConfig says when time stands still. All of it is in the machine's time.
type WatchConfig struct {
	Patience time.Duration // without progress; and without work, if Work is given
	// Work returns the processor time that the process has used, 0 if it does not know: then it may be at work. A process that works may only be slow: it has until Most.
	// nil: work does not count.
	Work func() time.Duration
	Most time.Duration
	// Stuck is told for how long time has stood still, and who keeps it: the stacks, see Stacks. It is told again each time as
	// long has passed. It is called by the watch's goroutine.
	Stuck func(since time.Duration, who string)
}

// leastWork of the processor's time between two looks is work; the runtime's own is less.
const leastWork = 100 * time.Millisecond

// NewWatch starts to watch. The caller stops it, outside of the bubble.
func NewWatch(cfg WatchConfig) *Watch {
	w := &Watch{cfg: cfg, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// Stop ends it.
func (w *Watch) Stop() {
	close(w.stop)
	<-w.done
}

// Fired says how often it has told.
func (w *Watch) Fired() int { return int(w.stuck.Load()) }

// Pulse says that time moves: once now and then each second of the bubble's, until end is called. It is called inside.
func (w *Watch) Pulse() (end func()) {
	w.now.Store(time.Now().UnixNano())
	tick, over, ended := time.NewTicker(time.Second), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case t := <-tick.C:
				w.now.Store(t.UnixNano())
			case <-over:
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(over)
		<-ended
		w.now.Store(0)
	}
}

func (w *Watch) run() {
	defer close(w.done)
	tick := time.NewTicker(min(max(w.cfg.Patience/20, time.Millisecond), time.Second))
	defer tick.Stop()
	last, since, idle := int64(0), time.Now(), time.Now()
	used := w.used()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		if u := w.used(); u-used >= leastWork || u == 0 && w.cfg.Work != nil {
			idle, used = time.Now(), u
		}
		if now := w.now.Load(); now != last || now == 0 {
			last, since, idle = now, time.Now(), time.Now()
			continue
		}
		if time.Since(idle) < w.cfg.Patience && (w.cfg.Work == nil || time.Since(since) < w.cfg.Most) {
			continue
		}
		w.cfg.Stuck(time.Since(since), Stacks())
		w.stuck.Add(1)
		since, idle = time.Now(), time.Now()
	}
}

func (w *Watch) used() time.Duration {
	if w.cfg.Work == nil {
		return 0
	}
	return w.cfg.Work()
}

var (
	arguments = regexp.MustCompile(`\((0x|\{0x|\.\.\.)[^\n]*\)\n|\(\)\n| \+0x[0-9a-f]+`)
	waits     = regexp.MustCompile(`, \d+ minutes`)
)

// most is how much of all stacks is looked at.
const most = 256 << 20

// Stacks returns the stacks of all goroutines in bubbles, equal ones once with their number. Those that keep time from
// moving come first: they compute, or wait for something that is not the bubble's, such as a sync.Mutex.
func Stacks() string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= most {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 4*len(buf))
	}
	type group struct {
		text  string
		count int
		block bool
	}
	groups := map[string]*group{}
	for one := range strings.SplitSeq(string(buf), "\n\n") {
		head, stack, _ := strings.Cut(strings.TrimSpace(one), "\n")
		_, state, _ := strings.Cut(head, "[")
		if !strings.Contains(state, "synctest bubble") {
			continue
		}
		state = waits.ReplaceAllString(strings.TrimSuffix(state, "]:"), "")
		key := state + arguments.ReplaceAllString(stack, "\n")
		g := groups[key]
		if g == nil {
			g = &group{text: state + "\n" + stack, block: !strings.Contains(state, "(durable)")}
			groups[key] = g
		}
		g.count++
	}
	var list []*group
	for _, g := range groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *group) int {
		switch {
		case a.block != b.block && a.block:
			return -1
		case a.block != b.block:
			return 1
		case a.count != b.count:
			return b.count - a.count
		}
		return strings.Compare(a.text, b.text)
	})
	var out strings.Builder
	for _, g := range list {
		mark := ""
		if g.block {
			mark = ", time waits for it"
		}
		fmt.Fprintf(&out, "%d goroutines [%s\n\n", g.count, strings.Replace(g.text, "\n", mark+"]\n", 1))
	}
	return out.String()
}
