//go:build !linux && !darwin

package region

// lazy says that a region takes memory as it is touched.
const lazy = false

// Region is memory on Go's heap, where address space cannot be set aside.
type Region struct{ all []byte }

// Resize returns size bytes that start with the present ones, nil if that is over reserve.
func (r *Region) Resize(size, reserve uint64) []byte {
	if size > reserve {
		return nil
	}
	if size > uint64(cap(r.all)) {
		grown := make([]byte, size, min(reserve, max(size, 2*uint64(cap(r.all)))))
		copy(grown, r.all)
		r.all = grown
	}
	r.all = r.all[:size]
	return r.all
}

// opened returns nothing: no region is kept.
func (r *Region) opened() (size, reserve uint64) { return 0, 0 }

// Ready is never asked for.
func (r *Region) Ready(uint64, uint64) bool { return false }

// Recycle reports that Go's heap does that by itself.
func (r *Region) Recycle(uint64) bool { return false }

// Free gives all back; the region can be used anew. Again is no fault.
func (r *Region) Free() { r.all = nil }
