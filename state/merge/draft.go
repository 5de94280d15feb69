package merge

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/shoal-fabric/shoal"
)

// Change is one change of one object.
type Change = shoal.SharedChange

// MaxDraft is how many bytes a draft stages: names, fields, elements and values, and a little for each.
const (
	MaxDraft  = 8 << 20
	draftCost = 64
)

// fits are the kinds that a verb is for, the one that it makes first.
var fits = map[shoal.SharedVerb][]Kind{
	shoal.SharedAdd: {Counter, Tally}, shoal.SharedPut: {Register}, shoal.SharedInsert: {Set, GrowSet}, shoal.SharedRemove: {Set},
	shoal.SharedClear: {Tally, Register, Set, Counter, GrowSet},
}

// keyOf finds the object of a change among those that there are. Exists: there is one of the name that is of another kind.
func keyOf(c *Change, there func(Key) bool) (Key, error) {
	fit := fits[c.Verb]
	if fit == nil {
		return Key{}, shoal.E(shoal.Invalid, "state "+c.Name, fmt.Sprintf("there is no change '%.20s'", string(c.Verb)), "there are add, set, insert, remove and clear")
	}
	if k := (Key{c.Name, c.Field, c.Kind}); c.Kind != 0 && there(k) {
		return k, nil
	}
	var other Kind
	for kind := Counter; kind <= Set; kind++ {
		switch k := (Key{c.Name, c.Field, kind}); {
		case !there(k):
		case c.Kind == 0 && slices.Contains(fit, kind):
			return k, nil
		default:
			other = kind
		}
	}
	if other != 0 {
		return Key{}, shoal.E(shoal.Exists, "state "+title(c), "it is a "+other.String(), "choose another name, or change it as what it is; see 'shoal state --help'")
	}
	return Key{c.Name, c.Field, cmp.Or(c.Kind, fit[0])}, nil
}

func title(c *Change) string {
	if c.Field == "" {
		return c.Name
	}
	return c.Name + "#" + c.Field
}

// Do makes a change at once; now is Unix milliseconds. NotFound: there is nothing to remove.
func (s *Space) Do(c Change, now int64) error {
	k, err := keyOf(&c, s.There)
	if err != nil {
		return err
	}
	there := true
	switch c.Verb {
	case shoal.SharedAdd:
		err = s.Add(k, c.By)
	case shoal.SharedPut:
		err = s.Put(k, c.Text, now)
	case shoal.SharedInsert:
		_, err = s.Insert(k, c.Item)
	case shoal.SharedRemove:
		there, err = s.Remove(k, c.Item)
	case shoal.SharedClear:
		there, err = s.Clear(k)
	}
	if err == nil && !there {
		return shoal.E(shoal.NotFound, "state "+title(&c), "it is not there, or not known here yet", "see 'shoal state ls'")
	}
	return err
}

// Draft is changes that are staged over a space, and what is seen through them. The zero Draft is ready. The space may change
// between two calls; what was staged stands. It is not safe for concurrent use.
type Draft struct {
	objects map[Key]*staged
	list    []*staged
	bytes   int

	paged string   // the map that is being listed
	pages []Key    // its fields
	of    Key      // the set that is being listed
	items []string // its elements
}

// staged is what becomes of one object.
type staged struct {
	key   Key
	clear bool // first
	adds  bool
	by    int64 // net
	text  *[]byte
	items map[string]bool // true: inserted, false: taken out
}

// Change stages a change. Invalid: a malformed one. Exists: it is of another kind. Full: that is too much for one draft.
func (d *Draft) Change(s *Space, c *Change) error {
	k, err := keyOf(c, func(k Key) bool { return d.there(s, k) })
	if err != nil {
		return err
	}
	if !slices.Contains(fits[c.Verb], k.Kind) {
		return wrong(k, "that cannot be done with it")
	}
	if c.Verb == shoal.SharedInsert || c.Verb == shoal.SharedRemove {
		err = checkItem(k, c.Item)
	} else {
		err = CheckKey(k)
	}
	if err != nil {
		return err
	}
	o := d.objects[k]
	cost := 0
	if o == nil {
		o = &staged{key: k}
		cost = draftCost + len(k.Name) + len(k.Field)
	}
	next := *o
	switch c.Verb {
	case shoal.SharedAdd:
		next.adds = true
		if next.by += c.By; (next.by > o.by) != (c.By > 0) && c.By != 0 {
			return shoal.E(shoal.Invalid, "state "+title(c), fmt.Sprintf("%d more is more than it holds", c.By), "")
		}
		if _, err := s.sum(k, next.by, next.clear); err != nil {
			return err
		}
		if c.By < 0 && k.Kind == Counter { // whatever was added before
			_, err := s.sum(k, c.By, true)
			return err
		}
	case shoal.SharedPut:
		if len(c.Text) > MaxText {
			return longText(k, len(c.Text))
		}
		if o.text != nil {
			cost -= len(*o.text)
		}
		cost += len(c.Text)
		next.text = &c.Text
	case shoal.SharedInsert, shoal.SharedRemove:
		if _, had := o.items[c.Item]; !had {
			cost += draftCost + len(c.Item)
		}
	case shoal.SharedClear:
		if k.Kind == Counter || k.Kind == GrowSet {
			return cannotClear(k)
		}
		next = staged{key: k, clear: true}
	}
	if d.bytes+cost > MaxDraft {
		return shoal.E(shoal.Full, "state "+title(c), fmt.Sprintf("more than %d MiB of changes in one turn", MaxDraft>>20), "make them in several turns")
	}
	d.bytes += cost
	if d.objects[k] == nil {
		if d.objects == nil {
			d.objects = map[Key]*staged{}
		}
		d.objects[k] = o
		d.list = append(d.list, o)
	}
	*o = next
	if c.Verb == shoal.SharedInsert || c.Verb == shoal.SharedRemove {
		if o.items == nil {
			o.items = map[string]bool{}
		}
		o.items[c.Item] = c.Verb == shoal.SharedInsert
	}
	return nil
}

