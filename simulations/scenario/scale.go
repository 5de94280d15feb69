package scenario

import (
	"cmp"
	"slices"
)

// Scale makes the classes have n nodes in all, in proportion: each has its part rounded down, and those that lost most by that
// have one more.
func (s *Scenario) Scale(n int) {
	total := s.Nodes()
	if total == 0 || n < 0 {
		return
	}
	type rest struct{ class, left int }
	var rests []rest
	given := 0
	for i := range s.Classes {
		product := s.Classes[i].Count * n
		s.Classes[i].Count = product / total
		given += s.Classes[i].Count
		rests = append(rests, rest{i, product % total})
	}
	slices.SortStableFunc(rests, func(a, b rest) int { return cmp.Compare(b.left, a.left) })
	for i := range n - given {
		s.Classes[rests[i].class].Count++
	}
}
