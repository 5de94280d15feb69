package merge

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
)

// Value is what an object is now.
type Value struct {
	Number int64    // of a counter or tally; at its bounds it stays there
	Text   []byte   // of a register
	Items  []string // of a set, in order
	Rivals int      // of a register: other values that nobody has seen and overwritten
}

// Get returns an object, and whether there is one.
func (s *Space) Get(k Key) (v Value, ok bool) {
	slots := s.objects[k]
	if slots == nil {
		return v, false
	}
	switch k.Kind {
	case Counter, Tally:
		var up, down uint64
		for _, e := range slots[""] { // each is at most MaxInt64
			up, down = grow(up, e.op.Up), grow(down, e.op.Down)
		}
		if up >= down {
			v.Number = int64(min(up-down, math.MaxInt64))
		} else {
			v.Number = -int64(min(down-up, math.MaxInt64))
		}
	case Register:
		last := slices.MaxFunc(slots[""], func(a, b *entry) int {
			return cmp.Or(a.op.At.compare(b.op.At), a.dot.compare(b.dot))
		})
		v.Text, v.Rivals = last.op.Text, len(slots[""])-1
	case Set, GrowSet:
		for item := range slots {
			v.Items = append(v.Items, item)
		}
		slices.Sort(v.Items)
	}
	return v, true
}

func grow(sum, by uint64) uint64 {
	if sum > math.MaxUint64-by {
		return math.MaxUint64
	}
	return sum + by
}

// Size returns the number of elements of a set.
func (s *Space) Size(k Key) int { return len(s.objects[k]) }

// Has reports whether a set has an element.
func (s *Space) Has(k Key, item string) bool { return len(s.objects[k][item]) > 0 }

// There reports whether there is an object.
func (s *Space) There(k Key) bool { return s.objects[k] != nil }

// Keys lists the objects whose names begin so, in order.
func (s *Space) Keys(prefix string) (list []Key) {
	for name := range s.names {
		if strings.HasPrefix(name, prefix) {
			list = append(list, s.Named(name)...)
		}
	}
	slices.SortFunc(list, Key.compare)
	return list
}

// Named lists the objects of one name, in order: the fields of a map, or one object, or several where two nodes made
// different ones under one name.
func (s *Space) Named(name string) []Key {
	return slices.SortedFunc(maps.Keys(s.names[name]), Key.compare)
}

func (k Key) compare(l Key) int {
	return cmp.Or(cmp.Compare(k.Name, l.Name), cmp.Compare(k.Field, l.Field), cmp.Compare(k.Kind, l.Kind))
}
