package fair

import (
	"math"
	"slices"

	"github.com/shoal-fabric/shoal"
)

// Config is a queue's settings.
type Config struct {
	Total    int                      // tasks that may wait
	PerOwner int                      // tasks of one owner that may wait
	Slots    int                      // tasks served at once; for estimates
	Weights  map[shoal.PeerID]float64 // an owner's part relative to others'; 1 for whoever is absent
}

// Item is a task in the queue, or one that left it to be served.
type Item[T any] struct {
	Owner  shoal.PeerID
	Value  T
	flow   *flow[T]
	charge float64 // seconds it is expected to take, while it is served
	state  state
}

type state uint8

const (
	waiting state = iota
	serving
	gone
)

// flow is what is known of one owner.
type flow[T any] struct {
	owner  shoal.PeerID
	weight float64
	line   []*Item[T]
	served int     // tasks being served
	charge float64 // seconds they are expected to take
	end    float64 // virtual time up to which it has had its part, by the tasks that have ended
	mean   float64 // seconds of its recent tasks, 0 unknown
	since  uint64  // when its line began, for the order among equal tags
}

// Queue holds the tasks that wait on one node.
type Queue[T any] struct {
	cfg   Config
	flows map[shoal.PeerID]*flow[T]
	order []*flow[T] // the same, in order of arrival
	now   float64    // virtual time: the highest start tag served
	count uint64     // of lines begun
	len   int
	busy  int     // tasks being served
	mean  float64 // seconds of recent tasks, 0 unknown
}

// firstCharge is what a task is charged before any has ended.
const firstCharge = 1.0

// New makes an empty queue.
func New[T any](cfg Config) *Queue[T] {
	cfg.PerOwner = min(cfg.PerOwner, cfg.Total)
	return &Queue[T]{cfg: cfg, flows: map[shoal.PeerID]*flow[T]{}}
}

// Weight is an owner's weight.
func (q *Queue[T]) Weight(owner shoal.PeerID) float64 {
	if w, ok := q.cfg.Weights[owner]; ok && ValidWeight(w) {
		return w
	}
	return 1
}

// ValidWeight reports whether w can be an owner's weight.
func ValidWeight(w float64) bool { return w >= 1e-3 && w <= 1e6 }

// Len is how many tasks wait, Mean the seconds that recent ones were served (0: none was).
func (q *Queue[T]) Len() int      { return q.len }
func (q *Queue[T]) Mean() float64 { return q.mean }

// Waiting is how many of an owner's tasks wait.
func (q *Queue[T]) Waiting(owner shoal.PeerID) int {
	if f := q.flows[owner]; f != nil {
		return len(f.line)
	}
	return 0
}

// Push has a task wait. A nil item: it may not. pushed, if not nil, is the task that had to make way.
func (q *Queue[T]) Push(owner shoal.PeerID, v T) (item, pushed *Item[T]) {
	if q.Left(owner) <= 0 {
		return nil, nil
	}
	if q.len >= q.cfg.Total {
		most := q.longest()
		pushed = most.line[len(most.line)-1]
		q.Remove(pushed)
	}
	f := q.flows[owner]
	if f == nil {
		f = &flow[T]{owner: owner, weight: q.Weight(owner), end: q.now}
		q.flows[owner] = f
		q.order = append(q.order, f)
	}
	if len(f.line) == 0 {
		f.end = max(f.end, q.now-f.charge/f.weight)
		f.since = q.count
		q.count++
	}
	item = &Item[T]{Owner: owner, Value: v, flow: f}
	f.line = append(f.line, item)
	q.len++
	return item, pushed
}

// Left is how many more tasks of an owner may wait now, as far as the owner's bound goes; 0: none.
func (q *Queue[T]) Left(owner shoal.PeerID) int {
	n := q.Waiting(owner)
	left := q.cfg.PerOwner - n
	if q.len < q.cfg.Total || left <= 0 {
		return max(left, 0)
	}
	if most := q.longest(); most != nil && most.owner != owner && float64(n+1)/q.Weight(owner) < most.crowd() {
		return left
	}
	return 0
}

// crowd is how many tasks an owner has waiting for its weight.
func (f *flow[T]) crowd() float64 { return float64(len(f.line)) / f.weight }

// longest is the owner with most waiting for its weight; nil when nobody waits.
func (q *Queue[T]) longest() (most *flow[T]) {
	for _, f := range q.order {
		if len(f.line) > 0 && (most == nil || f.crowd() > most.crowd() || f.crowd() == most.crowd() && f.since > most.since) {
			most = f
		}
	}
	return most
}

// Remove takes a waiting task out; false when it no longer waits.
func (q *Queue[T]) Remove(item *Item[T]) bool {
	if item.state != waiting {
		return false
	}
	item.state = gone
	f := item.flow
	f.line = slices.DeleteFunc(f.line, func(i *Item[T]) bool { return i == item })
	q.len--
	q.tidy(f)
	return true
}

// Pop takes out the task that is next and begins to serve it; nil when none waits. The caller calls
// Done.
func (q *Queue[T]) Pop() *Item[T] {
	var f *flow[T]
	for _, other := range q.order { // as many as owners that wait or were served lately
		if len(other.line) > 0 && (f == nil || before(other, f)) {
			f = other
		}
	}
	if f == nil {
		return nil
	}
	item := f.line[0]
	f.line[0] = nil
	f.line = f.line[1:]
	q.len--
	q.busy++
	f.served++
	item.state, item.charge = serving, q.expect(f)
	f.charge += item.charge
	q.now = max(q.now, f.end) // a guess must not get into it: it never goes back
	return item
}

// tag is the start tag of the head of an owner's line.
func (f *flow[T]) tag() float64 { return f.end + f.charge/f.weight }

// before orders owners by the start tags of their heads.
func before[T any](a, b *flow[T]) bool {
	if a.tag() != b.tag() {
		return a.tag() < b.tag()
	}
	return a.since < b.since
}

// expect is what a task of an owner will probably take.
func (q *Queue[T]) expect(f *flow[T]) float64 {
	switch {
	case f.mean > 0:
		return f.mean
	case q.mean > 0:
		return q.mean
	}
	return firstCharge
}

// Done says that a task has ended after so many seconds; 0: it never ran, which costs nothing and
// teaches nothing.
func (q *Queue[T]) Done(item *Item[T], seconds float64) {
	if item.state != serving {
		return
	}
	if seconds < 0 || math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		seconds = 0
	}
	item.state = gone
	f := item.flow
	f.end += seconds / f.weight
	if f.charge -= item.charge; f.served == 1 {
		f.charge = 0 // whatever rounding left
	}
	if seconds > 0 {
		learn(&f.mean, seconds)
		learn(&q.mean, seconds)
	}
	f.served--
	q.busy--
	q.tidy(f)
}

func learn(mean *float64, seconds float64) {
	if *mean == 0 {
		*mean = seconds
	}
	*mean += (seconds - *mean) / 8
}

// tidy forgets owners that have nothing here and are owed nothing. With nobody here virtual time
// begins anew.
func (q *Queue[T]) tidy(f *flow[T]) {
	if len(f.line)+f.served > 0 {
		return
	}
	if q.len+q.busy == 0 {
		clear(q.flows)
		q.order, q.now = nil, 0
		return
	}
	q.order = slices.DeleteFunc(q.order, func(g *flow[T]) bool {
		idle := len(g.line)+g.served == 0 && g.end <= q.now
		if idle {
			delete(q.flows, g.owner)
		}
		return idle
	})
}
