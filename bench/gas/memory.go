package gas

import (
	"sync"

	"github.com/tetratelabs/wazero/experimental"

	"github.com/shoal-fabric/shoal/sandbox/region"
)

// The bare engine gets its memory as the sandbox's guests do, so that only metering is compared: by default
// the engine takes it from Go's heap, and pays for its growth and its collection.
const (
	reserved = 1 << 30
	keep     = 1 << 20 // a larger region is given back, as the sandbox does it
	idleMost = 8
)

// regions are those that wait to be used again.
type regions struct {
	mu   sync.Mutex
	idle []region.Region
}

func (p *regions) get() *memory {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := &memory{from: p}
	if n := len(p.idle); n > 0 {
		m.region, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	return m
}

// memory is the memory of one guest.
type memory struct {
	from   *regions
	region region.Region
}

var _ experimental.LinearMemory = (*memory)(nil)

// Reallocate implements experimental.LinearMemory.
func (m *memory) Reallocate(size uint64) []byte { return m.region.Resize(size, reserved) }

// Free implements experimental.LinearMemory.
func (m *memory) Free() {
	r := m.region
	m.region = region.Region{}
	m.from.mu.Lock()
	defer m.from.mu.Unlock()
	if len(m.from.idle) < idleMost && r.Recycle(keep) {
		m.from.idle = append(m.from.idle, r)
		return
	}
	r.Free()
}
