package region

import (
	"context"
	"time"
)

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
