package nemesis

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"sync"
)

// open is the end of what has none.
const open = math.MaxInt64

// Op is one call of a client, with all tries of it under one request ID.
type Op struct {
	Client int
	Agent  string // which agent
	Model  string // which example it runs: kv, lock or counter
	Method string
	Key    string // of kv: the key; of lock: the lock's name; of counter: nothing
	Rest   string // the payload's lines after the key
	Call   int64  // when it began and ended, on the history's own clock, which counts events
	Return int64  // open as long as it is not known
	Reply  string
	Note   string // where it ran, or why it is open
}

// Open reports whether the client never learnt what came of the call.
func (o Op) Open() bool { return o.Return == open }

func (o Op) String() string {
	reply := fmt.Sprintf("%q until %d", o.Reply, o.Return)
	if o.Open() {
		reply = "?"
	}
	return fmt.Sprintf("client %d from %d: %s %s %q %q -> %s (%s)", o.Client, o.Call, o.Agent, o.Method, o.Key, o.Rest, reply, o.Note)
}

// Payload is what the agent is sent.
func (o Op) Payload() string {
	switch {
	case o.Model == "counter":
		return ""
	case o.Rest == "":
		return o.Key
	}
	return o.Key + "\n" + o.Rest
}

// window is a time in which a fault held.
type window struct {
	fault      string
	begin, end int64
}

// History is what clients did and saw, and which faults there were meanwhile. Its methods may be called from many
// goroutines. Time is counted in events: two that are at the same moment of a clock still have an order.
type History struct {
	mu      sync.Mutex
	clock   int64
	ops     []*Op
	windows []*window
}

func (h *History) tick() int64 {
	h.clock++
	return h.clock
}

// Begin notes that a client calls. The function it returns notes the reply; if it is never called, the call stays
// open.
func (h *History) Begin(o Op) (done func(reply, note string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.Call, o.Return = h.tick(), open
	op := &o
	h.ops = append(h.ops, op)
	return func(reply, note string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		op.Reply, op.Note, op.Return = reply, note, h.tick()
	}
}

// Fault notes that a fault begins; the function it returns, that it is over.
func (h *History) Fault(name string) (over func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := &window{name, h.tick(), open}
	h.windows = append(h.windows, w)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		w.end = h.tick()
	}
}

// Ops returns a copy of what there is so far.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Op, len(h.ops))
	for i, o := range h.ops {
		out[i] = *o
	}
	return out
}

// Tally counts a history: operations whose outcome is known, those that stayed open, and of the former those that
// were under way in a window of each fault.
type Tally struct {
	Definite, Open int
	Windows        map[string]int // how often each fault held
	Under          map[string]int // definite operations, by fault
}

// Add adds another history's counts.
func (t *Tally) Add(o Tally) {
	t.Definite += o.Definite
	t.Open += o.Open
	if t.Under == nil {
		t.Under, t.Windows = map[string]int{}, map[string]int{}
	}
	for f, n := range o.Under {
		t.Under[f] += n
	}
	for f, n := range o.Windows {
		t.Windows[f] += n
	}
}

func (t Tally) String() string {
	var faults []string
	for f, n := range t.Under {
		faults = append(faults, fmt.Sprintf("%s %d in %d", f, n, t.Windows[f]))
	}
	sort.Strings(faults)
	return fmt.Sprintf("%d definite, %d open; under faults: %s", t.Definite, t.Open, strings.Join(faults, ", "))
}

// Tally counts.
func (h *History) Tally() Tally {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := Tally{Under: map[string]int{}, Windows: map[string]int{}}
	byFault := map[string][]*window{}
	for _, w := range h.windows {
		byFault[w.fault] = append(byFault[w.fault], w)
		t.Windows[w.fault]++
		t.Under[w.fault] += 0
	}
	for _, o := range h.ops {
		if o.Open() {
			t.Open++
			continue
		}
		t.Definite++
		for f, list := range byFault {
			for _, w := range list {
				if o.Call <= w.end && o.Return >= w.begin {
					t.Under[f]++
					break
				}
			}
		}
	}
	return t
}
