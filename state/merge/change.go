package merge

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/shoal-fabric/shoal"
)

// next applies an operation of this replica's own.
func (s *Space) next(o *Op) {
	o.Seq = s.seen[s.self] + 1
	s.apply(s.self, o)
	s.see(s.self, o.Seq)
}

// in returns the replica's own operation in a slot, or nil, and the names of those of others.
func (s *Space) in(k Key, slot string) (own *Op, others []Dot) {
	for _, e := range s.objects[k][slot] {
		if e.dot.Replica == s.self {
			own = e.op
		} else {
			others = append(others, e.dot)
		}
	}
	return own, others
}

// own returns the replica's own operation in a slot, or nil.
func (s *Space) own(k Key, slot string) *Op {
	for _, e := range s.objects[k][slot] {
		if e.dot.Replica == s.self {
			return e.op
		}
	}
	return nil
}

// Add adds n to a counter or a tally. Invalid: a counter does not go down, or it goes too high.
func (s *Space) Add(k Key, n int64) error {
	o, err := s.sum(k, n, false)
	if err == nil {
		s.next(&o)
	}
	return err
}

// sum is the operation that Add makes; fresh: of an object that is cleared before.
func (s *Space) sum(k Key, n int64, fresh bool) (o Op, err error) {
	if k.Kind != Counter && k.Kind != Tally {
		return o, wrong(k, "nothing can be added up in it")
	}
	if k.Kind == Counter && n < 0 {
		return o, shoal.E(shoal.Invalid, "state "+k.Name, "a counter only grows", "make a tally, which goes down as well")
	}
	if err := CheckKey(k); err != nil {
		return o, err
	}
	o.Key = k
	if own := s.own(k, ""); own != nil && !fresh {
		o.Up, o.Down = own.Up, own.Down
	}
	side, by := &o.Up, uint64(n)
	if n < 0 {
		side, by = &o.Down, uint64(-(n+1))+1
	}
	if by > math.MaxInt64 || *side > math.MaxInt64-by {
		return o, shoal.E(shoal.Invalid, "state "+k.Name, fmt.Sprintf("%d more is more than it holds", n), "")
	}
	*side += by
	return o, nil
}

// Put sets a register; now is Unix milliseconds. Of values put at the same time the later one counts, by clocks that
// are never behind what was seen.
func (s *Space) Put(k Key, text []byte, now int64) error {
	if k.Kind != Register {
		return wrong(k, "it holds no single value")
	}
	if err := CheckKey(k); err != nil {
		return err
	}
	if len(text) > MaxText {
		return longText(k, len(text))
	}
	at := Time{Wall: now}
	if at.compare(s.clock) <= 0 {
		at = Time{s.clock.Wall, s.clock.Count + 1}
	}
	_, others := s.in(k, "")
	s.next(&Op{Key: k, Text: append([]byte(nil), text...), At: at, Drop: others})
	return nil
}

// Insert adds an element to a set, and reports whether it was not there.
func (s *Space) Insert(k Key, item string) (bool, error) {
	if k.Kind != Set && k.Kind != GrowSet {
		return false, wrong(k, "it has no elements")
	}
	if err := checkItem(k, item); err != nil {
		return false, err
	}
	own, others := s.in(k, item)
	there := own != nil || len(others) > 0
	if there && k.Kind == GrowSet {
		return false, nil
	}
	o := &Op{Key: k, Item: item}
	if k.Kind == Set { // anew, so that it outlives a removal that has not seen this
		o.Drop = others
	}
	s.next(o)
	return !there, nil
}

// Remove takes an element out of a set as it is known here, and reports whether it was there.
func (s *Space) Remove(k Key, item string) (bool, error) {
	if k.Kind != Set {
		return false, wrong(k, "elements cannot be taken out of it")
	}
	if err := checkItem(k, item); err != nil {
		return false, err
	}
	own, others := s.in(k, item)
	if own == nil && len(others) == 0 {
		return false, nil
	}
	s.next(&Op{Key: k, Item: item, Drop: others, Gone: true})
	return true, nil
}

// Clear removes an object as it is known here, and reports whether it was there. What others add meanwhile
// stays, and of a tally the whole share of a node that changes it meanwhile.
func (s *Space) Clear(k Key) (bool, error) {
	if k.Kind == Counter || k.Kind == GrowSet {
		return false, cannotClear(k)
	}
	last := Seen{}
	for _, list := range s.objects[k] {
		for _, e := range list {
			if e.dot.Replica != s.self {
				last[e.dot.Replica] = max(last[e.dot.Replica], e.dot.Seq)
			}
		}
	}
	var others []Dot
	for _, r := range slices.Sorted(maps.Keys(last)) {
		others = append(others, Dot{r, last[r]})
	}
	if s.objects[k] == nil {
		return false, nil
	}
	s.next(&Op{Key: k, Drop: others, Gone: true, Whole: true})
	return true, nil
}

func longText(k Key, n int) error {
	return shoal.E(shoal.Invalid, "state "+k.Name, fmt.Sprintf("a value of %d bytes, more than the limit of %d", n, MaxText), "put it as data and keep its CID")
}

func cannotClear(k Key) error { return wrong(k, "it only grows, and what holds of it holds for ever") }

func wrong(k Key, why string) error {
	return shoal.E(shoal.Invalid, "state "+k.Name, "it is a "+k.Kind.String()+": "+why, "see 'shoal state --help'")
}

func checkItem(k Key, item string) error {
	if len(item) > MaxItem {
		return shoal.E(shoal.Invalid, "state "+k.Name, fmt.Sprintf("an element of %d bytes, more than the limit of %d", len(item), MaxItem), "put it as data and keep its CID")
	}
	if !utf8.ValidString(item) {
		return shoal.E(shoal.Invalid, "state "+k.Name, "an element that is no text", "write it in UTF-8")
	}
	return CheckKey(k)
}
