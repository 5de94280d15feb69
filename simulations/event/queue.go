package event

import "math/bits"

// radix is a queue for times that never lie before that of the event taken last (Ahuja, Mehlhorn, Orlin and Tarjan 1990).
// Bucket i holds the events whose times differ from that one in bit i-1 and in no higher one. When bucket 0 is empty, the events of
// the first bucket that is not are dealt out anew, relative to the earliest of them, into buckets below: lists are read
// and written from begin to end, which is 1.6 to 2 times as fast as a heap of four children a node, whose every level
// is another miss of the cache. Events of one time are always in one bucket, in the order in which they were added.
type radix struct {
	n       int
	last    Time
	full    uint64 // a bit for each bucket that has events; bucket 64 is not used, times being positive
	at      int    // of the first block of bucket 0: events before it are gone
	buckets [64]list
	free    *block
	soon    func([]Event) // see Loop.Soon
}

// So many events of a bucket that is dealt out are shown to soon: the cache holds what they need, and fetching is worth it.
const fewest, most = 12, 64

// list is blocks of events, the first added first.
type list struct{ first, last *block }

// block is a piece of a list, 12 KiB: lists grow without being copied, and what one leaves another takes.
type block struct {
	n    int
	next *block
	e    [512]Event
}

func (q *radix) push(e Event) {
	i := bits.Len64(uint64(e.At ^ q.last))
	q.append(i, e)
	q.n++
}

func (q *radix) append(i int, e Event) {
	l := &q.buckets[i]
	b := l.last
	if b == nil || b.n == len(b.e) {
		b = q.block()
		if l.last == nil {
			l.first = b
			q.full |= 1 << i
		} else {
			l.last.next = b
		}
		l.last = b
	}
	b.e[b.n] = e
	b.n++
}

func (q *radix) block() *block {
	b := q.free
	if b == nil {
		return &block{}
	}
	q.free, b.next, b.n = b.next, nil, 0
	return b
}

// pop takes the next event if it does not lie after end.
func (q *radix) pop(end Time) (e Event, ok bool) {
	if q.full&1 == 0 && !q.deal(end) || q.last > end {
		return e, false
	}
	l := &q.buckets[0]
	b := l.first
	e = b.e[q.at]
	if q.at++; q.at == b.n {
		q.at = 0
		if l.first = b.next; l.first == nil {
			l.last = nil
			q.full &^= 1
		}
		b.next, q.free = q.free, b
	}
	q.n--
	return e, true
}

// deal fills bucket 0, which is empty. If there is nothing up to end it changes nothing, for what is added later may lie before the
// events that there are.
func (q *radix) deal(end Time) bool {
	if q.full == 0 {
		return false
	}
	i := bits.TrailingZeros64(q.full)
	first := q.buckets[i].first
	last := first.e[0].At
	for b := first; b != nil; b = b.next {
		for k := range b.e[:b.n] {
			last = min(last, b.e[k].At)
		}
	}
	if last > end {
		return false
	}
	if q.soon != nil && first.next == nil && first.n >= fewest && first.n <= most {
		q.soon(first.e[:first.n])
	}
	q.last = last
	q.full &^= 1 << i
	q.buckets[i] = list{}
	for b := first; b != nil; {
		for k := range b.e[:b.n] {
			q.append(bits.Len64(uint64(b.e[k].At^last)), b.e[k])
		}
		next := b.next
		b.next, q.free = q.free, b
		b = next
	}
	return true
}
