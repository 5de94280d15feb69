package agent

import "iter"

// ObjectKind is what an object of the fabric's mergeable state is. The numbers are the fabric's.
type ObjectKind uint32

// The kinds of objects. AnyKind is that of the object that there is, or what the method makes: a counter, a set.
const (
	AnyKind  ObjectKind = 0
	Counter  ObjectKind = 1 // only grows
	Tally    ObjectKind = 2 // goes up and down
	Register ObjectKind = 3 // the last value that was set
	GrowSet  ObjectKind = 4 // elements come and stay
	Set      ObjectKind = 5 // elements come and go
)

// Shared is the fabric's mergeable state as a turn sees it: a host's calls, of which Object is the convenient form.
type Shared interface {
	StateAdd(name, field string, kind ObjectKind, by int64) error
	StateSet(name, field string, value []byte) error
	StateInsert(name, field string, kind ObjectKind, element string) error
	StateRemove(name, field, element string) error
	StateClear(name, field string) error
	StateGet(name, field string, kind ObjectKind) (Value, error) // NotFound: there is none
	StateHas(name, field, element string) (bool, error)
	StateItems(name, field, after string, first bool, limit int) ([]string, error)
	StateFields(name, after string, limit int) ([]Value, error)
}

// Value is what an object is, as the node knows it.
type Value struct {
	Field  string // of a map
	Kind   ObjectKind
	Number int64  // of a counter or tally; of a set, how many elements it has
	Bytes  []byte // of a register
}

// Object is an object of the fabric's mergeable state, or a field of a map. Every node has it and changes it by itself; what
// they change merges. What a turn changes counts if the turn does, and is on its node's disk before the reply leaves. It is made at least
// once: a turn that is processed anew because its node failed makes it again, which counters alone mind.
type Object struct {
	t           *Turn
	name, field string
	kind        ObjectKind
}

// Shared names an object of the fabric's mergeable state.
func (t *Turn) Shared(name string) Object { return Object{t: t, name: name} }

// Field names a field of a map.
func (o Object) Field(field string) Object {
	o.field = field
	return o
}

// As says what kind the object is, or becomes: a Tally or GrowSet where else a Counter or Set would be made.
func (o Object) As(kind ObjectKind) Object {
	o.kind = kind
	return o
}

// Add adds to a counter or tally. What a turn adds to one is one change.
func (o Object) Add(by int64) { o.t.keep(o.t.host.StateAdd(o.name, o.field, o.kind, by)) }

// Set sets a register, to up to 64 KiB.
func (o Object) Set(value []byte) { o.t.keep(o.t.host.StateSet(o.name, o.field, value)) }

// Insert puts an element of up to 4 KiB into a set.
func (o Object) Insert(element string) {
	o.t.keep(o.t.host.StateInsert(o.name, o.field, o.kind, element))
}

// Remove takes an element out of a set; there need be none.
func (o Object) Remove(element string) { o.t.keep(o.t.host.StateRemove(o.name, o.field, element)) }

// Clear removes a tally, register or set; there need be none.
func (o Object) Clear() { o.t.keep(o.t.host.StateClear(o.name, o.field)) }

// Get returns what the object is, and whether there is one.
func (o Object) Get() (Value, bool) {
	v, err := o.t.host.StateGet(o.name, o.field, o.kind)
	if err != nil && KindOf(err) != NotFound {
		o.t.keep(err)
	}
	return v, err == nil
}

// Int is the value of a counter or tally, or how many elements a set has; 0 if there is none.
func (o Object) Int() int64 {
	v, _ := o.Get()
	return v.Number
}

// Has reports whether a set has an element.
func (o Object) Has(element string) bool {
	has, err := o.t.host.StateHas(o.name, o.field, element)
	o.t.keep(err)
	return has
}

// Items yields the elements of a set in order, as they are when the loop begins.
func (o Object) Items() iter.Seq[string] {
	return func(yield func(string) bool) {
		after := ""
		for first := true; ; first = false {
			page, err := o.t.host.StateItems(o.name, o.field, after, first, 1000)
			o.t.keep(err)
			for _, item := range page {
				if !yield(item) {
					return
				}
				after = item
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// Fields yields the fields of a map in order, those that there are when the loop begins.
func (o Object) Fields() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for after := ""; ; {
			page, err := o.t.host.StateFields(o.name, after, 1000)
			o.t.keep(err)
			for _, v := range page {
				if !yield(v.Field, v) {
					return
				}
				after = v.Field
			}
			if len(page) == 0 {
				return
			}
		}
	}
}
