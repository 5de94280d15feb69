//go:build linux || darwin

package region

import "syscall"

// lazy says that a region takes memory as it is touched.
const lazy = true

// Region is address space of which a growing part is memory.
type Region struct {
	all  []byte
	open uint64
}

// Resize makes the first size bytes usable, of at most reserve; nil if the system has no room.
func (r *Region) Resize(size, reserve uint64) []byte {
	if r.all == nil {
		all, err := syscall.Mmap(-1, 0, int(reserve), syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err != nil {
			return nil
		}
		r.all = all
	}
	if size > uint64(len(r.all)) {
		return nil
	}
	if size > r.open {
		if err := syscall.Mprotect(r.all[:size], syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
			return nil
		}
		r.open = size
	}
	return r.all[:size:size]
}

// opened returns how much of a region is memory, and the most that it may be.
func (r *Region) opened() (size, reserve uint64) { return r.open, uint64(len(r.all)) }

// Ready is Resize for a region that shall have its pages before they are touched.
func (r *Region) Ready(size, reserve uint64) bool {
	b := r.Resize(size, reserve)
	if b == nil {
		return false
	}
	if populate(b) != nil {
		for i := 0; i < len(b); i += 4 << 10 {
			b[i] = 0
		}
	}
	return true
}

// Recycle zeroes a region of at most so many bytes, and reports whether it may be used again.
func (r *Region) Recycle(most uint64) bool {
	if r.all == nil || r.open > most {
		return false
	}
	clear(r.all[:r.open])
	return true
}

// Free gives all back; the region can be used anew. Again is no fault.
func (r *Region) Free() {
	if r.all != nil {
		_ = syscall.Munmap(r.all)
	}
	*r = Region{}
}
