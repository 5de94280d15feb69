package region

import (
	"context"
	"sync"
	"time"
)

// Spare keeps a few small regions for the next guests: a page that is there already costs a hundredth
// of one that the system has to find.
type Spare struct {
	mu   sync.Mutex
	idle []Region
}

// The regions kept, and the bytes each may hold.
const (
	maxIdle      = 8
	maxIdleBytes = 4 << 20
)

func (p *Spare) Get() Region {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		r := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return r
	}
	return Region{}
}

// Put takes a region back; it is zero again when it is given out.
func (p *Spare) Put(r Region) {
	if r.Recycle(maxIdleBytes) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.idle) < maxIdle {
			p.idle = append(p.idle, r)
			return
		}
	}
	r.Free()
}

func (p *Spare) Close() {
	for _, r := range p.idle {
		r.Free()
	}
	p.idle = nil
}

// Memory is the linear memory of one guest. It lives outside Go's heap where the system allows: it
// never moves, costs the garbage collector nothing, and is gone at once when the run ends.
type Memory struct {
	Ctx     context.Context // of what waits for memory
	Limit   uint64
	Reserve uint64 // bytes of address space, the same for all guests of a node
	Account *Account
	Spare   *Spare
	Pages   Region
	Size    uint64 // at most, so far

	Refused   Refusal
	RefusedAt time.Time // by the limit, first
}

// Refusal says why a guest did not get more memory.
type Refusal int

const (
	NotRefused Refusal = iota
	OverLimit          // it met its own limit
	NodeFull           // all guests together met the node's
)

// Reallocate returns the memory with size bytes, or nil if the guest may not have that much.
func (m *Memory) Reallocate(size uint64) []byte {
	if size > m.Limit {
		if m.Refused != OverLimit { // the first counts
			m.Refused, m.RefusedAt = OverLimit, time.Now()
		}
		return nil
	}
	if !m.Account.Reach(m.Ctx, size) {
		m.Refused = NodeFull
		return nil
	}
	m.Size = max(m.Size, size)
	b := m.Pages.Resize(size, m.Reserve)
	if b == nil {
		m.Refused = NodeFull
	}
	return b
}

// Free gives the memory back; again is no fault.
func (m *Memory) Free() {
	m.Spare.Put(m.Pages)
	m.Pages = Region{}
	if m.Account != nil {
		m.Account.GiveBack()
	}
}
