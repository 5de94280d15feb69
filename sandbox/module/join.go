package module

import (
	"cmp"
	"slices"
)

// joinGap is how many zeros between two segments are written out rather than left to a segment of its own,
// which costs the engine as much as some hundred bytes. joinMost is how many are written out in all.
const (
	joinGap  = 256
	joinMost = 4 << 20
)

// JoinData makes one segment of several that lie behind one another, with the zeros in between: Go's linker
// leaves out every short run of zeros, and the engine takes longer over 27,000 segments than over all that a
// program does to begin. Memory begins as zeros, so what comes of it is the same. A module that counts its
// segments may name them, and stays as it is; so does one whose segments overlap, or lie where the host says.
func (m *Module) JoinData() {
	start := func(s Segment) uint64 { return uint64(uint32(s.Offset.V)) }
	sorted := slices.Clone(m.Data)
	slices.SortStableFunc(sorted, func(a, b Segment) int { return cmp.Compare(start(a), start(b)) })
	end := uint64(0)
	for _, s := range sorted {
		if m.DataCount != nil || s.Flags != 0 || s.Offset.Op != OpI32Const || start(s) < end {
			return
		}
		end = start(s) + uint64(len(s.Bytes))
	}
	out := sorted[:0]
	own := false // the last of out has bytes of its own
	end = 0
	zeros := uint64(0)
	for _, s := range sorted {
		gap := start(s) - end
		if len(out) == 0 || gap > joinGap || zeros+gap > joinMost {
			out, own = append(out, s), false
		} else {
			last := &out[len(out)-1]
			if !own {
				last.Bytes = append(make([]byte, 0, 2*len(last.Bytes)), last.Bytes...)
			}
			last.Bytes = append(append(last.Bytes, make([]byte, gap)...), s.Bytes...)
			own, zeros = true, zeros+gap
		}
		end = start(s) + uint64(len(s.Bytes))
	}
	m.Data = out
}
