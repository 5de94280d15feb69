package kad

// Links are the connections that nodes have open. A node keeps at most High; when there are so many, the oldest are closed down to
// Low, as the connection manager does. One goroutine owns it.
type Links struct {
	low, high int
	both      bool
	ends      []end      // by node
	rows      [][]uint32 // rowsEach lists of High entries each, for those who have connections, in the order in which they had their first
	used      uint32     // rows given out

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
)

// NewLinks returns the links of n nodes, less than 1<<24 of them, none open. both says whether those who are dialled
// note the connection as well: it costs nothing but room in their lists, which at a million nodes nobody would find it in again.
func NewLinks(n, low, high int, both bool) *Links {
	return &Links{low: low, high: high, both: both, ends: make([]end, n)}
}

// list returns the connections of a node, the oldest first, and room for High.
func (l *Links) list(e *end) []uint32 {
	row := e.row - 1
	at := int(row&(rowsEach-1)) * l.high
	return l.rows[row>>rowBits][at : at+int(e.n) : at+l.high]
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
	list := l.list(e)
	if len(list) == l.high {
		list = list[:copy(list, list[l.high-l.low:])]
	}
	list = append(list, b|uint32(l.ends[b].life)<<nodeBits)
	e.n = uint8(len(list))
}

func (l *Links) grow() {
	left := min(len(l.ends)-len(l.rows)*rowsEach, rowsEach)
	l.rows = append(l.rows, make([]uint32, left*l.high))
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
