package cast

import (
	"sort"

	"github.com/shoal-fabric/shoal/pubsub/topic"
)

const (
	leastSegment = 4 << 10 // bytes
	mostSegment  = 256 << 10
)

// ring keeps a publisher's recent messages as records, in segments of which the oldest are dropped. It is the only buffer there is:
// who is served by a stream is a place in it, and what is cut out of it needs no copy, for a segment's bytes never change.
type ring struct {
	segments    []*segment // the oldest first
	first, next uint64     // kept are those from first on; the next message gets next
	bytes       int        // of all segments
}

type segment struct {
	first uint64
	buf   []byte // its capacity never grows
	ends  []int  // where each record ends
}

func newRing() ring { return ring{first: 1, next: 1} }

// add keeps m, which has gotten its number, and returns how many bytes more the ring has now.
func (r *ring) add(m *topic.Message, self string) (grown int) {
	size := m.Size() // more than the record takes: 64 are for a dozen bytes of lengths and flags
	var s *segment
	if n := len(r.segments); n > 0 {
		s = r.segments[n-1]
	}
	if s == nil || cap(s.buf)-len(s.buf) < size || len(s.ends) >= maxMessages {
		grown = max(size, min(max(r.bytes/4, leastSegment), mostSegment))
		s = &segment{first: r.next, buf: make([]byte, 0, grown)}
		r.segments = append(r.segments, s)
		r.bytes += grown
	}
	s.buf = appendRecord(s.buf, m, self)
	s.ends = append(s.ends, len(s.buf))
	r.next++
	return grown
}

// drop forgets the oldest segment, unless it is the only one, and returns how many bytes that were.
func (r *ring) drop() int {
	if len(r.segments) < 2 {
		return 0
	}
	gone := cap(r.segments[0].buf)
	r.segments[0] = nil
	r.segments = r.segments[1:]
	r.first = r.segments[0].first
	r.bytes -= gone
	return gone
}

// clear forgets all, and returns how many bytes that were.
func (r *ring) clear() int {
	gone := r.bytes
	r.segments, r.first, r.bytes = nil, r.next, 0
	return gone
}

// cut returns the messages from seq on, or from the oldest, of which the records take up to limit bytes, at least one if there is one.
// They are of one segment: there may be more.
func (r *ring) cut(seq uint64, limit int) (first uint64, count int, b []byte) {
	seq = max(seq, r.first)
	if seq >= r.next {
		return r.next, 0, nil
	}
	i := sort.Search(len(r.segments), func(i int) bool { return r.segments[i].first > seq }) - 1
	s := r.segments[i]
	at, from := int(seq-s.first), 0
	if at > 0 {
		from = s.ends[at-1]
	}
	end := len(s.ends)
	if s.ends[end-1]-from > limit {
		end = max(sort.SearchInts(s.ends[at:], from+limit+1)+at, at+1)
	}
	to := s.ends[end-1]
	return seq, end - at, s.buf[from:to:to]
}

// since returns the oldest message made at that time (Unix milliseconds) or later.
func (r *ring) since(at int64) uint64 {
	seq := r.first
	for _, s := range r.segments {
		for b := s.buf; len(b) > 0; seq++ {
			var m topic.Message
			var ok bool
			if b, ok = readRecord(b, &m, ""); !ok || m.At >= at {
				return seq
			}
		}
	}
	return r.next
}
