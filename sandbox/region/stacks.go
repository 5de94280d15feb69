package region

import "sync"

// StackBytes is how large a stack is: address space, of which the system gives memory to what is touched.
const StackBytes = 32 << 20

// Stacks are call stacks for guests, outside Go's heap where the system allows. A few are kept for the next guests.
type Stacks struct {
	mu   sync.Mutex
	idle []Region
}

// Get returns a stack, of which the bytes are nil if the system has no room, or would give all of it at once.
func (s *Stacks) Get() (Region, []byte) {
	if !lazy {
		return Region{}, nil
	}
	s.mu.Lock()
	var r Region
	if n := len(s.idle); n > 0 {
		r, s.idle = s.idle[n-1], s.idle[:n-1]
	}
	s.mu.Unlock()
	return r, r.Resize(StackBytes, StackBytes)
}

// Put takes a stack back. One that was deep gives its memory back to the system.
func (s *Stacks) Put(r Region, deep bool) {
	if !deep && r.all != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.idle) < maxIdle {
			s.idle = append(s.idle, r)
			return
		}
	}
	r.Free()
}

// Close frees what is kept.
func (s *Stacks) Close() {
	for _, r := range s.idle {
		r.Free()
	}
	s.idle = nil
}
