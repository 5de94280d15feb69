package kad

import (
	"math/bits"
	"slices"
	"time"
)

// Links are the connections that nodes have open. When a node has High, the oldest are closed down to Low; with Keep, not at once, but
// those only that are past the grace, when it is time to look, as libp2p's connection manager does. One goroutine owns it.
type Links struct {
	low, high int
	room      int // entries of a list
	both      bool
	ends      []end      // by node
	rows      [][]uint32 // rowsEach lists of room entries each, for those who have connections, in the order in which they had their first
	used      uint32     // rows given out

	now          func() time.Duration // nil: no grace
	grace, pause time.Duration
	born         [][]uint32 // as rows: when each was noted, in milliseconds
	looked       []uint32   // by node: when it was last looked at what to close, in milliseconds
	met          acquaintances

	// Worth says what a connection of a to b is worth to a, among those past the grace; nil: all are alike.
	Worth func(a, b uint32) Worth

	// Opened counts the connections that were noted.
	Opened uint64

	// Advise is told of large arrays that are read all over, as they are made, for advice to the system; nil: nobody is.
	Advise func(array any)
}

// Worth is what a connection is worth to a node.
type Worth uint8

// What kad-dht has the connection manager think of a peer.
const (
	Passing   Worth = iota // it is not in the routing table
	Useful                 // it is
	Protected              // in the first two buckets of it

	ended
)

// protectedBuckets is kad-dht's.
const protectedBuckets = 2

// WorthIn returns what connections are worth to those whose routing tables t are.
func WorthIn(s *Space, t Tables, now func() time.Duration) func(a, b uint32) Worth {
	return func(a, b uint32) Worth {
		switch {
		case !t.Has(a, b, now()):
			return Passing
		case bits.LeadingZeros64(s.ids[a]^s.ids[b]) < protectedBuckets:
			return Protected
		}
		return Useful
	}
}

// end is what there is of one node.
type end struct {
	row  uint32 // where its list is, plus one; 0: it has none
	n    uint8  // connections noted
	life uint8  // grows each time the node goes down, which ends its connections
}

const (
	nodeBits = 24 // of an entry: a node, and above it the low bits of its life
	rowBits  = 16
	rowsEach = 1 << rowBits
	mostOpen = 255 // of a node: the connections beyond are the oldest, and closed
)

// NewLinks returns the links of n nodes, less than 1<<24 of them, none open. both says whether those who are dialled
// note the connection as well: it costs nothing but room in their lists, which at a million nodes nobody would find it in again.
func NewLinks(n, low, high int, both bool) *Links {
	return &Links{low: low, high: high, room: high, both: both, ends: make([]end, n)}
}

// Keep has connections stay open for a grace whatever their number, and looks for what to close once in a pause. It is called before any
// is noted, and takes two kilobytes a node.
func (l *Links) Keep(grace, pause time.Duration, now func() time.Duration) {
	l.now, l.grace, l.pause, l.room = now, grace, pause, mostOpen
	l.looked = make([]uint32, len(l.ends))
}

// list returns the connections of a node, the oldest first, and room for High.
func (l *Links) list(e *end) []uint32 {
	row := e.row - 1
	at := int(row&(rowsEach-1)) * l.room
	return l.rows[row>>rowBits][at : at+int(e.n) : at+l.room]
}

// times returns when each of them was noted.
func (l *Links) times(e *end) []uint32 {
	row := e.row - 1
	at := int(row&(rowsEach-1)) * l.room
	return l.born[row>>rowBits][at : at+int(e.n) : at+l.room]
}

// Open reports whether a has a connection to b.
func (l *Links) Open(a, b uint32) bool {
	e := &l.ends[a]
	if e.n == 0 {
		return false
	}
	for _, x := range l.list(e) {
		if x&(1<<nodeBits-1) == b && uint8(x>>nodeBits) == l.ends[b].life { // what b is in is looked at only if need be
			return true
		}
	}
	return false
}

// Hangs reports whether a had a connection to b when b went down last: a finds out only when it hears nothing for long.
func (l *Links) Hangs(a, b uint32) bool {
	e := &l.ends[a]
	return e.n > 0 && slices.Contains(l.list(e), b|uint32(l.ends[b].life-1)<<nodeBits)
}

// Dial notes a connection from a to b.
func (l *Links) Dial(a, b uint32) {
	l.Opened++
	l.meet(a, b)
	l.note(a, b)
	if l.both {
		l.note(b, a)
	}
}

