package region

import "testing"

// TestStacks takes stacks and gives them back: those that were not deep come again as they were, a few of them.
func TestStacks(t *testing.T) {
	if !lazy {
		t.Skip("memory is not taken as it is touched here")
	}
	var s Stacks
	defer s.Close()
	mark := func(deep bool) {
		r, b := s.Get()
		if len(b) != StackBytes || b[StackBytes-1] != 0 {
			t.Fatalf("%d bytes, the last of them used", len(b))
		}
		b[StackBytes-1] = 1
		s.Put(r, deep)
	}
	mark(true)
	mark(false)
	r, b := s.Get()
	if b[StackBytes-1] != 1 {
		t.Error("one that was not deep does not come again")
	}
	s.Put(r, true)
	mark(true)
	all := make([]Region, 3*maxIdle)
	for i := range all {
		all[i], _ = s.Get()
	}
	for _, r := range all {
		s.Put(r, false)
	}
	if len(s.idle) != maxIdle {
		t.Errorf("%d are kept, want %d", len(s.idle), maxIdle)
	}
}
