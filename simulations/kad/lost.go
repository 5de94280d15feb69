package kad

import "math/bits"

// losses are the contacts that owners of tables asked in vain: a hash table for each owner, with linear probing, in arrays of numbers that
// all owners share. It is looked into for each contact that a lookup hears of, hundreds of times a lookup, and a million nodes have
// tens of millions of entries: one line of the cache answers, as a rule, and the collector has nothing to look at.
type losses struct {
	owners []owner
	chunks [][]uint32        // of blocks
	end    uint32            // lines of the chunks that were given out
	free   [classes][]uint32 // blocks that are free, by class
	turn   uint8             // grows with each turn; what is noted in one is remembered until lostTurns more have ended
	spare  []uint32          // for rehash
	advise func(any)         // see Links.Advise
}

// owner is the table of one.
type owner struct {
	some  uint64 // bits of the contacts that are remembered, by their last bits: 0 as a rule
	block uint32 // its first line
	size  uint32 // 0: no block; else the entries, old ones too, above 5 bits for the class plus one
}

const (
	lineBits  = 4 // of entries in a line of the cache
	chunkBits = 20
	classes   = chunkBits - lineBits + 1 // a block of class c has 1<<c lines; one of all a chunk has is for 780,000 lost by one within half an hour
)

func newLosses(n int) losses { return losses{owners: make([]owner, n), turn: 1} }

// fresh reports whether an entry is one that is remembered; 0 is none. An entry is a contact plus one, and above it the turn when it
// was noted.
func (l *losses) fresh(e uint32) bool { return e != 0 && l.turn-uint8(e>>nodeBits) <= lostTurns }

// block returns an owner's entries, a power of two of them.
func (l *losses) block(o *owner) []uint32 {
	at := o.block << lineBits & (1<<chunkBits - 1)
	return l.chunks[o.block>>(chunkBits-lineBits)][at:][:1<<(lineBits+o.size&31-1)]
}

// slot returns where contact b is in a block, or else the empty entry behind those that it might have been among.
func slot(in []uint32, b uint32) int {
	mask := len(in) - 1
	i := int((b+1)*0x9E3779B1>>8) & mask
	for in[i] != 0 && in[i]&(1<<nodeBits-1) != b+1 {
		i = (i + 1) & mask
	}
	return i
}

func (l *losses) has(a, b uint32) bool {
	o := &l.owners[a]
	if o.some>>(b&63)&1 == 0 {
		return false
	}
	in := l.block(o)
	return l.fresh(in[slot(in, b)])
}

func (l *losses) add(a, b uint32) {
	o := &l.owners[a]
	if o.size == 0 {
		l.take(o, 0)
	}
	in := l.block(o)
	i := slot(in, b)
	if in[i] == 0 {
		if used := int(o.size >> 5); used+1 > len(in)/4*3 {
			l.rehash(o, 1)
			in = l.block(o)
			i = slot(in, b)
		}
		o.size += 1 << 5
	}
	in[i] = b + 1 | uint32(l.turn)<<nodeBits
	o.some |= 1 << (b & 63)
}

// rehash leaves those that are remembered, in a block that has room for so many more.
func (l *losses) rehash(o *owner, more int) {
	old := l.block(o)
	l.spare = l.spare[:0]
	for i, e := range old {
		if l.fresh(e) {
			l.spare = append(l.spare, e)
		}
		old[i] = 0
	}
	class := o.size&31 - 1
	fit := uint32(0)
	if n := len(l.spare) + more; n > 1<<lineBits/4*3 {
		fit = uint32(bits.Len(uint((n*4+2)/3-1))) - lineBits // three quarters full at most
	}
	if fit != class {
		l.free[class] = append(l.free[class], o.block)
		l.take(o, fit)
	} else {
		o.size = class + 1
	}
	if len(l.spare)+more == 0 {
		l.free[0] = append(l.free[0], o.block)
		o.size, o.some = 0, 0
		return
	}
	in := l.block(o)
	o.some = 0
	for _, e := range l.spare {
		b := e&(1<<nodeBits-1) - 1
		o.some |= 1 << (b & 63)
		in[slot(in, b)] = e
	}
	o.size += uint32(len(l.spare)) << 5
}

// take gives o an empty block.
func (l *losses) take(o *owner, class uint32) {
	o.size = class + 1
	if f := l.free[class]; len(f) > 0 {
		o.block = f[len(f)-1]
		l.free[class] = f[:len(f)-1]
		return
	}
	const lines = 1 << (chunkBits - lineBits)
	n := uint32(1) << class
	if room := uint32(len(l.chunks))*lines - l.end; room < n {
		for ; room > 0; room-- { // what is left of the last chunk goes to small blocks
			l.free[0] = append(l.free[0], l.end)
			l.end++
		}
		l.chunks = append(l.chunks, make([]uint32, 1<<chunkBits))
		if l.advise != nil {
			l.advise(l.chunks[len(l.chunks)-1])
		}
	}
	o.block = l.end
	l.end += n
}

// forget begins the next turn.
func (l *losses) forget() {
	l.turn++
	for a := range l.owners {
		if o := &l.owners[a]; o.size != 0 {
			l.rehash(o, 0) // or the oldest would be of this turn again when turns have come round
		}
	}
}