func (l *Links) note(a, b uint32) {
	e := &l.ends[a]
	if e.row == 0 {
		if l.used&(rowsEach-1) == 0 {
			l.grow()
		}
		l.used++
		e.row = l.used
	}
	var now uint32
	if l.now != nil {
		now = uint32(l.now().Milliseconds())
		l.trim(a, now)
	} else if int(e.n) == l.high {
		for range l.high - l.low {
			l.end(a, 0)
		}
	}
	e.n++
	l.list(e)[e.n-1] = b | uint32(l.ends[b].life)<<nodeBits
	if l.now != nil {
		l.times(e)[e.n-1] = now
	}
}

// trim closes the connections of a that are too many, as libp2p's connection manager does: of those past the grace, and not worth to be
// kept whatever their number, all but Low; the oldest of those of the least worth first.
func (l *Links) trim(a, now uint32) {
	e := &l.ends[a]
	if int(e.n) >= l.high && now-l.looked[a] >= uint32(l.pause.Milliseconds()) {
		l.looked[a] = now
		l.prune(e)
		old, _ := slices.BinarySearchFunc(l.times(e), uint32(l.grace.Milliseconds()), func(born, grace uint32) int {
			if now-born >= grace {
				return -1
			}
			return 1
		})
		if int(e.n) >= l.high && old > l.low {
			l.trimOld(a, old)
		}
	}
	if int(e.n) == l.room {
		l.prune(e)
	}
	if int(e.n) == l.room {
		l.end(a, 0)
	}
}

// trimOld closes what is too many of the first connections of a, which are past the grace.
func (l *Links) trimOld(a uint32, old int) {
	var worth [mostOpen]Worth
	over := -l.low
	for i, x := range l.list(&l.ends[a])[:old] {
		if l.Worth != nil {
			worth[i] = l.Worth(a, x&(1<<nodeBits-1))
		}
		if worth[i] != Protected {
			over++
		}
	}
	for _, w := range []Worth{Passing, Useful} {
		for i := 0; i < old && over > 0; i++ {
			if worth[i] == w {
				worth[i] = ended
				over--
			}
		}
	}
	for i := old - 1; i >= 0; i-- {
		if worth[i] == ended {
			l.end(a, i)
		}
	}
}

// end closes a connection of a, at both ends if both have noted it.
func (l *Links) end(a uint32, i int) {
	e := &l.ends[a]
	if l.both {
		x := l.list(e)[i]
		if far := &l.ends[x&(1<<nodeBits-1)]; uint8(x>>nodeBits) == far.life && far.n > 0 {
			if j := slices.Index(l.list(far), a|uint32(e.life)<<nodeBits); j >= 0 {
				l.cut(far, j)
			}
		}
	}
	l.cut(e, i)
}

// prune drops the connections to nodes that have gone down since.
func (l *Links) prune(e *end) {
	for i := int(e.n) - 1; i >= 0; i-- {
		if x := l.list(e)[i]; uint8(x>>nodeBits) != l.ends[x&(1<<nodeBits-1)].life {
			l.cut(e, i)
		}
	}
}

// cut takes an entry out of a list.
func (l *Links) cut(e *end, i int) {
	list := l.list(e)
	copy(list[i:], list[i+1:])
	if l.now != nil {
		times := l.times(e)
		copy(times[i:], times[i+1:])
	}
	e.n--
}

func (l *Links) grow() {
	left := min(len(l.ends)-len(l.rows)*rowsEach, rowsEach)
	l.rows = append(l.rows, make([]uint32, left*l.room))
	if l.now != nil {
		l.born = append(l.born, make([]uint32, left*l.room))
	}
	if l.Advise != nil {
		l.Advise(l.rows[len(l.rows)-1])
	}
}

// Count returns how many connections a has, to nodes that are up.
func (l *Links) Count(a uint32) int {
	e := &l.ends[a]
	if e.n > 0 {
		l.prune(e)
	}
	return int(e.n)
}

// Of appends the up to n nodes to which a has had connections for longest.
func (l *Links) Of(a uint32, n int, out []uint32) []uint32 {
	if n = min(l.Count(a), n); n == 0 {
		return out // it may never have had any
	}
	for _, x := range l.list(&l.ends[a])[:n] {
		out = append(out, x&(1<<nodeBits-1))
	}
	return out
}

// Noted returns how many connections a has noted, some of which may be to nodes that have gone down. It reads one word.
func (l *Links) Noted(a uint32) int { return int(l.ends[a].n) }

// Part ends the connections of a to nodes of which gone says so; those that only the other end has noted stay.
func (l *Links) Part(a uint32, gone func(b uint32) bool) {
	e := &l.ends[a]
	l.prune(e)
	for i := int(e.n) - 1; i >= 0; i-- {
		if gone(l.list(e)[i] & (1<<nodeBits - 1)) {
			l.end(a, i)
		}
	}
}

// Down ends all connections of a node.
func (l *Links) Down(a uint32) {
	e := &l.ends[a]
	e.n = 0
	e.life++
}
