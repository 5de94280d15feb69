package merge

import (
	"context"

	"github.com/shoal-fabric/shoal"
)

// Turn is a shoal.Draft over a space that others use as well.
type Turn struct {
	Read bool                                                       // staging is refused
	Look func(func(*Space))                                         // for reading what is durable
	Peek func(func(*Space))                                         // what may not be yet, so as not to wait
	Make func(ctx context.Context, change func(*Space) error) error // returns when what change did is durable, or nothing has happened
	Now  func() int64                                               // Unix milliseconds
	d    Draft
}

var _ shoal.Draft = (*Turn)(nil)

// Change implements shoal.Shared.
func (t *Turn) Change(c shoal.SharedChange) (err error) {
	if t.Read {
		return shoal.E(shoal.Refused, "state "+c.Name, "the turn reads only", "call it without --read")
	}
	t.Peek(func(sp *Space) { err = t.d.Change(sp, &c) })
	return err
}

// Get implements shoal.Shared.
func (t *Turn) Get(name, field string, kind shoal.SharedKind) (o shoal.SharedObject, ok bool) {
	t.Look(func(sp *Space) {
		var k Key
		if k, ok = t.d.Find(sp, name, field, kind); ok {
			o = t.object(sp, k)
		}
	})
	return o, ok
}

func (t *Turn) object(sp *Space, k Key) shoal.SharedObject {
	v := t.d.Get(sp, k)
	return shoal.SharedObject{Field: k.Field, Kind: k.Kind, Number: v.Number, Text: v.Text}
}

// Has implements shoal.Shared.
func (t *Turn) Has(name, field, item string) (has bool) {
	t.Look(func(sp *Space) {
		for _, kind := range []Kind{GrowSet, Set} {
			has = has || t.d.Has(sp, Key{Name: name, Field: field, Kind: kind}, item)
		}
	})
	return has
}

// Items implements shoal.Shared.
func (t *Turn) Items(name, field, after string, first bool, limit int) (list []string) {
	t.Look(func(sp *Space) {
		for _, kind := range []Kind{GrowSet, Set} {
			if k, ok := t.d.Find(sp, name, field, kind); ok {
				list = t.d.Items(sp, k, after, first, limit)
				return
			}
		}
	})
	return list
}

// Fields implements shoal.Shared.
func (t *Turn) Fields(name, after string, limit int) (list []shoal.SharedObject) {
	t.Look(func(sp *Space) {
		for _, k := range t.d.Fields(sp, name, after, limit) {
			list = append(list, t.object(sp, k))
		}
	})
	return list
}

// Commit implements shoal.Draft.
func (t *Turn) Commit(ctx context.Context) error {
	if t.d.Empty() {
		return nil
	}
	return t.Make(ctx, func(sp *Space) error { return t.d.Apply(sp, t.Now()) })
}
