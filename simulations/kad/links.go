package kad

// Links are the connections that nodes have open. A node keeps at most High; when there are so many, the oldest are closed down to
// Low, as the connection manager does. One goroutine owns it.
type Links struct {
	low, high int
	both      bool
	n         []uint8  // by node: how many
	peers     []uint32 // High for each node, the oldest first: a node, and above it the low bits of its life
	life      []uint8  // by node: grows each time it goes down, which ends its connections
}

const nodeBits = 24 // of an entry

// NewLinks returns the links of n nodes, less than 1<<24 of them, none open. both says whether those who are dialled
// note the connection as well: it costs nothing but room in their lists, which at a million nodes nobody would find it in again.
func NewLinks(n, low, high int, both bool) *Links {
	return &Links{low: low, high: high, both: both, n: make([]uint8, n), peers: make([]uint32, n*high), life: make([]uint8, n)}
}

// Open reports whether a has a connection to b.
func (l *Links) Open(a, b uint32) bool {
	want := b | uint32(l.life[b])<<nodeBits
	at := int(a) * l.high
	return contains(l.peers[at:at+int(l.n[a])], want)
}

// Dial notes a connection from a to b.
func (l *Links) Dial(a, b uint32) {
	l.note(a, b)
	if l.both {
		l.note(b, a)
	}
}

func (l *Links) note(a, b uint32) {
	at, n := int(a)*l.high, int(l.n[a])
	list := l.peers[at : at+l.high]
	if n == l.high {
		n = copy(list, list[l.high-l.low:])
	}
	list[n] = b | uint32(l.life[b])<<nodeBits
	l.n[a] = uint8(n + 1)
}

// Count returns how many connections a has noted.
func (l *Links) Count(a uint32) int { return int(l.n[a]) }

// Down ends all connections of a node.
func (l *Links) Down(a uint32) {
	l.n[a] = 0
	l.life[a]++
}
