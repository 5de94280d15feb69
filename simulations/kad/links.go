package kad

import (
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

	// Advise is told of large arrays that are read all over, as they are made, for advice to the system; nil: nobody is.
	Advise func(array any)
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

// Dial notes a connection from a to b.
func (l *Links) Dial(a, b uint32) {
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
	list := l.list(e)
	drop := 0
	if l.now != nil {
		now = uint32(l.now().Milliseconds())
		drop = l.past(a, now)
		times := l.times(e)
		_ = append(times[:copy(times, times[drop:])], now)
	} else if len(list) == l.high {
		drop = l.high - l.low
	}
	list = append(list[:copy(list, list[drop:])], b|uint32(l.ends[b].life)<<nodeBits)
	e.n = uint8(len(list))
}

// past returns how many connections of a, the oldest, are closed.
func (l *Links) past(a, now uint32) int {
	times := l.times(&l.ends[a])
	if len(times) >= l.high && now-l.looked[a] >= uint32(l.pause.Milliseconds()) {
		l.looked[a] = now
		old, _ := slices.BinarySearchFunc(times, uint32(l.grace.Milliseconds()), func(born, grace uint32) int {
			if now-born >= grace {
				return -1
			}
			return 1
		})
		if old > l.low {
			return old - l.low
		}
	}
	if len(times) == l.room {
		return 1
	}
	return 0
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

// Count returns how many connections a has noted.
func (l *Links) Count(a uint32) int { return int(l.ends[a].n) }

// Down ends all connections of a node.
func (l *Links) Down(a uint32) {
	e := &l.ends[a]
	e.n = 0
	e.life++
}
