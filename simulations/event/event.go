// Package event is the core of a discrete-event simulation: a queue of what will happen, a clock that jumps from one event to
// the next, dice, and a hash of all that happened. One goroutine owns a Loop; the same seed and the same calls give the same
// hash, to the byte, on every machine.
package event

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Time is nanoseconds of simulated time since the begin.
type Time int64

// At converts a duration since the begin.
func At(d time.Duration) Time { return Time(d) }

// Seconds returns t in seconds.
func (t Time) Seconds() float64 { return float64(t) / 1e9 }

// Kind says which handler an event is for; see Loop.Handle.
type Kind uint16

// Event is something that happens: to whom, and what of it, as the handler of its kind understands them.
type Event struct {
	At  Time
	Arg uint64
	Who uint32
	Of  Kind
}

// Loop runs events in the order of their times, those of one time in the order in which they were added.
type Loop struct {
	now      Time
	seed     uint64
	queue    radix
	handlers []func(Event)
	counts   []uint64 // by kind
	hash     uint64
	done     uint64

	later []func() // by slot: of After
	free  []uint64
	after Kind
}

// Soon has f called with events that will be handled before long, some dozens of them together, in no order and not all that there
// are: it may look at what their handlers will look at, all at once, so that the processor fetches it from memory side by
// side. It changes nothing.
func (l *Loop) Soon(f func([]Event)) { l.queue.soon = f }

// New returns a loop at time 0.
func New(seed uint64) *Loop {
	l := &Loop{seed: seed, hash: 14695981039346656037}
	l.after = l.Handle(func(e Event) {
		f := l.later[e.Arg]
		l.later[e.Arg] = nil
		l.free = append(l.free, e.Arg)
		f()
	})
	return l
}

// Handle names a handler. Kinds are given out in order, so handlers must be named in the same order in every run.
func (l *Loop) Handle(f func(Event)) Kind {
	l.handlers, l.counts = append(l.handlers, f), append(l.counts, 0)
	return Kind(len(l.handlers) - 1)
}

// Counts returns how many events were handled, by kind; those of After are the first kind. It is the loop's own.
func (l *Loop) Counts() []uint64 { return l.counts }

// Now is the time of the event that is being handled.
func (l *Loop) Now() Time { return l.now }

// Events returns how many events were handled.
func (l *Loop) Events() uint64 { return l.done }

// Hash covers every event that was handled and every Note.
func (l *Loop) Hash() uint64 { return l.hash }

// Note adds something to the hash: a decision that was taken.
func (l *Loop) Note(x uint64) { l.hash = (l.hash ^ x) * 1099511628211 }

// Rand returns dice of their own for one purpose, so that one purpose's draws do not shift another's.
func (l *Loop) Rand(purpose string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(l.seed, h.Sum64()))
}

// Add has an event of a kind happen after a while; a negative one counts as none.
func (l *Loop) Add(after time.Duration, of Kind, who uint32, arg uint64) {
	l.queue.push(Event{At: l.now + Time(max(after, 0)), Of: of, Who: who, Arg: arg})
}

// After has f called after a while. It takes more memory than Add; it is for what is not asked for millions of times at once.
func (l *Loop) After(d time.Duration, f func()) {
	var slot uint64
	if n := len(l.free); n > 0 {
		slot, l.free = l.free[n-1], l.free[:n-1]
		l.later[slot] = f
	} else {
		slot, l.later = uint64(len(l.later)), append(l.later, f)
	}
	l.Add(d, l.after, 0, slot)
}

// Run handles events until none is left or the next one lies after end, at most limit of them, and reports whether there
// may be more before end. The clock then stands at the last event, or at end.
func (l *Loop) Run(end Time, limit int) (more bool) {
	for range limit {
		e, ok := l.queue.pop(end)
		if !ok {
			l.now = end
			return false
		}
		l.now = e.At
		l.done++
		l.counts[e.Of]++
		l.hash = (l.hash ^ uint64(e.At)) * 1099511628211
		l.hash = (l.hash ^ (e.Arg ^ uint64(e.Who)<<32 ^ uint64(e.Of)<<16)) * 1099511628211
		l.handlers[e.Of](e)
	}
	return true
}
