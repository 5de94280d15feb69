package kad

// losses are the contacts that owners of tables asked in vain: a list for each owner, in pieces of a line of the cache, as they are
// looked through at each lookup and a million nodes have millions of them. A piece that is full of those that are forgotten is
// used again.
type losses struct {
	owners []owner
	chunks [][]uint32       // of pieces
	used   uint32           // pieces given out
	turn   uint8            // grows with each turn; what is noted in one is remembered until lostTurns more have ended
	most   int              // pieces of an owner
	rest   map[uint64]uint8 // of owners that have as many: owner and contact, and the turn
	advise func(any)        // see Links.Advise
}

type owner struct {
	some uint64 // bits of the contacts that are remembered, by their last bits: 0 as a rule
	list uint32 // its last piece, plus one; 0: it has none
}

// piece is some entries, each a contact plus one and above it the turn when it was noted, and at the end the piece before it, plus one.
type piece [16]uint32

const (
	pieceEnd  = len(piece{}) - 1
	chunkBits = 16 // of pieces in a chunk
	// So many pieces are looked through; what more an owner has lost, who looks up a lot, is in a map, where an entry takes several times as much.
	// With four, a million machines had lost 430 MB after eleven minutes of coming and going.
	mostPieces = 12
)

func newLosses(n int) losses {
	return losses{owners: make([]owner, n), most: mostPieces, rest: map[uint64]uint8{}, turn: 1}
}

// piece returns one by its number plus one.
func (l *losses) piece(i uint32) *piece {
	i--
	at := int(i&(1<<chunkBits-1)) * len(piece{})
	return (*piece)(l.chunks[i>>chunkBits][at:])
}

// fresh reports whether an entry is one that is remembered; 0 is none.
func (l *losses) fresh(e uint32) bool { return e != 0 && l.turn-uint8(e>>nodeBits) <= lostTurns }

func (l *losses) has(a, b uint32) bool {
	o := &l.owners[a]
	if o.some>>(b&63)&1 == 0 {
		return false
	}
	pieces := 0
	for i := o.list; i != 0; pieces++ {
		p := l.piece(i)
		for _, e := range p[:pieceEnd] {
			if e&(1<<nodeBits-1) == b+1 && l.fresh(e) {
				return true
			}
		}
		i = p[pieceEnd]
	}
	if pieces == l.most {
		turn, ok := l.rest[uint64(a)<<32|uint64(b)]
		return ok && l.turn-turn <= lostTurns
	}
	return false
}

func (l *losses) add(a, b uint32) {
	o := &l.owners[a]
	o.some |= 1 << (b & 63)
	var room *uint32
	pieces := 0
	for i := o.list; i != 0; pieces++ {
		p := l.piece(i)
		for k := range p[:pieceEnd] {
			switch e := &p[k]; {
			case !l.fresh(*e):
				room = e
			case *e&(1<<nodeBits-1) == b+1:
				*e = b + 1 | uint32(l.turn)<<nodeBits
				return
			}
		}
		i = p[pieceEnd]
	}
	if room == nil && pieces == l.most {
		l.rest[uint64(a)<<32|uint64(b)] = l.turn
		return
	}
	if room == nil {
		if l.used&(1<<chunkBits-1) == 0 {
			l.chunks = append(l.chunks, make([]uint32, len(piece{})<<chunkBits))
			if l.advise != nil {
				l.advise(l.chunks[len(l.chunks)-1])
			}
		}
		l.used++
		p := l.piece(l.used)
		p[pieceEnd], o.list = o.list, l.used
		room = &p[0]
	}
	*room = b + 1 | uint32(l.turn)<<nodeBits
}

// forget begins the next turn.
func (l *losses) forget() {
	l.turn++
	for a := range l.owners {
		o := &l.owners[a]
		if o.some == 0 {
			continue
		}
		o.some = 0
		for i := o.list; i != 0; {
			p := l.piece(i)
			for k, e := range p[:pieceEnd] {
				if l.fresh(e) {
					o.some |= 1 << ((e - 1) & 63)
				} else {
					p[k] = 0 // or it would be of this turn again when turns have come round
				}
			}
			i = p[pieceEnd]
		}
	}
	for k, turn := range l.rest { // nothing depends on the order
		if l.turn-turn <= lostTurns {
			l.owners[k>>32].some |= 1 << (k & 63)
		} else {
			delete(l.rest, k)
		}
	}
}