// Empty reports whether nothing is staged.
func (d *Draft) Empty() bool { return len(d.list) == 0 }

// Grows reports whether anything is staged that does not take away.
func (d *Draft) Grows() bool {
	return slices.ContainsFunc(d.list, func(o *staged) bool {
		return o.adds || o.text != nil || slices.Contains(slices.Collect(maps.Values(o.items)), true)
	})
}

// Check says why what is staged could not be made now, nil if it could.
func (d *Draft) Check(s *Space) error {
	for _, o := range d.list {
		if o.adds {
			if _, err := s.sum(o.key, o.by, o.clear); err != nil {
				return err
			}
		}
	}
	return nil
}

// Apply makes what is staged; now is Unix milliseconds. After an error of Check nothing is made. What is to be removed and is not
// there is none: another was faster.
func (d *Draft) Apply(s *Space, now int64) error {
	if err := d.Check(s); err != nil {
		return err
	}
	var errs error
	note := func(err error) { errs = cmp.Or(errs, err) }
	for _, o := range d.list {
		if o.clear {
			_, err := s.Clear(o.key)
			note(err)
		}
		if o.adds {
			note(s.Add(o.key, o.by))
		}
		if o.text != nil {
			note(s.Put(o.key, *o.text, now))
		}
		for _, item := range slices.Sorted(maps.Keys(o.items)) {
			var err error
			if o.items[item] {
				_, err = s.Insert(o.key, item)
			} else {
				_, err = s.Remove(o.key, item)
			}
			note(err)
		}
	}
	return errs
}

// there reports whether an object is there once the draft is made.
func (d *Draft) there(s *Space, k Key) bool {
	o := d.objects[k]
	switch {
	case o == nil || !o.clear && o.items == nil:
		return o != nil && (o.adds || o.text != nil) || s.There(k)
	case o.items == nil:
		return o.adds || o.text != nil
	}
	return d.size(s, k) > 0
}

// size is how many elements a set has.
func (d *Draft) size(s *Space, k Key) int {
	o := d.objects[k]
	if o == nil {
		return s.Size(k)
	}
	n := 0
	if !o.clear {
		n = s.Size(k)
	}
	for item, in := range o.items {
		switch was := !o.clear && s.Has(k, item); {
		case in && !was:
			n++
		case !in && was:
			n--
		}
	}
	return n
}

// Find returns the object of a name and field, of several the first by kind, or that of the kind given if it is not 0.
func (d *Draft) Find(s *Space, name, field string, kind Kind) (Key, bool) {
	for k := (Key{name, field, Counter}); k.Kind <= Set; k.Kind++ {
		if (kind == 0 || kind == k.Kind) && d.there(s, k) {
			return k, true
		}
	}
	return Key{}, false
}

// Get returns what an object that is there will be, of a set its size as Number and no Items.
func (d *Draft) Get(s *Space, k Key) (v Value) {
	if k.Kind == Set || k.Kind == GrowSet {
		v.Number = int64(d.size(s, k))
		return v
	}
	o := d.objects[k]
	if o == nil || !o.clear {
		v, _ = s.Get(k)
	}
	if o == nil {
		return v
	}
	if o.text != nil {
		v.Text = *o.text
	}
	if sum := v.Number + o.by; (sum > v.Number) == (o.by > 0) || o.by == 0 {
		v.Number = sum
	} else if o.by > 0 {
		v.Number = math.MaxInt64
	} else {
		v.Number = math.MinInt64 + 1
	}
	return v
}

// Has reports whether a set will have an element.
func (d *Draft) Has(s *Space, k Key, item string) bool {
	o := d.objects[k]
	if o != nil {
		if in, ok := o.items[item]; ok {
			return in
		}
	}
	return (o == nil || !o.clear) && s.Has(k, item)
}

// Items returns up to limit elements of a set after one, in order, or from the first on. Whoever goes on sees them as they were at the
// first.
func (d *Draft) Items(s *Space, k Key, after string, first bool, limit int) []string {
	if first || d.of != k {
		v, _ := s.Get(k)
		d.of, d.items = k, slices.DeleteFunc(v.Items, func(item string) bool { return !d.Has(s, k, item) })
		if o := d.objects[k]; o != nil {
			for item, in := range o.items {
				if in && !s.Has(k, item) {
					d.items = append(d.items, item)
				}
			}
			slices.Sort(d.items)
		}
	}
	from := 0
	if !first {
		var found bool
		if from, found = slices.BinarySearch(d.items, after); found {
			from++
		}
	}
	return d.items[from:min(len(d.items), from+max(0, limit))]
}

// Fields returns up to limit fields of a map after one ("": from the first on), in order. Whoever goes on sees those that there were at the first.
func (d *Draft) Fields(s *Space, name, after string, limit int) (list []Key) {
	if after == "" || d.paged != name {
		d.paged, d.pages = name, s.Named(name)
		for _, o := range d.list {
			if o.key.Name == name && !s.There(o.key) {
				d.pages = append(d.pages, o.key)
			}
		}
		slices.SortFunc(d.pages, Key.compare)
	}
	from, _ := slices.BinarySearchFunc(d.pages, Key{name, after, Set + 1}, Key.compare)
	for _, k := range d.pages[from:] {
		if n := len(list); n >= limit && (n == 0 || list[n-1].Field != k.Field) {
			break
		}
		if d.there(s, k) {
			list = append(list, k)
		}
	}
	return list
}
