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
	at      int    // of bucket 0: events before it are gone
	buckets [64][]Event
}

func (q *radix) push(e Event) {
	i := bits.Len64(uint64(e.At ^ q.last))
	q.buckets[i] = append(q.buckets[i], e)
	q.full |= 1 << i
	q.n++
}

// pop takes the next event if it does not lie after end.
func (q *radix) pop(end Time) (e Event, ok bool) {
	if q.full&1 == 0 && !q.deal(end) || q.last > end {
		return e, false
	}
	list := q.buckets[0]
	e = list[q.at]
	if q.at++; q.at == len(list) {
		q.buckets[0], q.at = list[:0], 0
		q.full &^= 1
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
	list := q.buckets[i]
	last := list[0].At
	for k := range list {
		last = min(last, list[k].At)
	}
	if last > end {
		return false
	}
	q.last = last
	q.full &^= 1 << i
	for k := range list {
		j := bits.Len64(uint64(list[k].At ^ last))
		q.buckets[j] = append(q.buckets[j], list[k])
		q.full |= 1 << j
	}
	if cap(list) > 1<<12 && len(list) < cap(list)/4 {
		q.buckets[i] = nil // it was large once
	} else {
		q.buckets[i] = list[:0]
	}
	return true
}
