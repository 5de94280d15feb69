package state

import (
	"context"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/state/merge"
)

// Object is an object, or a field of a map, and what it is now.
type Object struct {
	merge.Key
	merge.Value
}

// Get returns the objects of one name, the fields of a map in order, as far as they are known here. NotFound: there is none.
func (s *State) Get(name string) (list []Object, err error) {
	s.view(func(sp *merge.Space) {
		for _, k := range sp.Named(name) {
			v, _ := sp.Get(k)
			list = append(list, Object{k, v})
		}
	})
	if len(list) == 0 {
		return nil, shoal.E(shoal.NotFound, "state "+name, "nothing of this name is known here", "see 'shoal state ls'")
	}
	return list, nil
}

// List returns the objects whose names begin so.
func (s *State) List(prefix string) (list []Object) {
	s.view(func(sp *merge.Space) {
		for _, k := range sp.Keys(prefix) {
			v, _ := sp.Get(k)
			list = append(list, Object{k, v})
		}
	})
	return list
}

// Watch returns the object of a name once it is as hold says, which is asked whenever something was written; what hold is given is
// its own. Of a condition that is monotone it is true for ever then, on every node sooner or later.
func (s *State) Watch(ctx context.Context, name, field string, hold func(Object) (bool, error)) (Object, error) {
	for {
		s.hearing.Lock()
		moved := s.moved
		s.hearing.Unlock()
		var found []Object
		s.view(func(sp *merge.Space) {
			for _, k := range sp.Named(name) {
				if k.Field == field {
					v, _ := sp.Get(k)
					found = append(found, Object{k, v})
				}
			}
		})
		for _, o := range found {
			if ok, err := hold(o); ok || err != nil {
				return o, err
			}
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return Object{}, shoal.Wrap(shoal.Timeout, "watch "+name, ctx.Err())
		case <-s.life.Done():
			return Object{}, shoal.E(shoal.Unavailable, "watch "+name, "the node is about to stop", "watch it from another")
		}
	}
}

// Split parts "name#field".
func Split(s string) (name, field string) {
	name, field, _ = strings.Cut(s, "#")
	return name, field
}

// Stats tells how much there is.
type Stats struct {
	Objects int `json:"objects"`
	Ops     int `json:"operations"` // that are kept
	Gone    int `json:"removals"`   // among them, those that wait until all members have them
}

// Stats counts.
func (s *State) Stats() (st Stats) {
	s.view(func(sp *merge.Space) { st.Objects, st.Ops, st.Gone = sp.Len() })
	return st
}
