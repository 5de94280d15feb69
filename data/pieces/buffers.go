package pieces

import (
	"math/bits"
	"sync"

	"github.com/shoal-fabric/shoal/wire"
)

// Buffers are buffers for blocks, used again and again: fresh ones would cost more than hashing what is in
// them, in page faults and collections. The zero value is ready; a nil one makes fresh ones and keeps none.
type Buffers struct {
	classes [8]sync.Pool
}

// smallest is the content of the first class; the last one's is a whole block. Smaller buffers than half of
// it are not worth keeping.
const smallest = 16 << 10

// capacity is that of a class: with room for the head, else whole blocks would be in the next class.
func capacity(class int) int { return smallest<<class + HeadRoom }

// class returns the class that has room for n bytes, or -1.
func class(n int) int {
	if n <= smallest/2 || n > wire.MaxBlock+HeadRoom {
		return -1
	}
	return max(bits.Len(uint(max(n-HeadRoom, 1)-1))-bits.Len(uint(smallest-1)), 0)
}

// Get returns n bytes, with anything in them.
func (p *Buffers) Get(n int) []byte {
	k := class(n)
	if p == nil || k < 0 {
		return make([]byte, n)
	}
	if b, ok := p.classes[k].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, capacity(k))
}

// Put takes a buffer of Get back, which nobody may look at afterwards. It need not be called.
func (p *Buffers) Put(b []byte) {
	if p == nil || cap(b) < smallest {
		return
	}
	if k := class(cap(b)); k >= 0 && cap(b) == capacity(k) {
		p.classes[k].Put(&b)
	}
}
