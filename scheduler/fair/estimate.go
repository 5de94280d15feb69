package fair

import (
	"time"

	"github.com/shoal-fabric/shoal"
)

// Ahead says how many tasks would be served before the next one of an owner, and how many seconds they
// take, if nobody else comes. For an owner with a short line that is far less than the queue holds.
func (q *Queue[T]) Ahead(owner shoal.PeerID) (tasks int, seconds float64) {
	own, tag, since := q.flows[owner], q.now, q.count
	if own != nil {
		if tag = own.tag(); len(own.line) == 0 {
			tag = max(tag, q.now)
		} else {
			since = own.since
			each := q.expect(own)
			tasks, seconds = len(own.line), float64(len(own.line))*each
			charge := own.charge
			for range own.line {
				charge += each
			}
			tag = own.end + charge/own.weight // of the task asked about
		}
	}
	for _, f := range q.order {
		if f == own {
			continue
		}
		each, charge := q.expect(f), f.charge
		for range f.line { // summed up as Pop does, so that equal tags come out equal
			if at := f.end + charge/f.weight; at > tag || at == tag && f.since > since {
				break
			}
			tasks++
			seconds += each
			charge += each
		}
	}
	return tasks, seconds
}

// Serving is how many tasks are served, and how many seconds such tasks take in all.
func (q *Queue[T]) Serving() (tasks int, seconds float64) {
	for _, f := range q.order {
		seconds += float64(f.served) * q.expect(f)
	}
	return q.busy, seconds
}

// The bounds of RetryAfter.
const (
	minRetry = 50 * time.Millisecond
	maxRetry = 30 * time.Second
)

// RetryAfter is when to try again after a refusal: about when a quarter of the owner's line has been
// served, at the owner's part of the slots.
func (q *Queue[T]) RetryAfter(owner shoal.PeerID) time.Duration {
	weight := q.Weight(owner)
	all := weight
	mean := firstCharge / 20
	if q.mean > 0 {
		mean = q.mean
	}
	for _, f := range q.order {
		switch {
		case f.owner == owner:
			mean = q.expect(f)
		case len(f.line) > 0:
			all += f.weight
		}
	}
	seconds := float64(q.Waiting(owner)) / 4 * mean / float64(max(q.cfg.Slots, 1)) * all / weight
	return min(max(time.Duration(min(seconds, maxRetry.Seconds())*float64(time.Second)), minRetry), maxRetry)
}
