package hostcall

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal"
)

// What mergeable state holds.
const (
	maxShared = 512      // bytes of a name, and of a field
	maxItem   = 4 << 10  // of an element
	maxText   = 64 << 10 // of a register
)

// object takes the name and field of an object of mergeable state.
func (d *Desk) object(mem api.Memory, s []uint64) (name, field string, code int32) {
	n, code := d.take(mem, s[0], s[1], maxShared, "name")
	if code < 0 {
		return "", "", code
	}
	f, code := d.take(mem, s[2], s[3], maxShared, "field")
	if code == 0 && d.turn.Shared == nil {
		code = d.number(shoal.E(shoal.Refused, "state", "there is none here", ""))
	}
	return string(n), string(f), code
}

// look reads the state, for which it may have to wait for a moment while others' changes go to disk.
func (d *Desk) look(f func(shoal.Shared)) {
	began := time.Now()
	f(d.turn.Shared)
	if time.Since(began) > 100*time.Microsecond {
		d.Host.Resumed()
	}
}

// change stages a change, whose verb is known, of the object that the first arguments name.
func (d *Desk) change(mem api.Memory, s []uint64, c shoal.SharedChange) (code int32) {
	if c.Name, c.Field, code = d.object(mem, s); code < 0 {
		return code
	}
	if err := d.turn.Shared.Change(c); err != nil {
		return d.number(err)
	}
	return 0
}

func (d *Desk) stateAdd(mem api.Memory, s []uint64) int32 {
	return d.change(mem, s, shoal.SharedChange{Verb: shoal.SharedAdd, By: int64(s[4]), Kind: kind(s[5])})
}

func (d *Desk) stateSet(mem api.Memory, s []uint64) int32 {
	b, code := d.take(mem, s[4], s[5], maxText, "value")
	if code < 0 {
		return code
	}
	return d.change(mem, s, shoal.SharedChange{Verb: shoal.SharedPut, Text: bytes.Clone(b)})
}

func (d *Desk) stateInsert(mem api.Memory, s []uint64) int32 {
	b, code := d.take(mem, s[4], s[5], maxItem, "element")
	if code < 0 {
		return code
	}
	return d.change(mem, s, shoal.SharedChange{Verb: shoal.SharedInsert, Item: string(b), Kind: kind(s[6])})
}

func (d *Desk) stateRemove(mem api.Memory, s []uint64) int32 {
	b, code := d.take(mem, s[4], s[5], maxItem, "element")
	if code < 0 {
		return code
	}
	return d.change(mem, s, shoal.SharedChange{Verb: shoal.SharedRemove, Item: string(b)})
}

func (d *Desk) stateClear(mem api.Memory, s []uint64) int32 {
	return d.change(mem, s, shoal.SharedChange{Verb: shoal.SharedClear})
}

// kind takes a kind of object; what is none of them is none that there is.
func kind(n uint64) shoal.SharedKind { return shoal.SharedKind(min(uint32(n), 255)) }

// stateGet gives an object: its kind, and its value.
func (d *Desk) stateGet(mem api.Memory, s []uint64) int32 {
	name, field, code := d.object(mem, s)
	if code < 0 {
		return code
	}
	var o shoal.SharedObject
	var ok bool
	d.look(func(sh shoal.Shared) { o, ok = sh.Get(name, field, kind(s[4])) })
	if !ok {
		return d.refuse(errNotFound, "nothing of this name is known here")
	}
	d.page = appendValue(binary.LittleEndian.AppendUint32(d.page[:0], uint32(o.Kind)), o)
	return d.give(mem, d.page, s[5], s[6])
}

// appendValue writes a register's bytes, or a number.
func appendValue(b []byte, o shoal.SharedObject) []byte {
	if o.Kind == shoal.SharedRegister {
		return append(b, o.Text...)
	}
	return binary.LittleEndian.AppendUint64(b, uint64(o.Number))
}

// stateHas says whether a set has an element.
func (d *Desk) stateHas(mem api.Memory, s []uint64) int32 {
	b, code := d.take(mem, s[4], s[5], maxItem, "element")
	if code < 0 {
		return code
	}
	name, field, code := d.object(mem, s)
	if code < 0 {
		return code
	}
	has, item := false, string(b)
	d.look(func(sh shoal.Shared) { has = sh.Has(name, field, item) })
	if has {
		return 1
	}
	return 0
}

// stateItems gives a page of a set.
func (d *Desk) stateItems(mem api.Memory, s []uint64) int32 {
	name, field, code := d.object(mem, s)
	if code < 0 {
		return code
	}
	after, code := d.take(mem, s[4], s[5], maxItem, "after")
	if code < 0 {
		return code
	}
	last := string(after)
	var list []string
	d.look(func(sh shoal.Shared) {
		list = sh.Items(name, field, last, uint32(s[6]) != 0, int(min(uint32(s[7]), MaxPairs)))
	})
	d.page = d.page[:0]
	for _, item := range list {
		if len(d.page) > 0 && len(d.page)+4+len(item) > MaxPage {
			break
		}
		d.page = binary.LittleEndian.AppendUint32(d.page, uint32(len(item)))
		d.page = append(d.page, item...)
	}
	d.Host.Charge(int64(len(list)) * 500)
	return d.give(mem, d.page, s[8], s[9])
}

// stateFields gives a page of a map.
func (d *Desk) stateFields(mem api.Memory, s []uint64) int32 {
	name, after, code := d.object(mem, s)
	if code < 0 {
		return code
	}
	var list []shoal.SharedObject
	d.look(func(sh shoal.Shared) { list = sh.Fields(name, after, int(min(uint32(s[4]), MaxPairs))) })
	d.page = d.page[:0]
	for i, o := range list {
		n := 12 + len(o.Field) + max(8, len(o.Text))
		if len(d.page) > 0 && len(d.page)+n > MaxPage && o.Field != list[i-1].Field { // the next page begins with another field
			break
		}
		value := appendValue(nil, o)
		d.page = binary.LittleEndian.AppendUint32(d.page, uint32(o.Kind))
		d.page = binary.LittleEndian.AppendUint32(d.page, uint32(len(o.Field)))
		d.page = binary.LittleEndian.AppendUint32(d.page, uint32(len(value)))
		d.page = append(append(d.page, o.Field...), value...)
	}
	d.Host.Charge(int64(len(list)) * 500)
	return d.give(mem, d.page, s[5], s[6])
}
