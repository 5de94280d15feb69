package agenttest

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

// The limits of mergeable state are the fabric's.
const (
	maxShared = 512
	maxItem   = 4 << 10
	maxText   = 64 << 10
)

// object is an object of mergeable state, of one name, field and kind: the fabric of a test is one node.
type object struct {
	name, field string
	kind        agent.ObjectKind
	number      int64
	value       []byte
	items       map[string]bool
}

type objectKey struct{ name, field string }

type shared map[objectKey]*object

func (s shared) clone() shared {
	out := shared{}
	for k, o := range s {
		c := *o
		c.items = maps.Clone(o.items)
		out[k] = &c
	}
	return out
}

// Shared is the fabric's mergeable state as text, an object each: a number, a register's value, or a set's elements with
// blanks between, by "NAME" or "NAME#FIELD".
func (f *Fabric) Shared() map[string]string {
	out := map[string]string{}
	for k, o := range f.shared {
		name := k.name
		if k.field != "" {
			name += "#" + k.field
		}
		switch o.kind {
		case agent.Register:
			out[name] = string(o.value)
		case agent.Set, agent.GrowSet:
			out[name] = strings.Join(slices.Sorted(maps.Keys(o.items)), " ")
		default:
			out[name] = strconv.FormatInt(o.number, 10)
		}
	}
	return out
}

// seen is the mergeable state with what the turn staged.
func (t *turn) seen() shared {
	s := t.f.shared.clone()
	for _, c := range t.changes {
		c(s)
	}
	return s
}

// change stages a change of an object of one of some kinds, the first of which is made if there is none.
func (t *turn) change(name, field string, kind agent.ObjectKind, fit []agent.ObjectKind, make bool, do func(o *object) error) error {
	if err := first(t.staging(), bounded("name", len(name), 1, maxShared), bounded("field", len(field), 0, maxShared)); err != nil {
		return err
	}
	if !utf8.ValidString(name) || !utf8.ValidString(field) {
		return &agent.Error{Kind: agent.Invalid, Text: "a name that is no text"}
	}
	k := objectKey{name, field}
	o := t.seen()[k]
	switch {
	case o != nil && (kind != agent.AnyKind && kind != o.kind || !slices.Contains(fit, o.kind)):
		return &agent.Error{Kind: agent.Exists, Text: "state " + name + ": it is of another kind"}
	case o == nil && kind != agent.AnyKind && !slices.Contains(fit, kind):
		return &agent.Error{Kind: agent.Invalid, Text: "state " + name + ": that cannot be done with it"}
	case o == nil && kind == agent.AnyKind:
		kind = fit[0]
	case o != nil:
		kind = o.kind
	}
	c := func(s shared) error {
		o := s[k]
		if o == nil {
			if !make {
				return nil
			}
			o = &object{name: name, field: field, kind: kind, items: map[string]bool{}}
			s[k] = o
		}
		err := do(o)
		if (o.kind == agent.Set || o.kind == agent.GrowSet) && len(o.items) == 0 {
			delete(s, k)
		}
		return err
	}
	if err := c(t.seen()); err != nil {
		return err
	}
	t.changes = append(t.changes, func(s shared) { _ = c(s) })
	return nil
}

func (t *turn) StateAdd(name, field string, kind agent.ObjectKind, by int64) error {
	return t.change(name, field, kind, []agent.ObjectKind{agent.Counter, agent.Tally}, true, func(o *object) error {
		if o.kind == agent.Counter && by < 0 {
			return &agent.Error{Kind: agent.Invalid, Text: "state " + name + ": a counter only grows"}
		}
		if sum := o.number + by; (sum > o.number) != (by > 0) && by != 0 {
			return &agent.Error{Kind: agent.Invalid, Text: "state " + name + ": that is more than it holds"}
		}
		o.number += by
		return nil
	})
}

func (t *turn) StateSet(name, field string, value []byte) error {
	if err := bounded("value", len(value), 0, maxText); err != nil {
		return err
	}
	v := bytes.Clone(value)
	return t.change(name, field, agent.AnyKind, []agent.ObjectKind{agent.Register}, true, func(o *object) error { o.value = v; return nil })
}

func (t *turn) StateInsert(name, field string, kind agent.ObjectKind, element string) error {
	if err := bounded("element", len(element), 0, maxItem); err != nil {
		return err
	}
	return t.change(name, field, kind, []agent.ObjectKind{agent.Set, agent.GrowSet}, true, func(o *object) error { o.items[element] = true; return nil })
}

func (t *turn) StateRemove(name, field, element string) error {
	if err := bounded("element", len(element), 0, maxItem); err != nil {
		return err
	}
	return t.change(name, field, agent.AnyKind, []agent.ObjectKind{agent.Set}, false, func(o *object) error { delete(o.items, element); return nil })
}

func (t *turn) StateClear(name, field string) error {
	if o := t.seen()[objectKey{name, field}]; o != nil && (o.kind == agent.Counter || o.kind == agent.GrowSet) {
		return &agent.Error{Kind: agent.Invalid, Text: "state " + name + ": it only grows"}
	}
	gone := []agent.ObjectKind{agent.Tally, agent.Register, agent.Set}
	if err := t.change(name, field, agent.AnyKind, gone, false, func(*object) error { return nil }); err != nil {
		return err
	}
	t.changes = append(t.changes, func(s shared) { delete(s, objectKey{name, field}) })
	return nil
}

func (t *turn) StateGet(name, field string, kind agent.ObjectKind) (agent.Value, error) {
	if o := t.seen()[objectKey{name, field}]; o != nil && (kind == agent.AnyKind || kind == o.kind) {
		return o.is(), nil
	}
	return agent.Value{}, &agent.Error{Kind: agent.NotFound, Text: "nothing of this name is known here"}
}

func (o *object) is() agent.Value {
	return agent.Value{Field: o.field, Kind: o.kind, Number: o.number + int64(len(o.items)), Bytes: bytes.Clone(o.value)}
}

func (t *turn) StateHas(name, field, element string) (bool, error) {
	o := t.seen()[objectKey{name, field}]
	return o != nil && o.items[element], bounded("element", len(element), 0, maxItem)
}

func (t *turn) StateItems(name, field, after string, first bool, limit int) (out []string, err error) {
	if o := t.seen()[objectKey{name, field}]; o != nil {
		for _, item := range slices.Sorted(maps.Keys(o.items)) {
			if (first || item > after) && len(out) < limit {
				out = append(out, item)
			}
		}
	}
	return out, nil
}

func (t *turn) StateFields(name, after string, limit int) (out []agent.Value, err error) {
	for _, o := range t.seen() {
		if o.name == name && o.field > after {
			out = append(out, o.is())
		}
	}
	slices.SortFunc(out, func(a, b agent.Value) int { return strings.Compare(a.Field, b.Field) })
	return out[:min(len(out), limit)], nil
}
