package hostcall

import (
	"encoding/binary"

	"github.com/tetratelabs/wazero/api"
)

// key takes a key. None is empty, so that a scan can begin before the first.
func (d *Desk) key(mem api.Memory, at, n uint64) ([]byte, int32) {
	if uint32(n) == 0 {
		return nil, d.refuse(errInvalid, "key: empty")
	}
	return d.take(mem, at, n, MaxKey, "key")
}

func (d *Desk) get(mem api.Memory, s []uint64) int32 {
	key, code := d.key(mem, s[0], s[1])
	if code < 0 {
		return code
	}
	v, ok, err := d.turn.State.Get(key)
	switch {
	case err != nil:
		return d.staging(err)
	case !ok:
		return d.refuse(errNotFound, "there is no such key")
	}
	return d.give(mem, v, s[2], s[3])
}

func (d *Desk) set(mem api.Memory, s []uint64) int32 {
	key, code := d.key(mem, s[0], s[1])
	if code < 0 {
		return code
	}
	value, code := d.take(mem, s[2], s[3], MaxValue, "value")
	if code < 0 {
		return code
	}
	return d.staging(d.turn.State.Put(key, value))
}

func (d *Desk) remove(mem api.Memory, s []uint64) int32 {
	key, code := d.key(mem, s[0], s[1])
	if code < 0 {
		return code
	}
	return d.staging(d.turn.State.Delete(key))
}

// scan gives a page of pairs. It asks the state for as many as may fit, by the length of those so far: values
// may be long, and what is over the page is thrown away.
func (d *Desk) scan(mem api.Memory, s []uint64) int32 {
	prefix, code := d.take(mem, s[0], s[1], MaxKey, "prefix")
	if code < 0 {
		return code
	}
	after, code := d.take(mem, s[2], s[3], MaxKey, "after")
	if code < 0 {
		return code
	}
	if len(after) == 0 {
		after = nil
	}
	limit := min(uint32(s[4]), MaxPairs)
	d.page = d.page[:0]
	for pairs := uint32(0); pairs < limit; {
		ask := uint32(16)
		if pairs > 0 {
			ask = uint32(max(1, (MaxPage-len(d.page))*int(pairs)/len(d.page)))
		}
		ask = min(ask, limit-pairs, 256)
		got, err := d.turn.State.Scan(prefix, after, int(ask))
		if err != nil {
			return d.staging(err)
		}
		for _, p := range got {
			n := 8 + len(p.Key) + len(p.Value)
			if len(d.page) > 0 && len(d.page)+n > MaxPage {
				return d.give(mem, d.page, s[5], s[6])
			}
			d.page = binary.LittleEndian.AppendUint32(d.page, uint32(len(p.Key)))
			d.page = binary.LittleEndian.AppendUint32(d.page, uint32(len(p.Value)))
			d.page = append(append(d.page, p.Key...), p.Value...)
			after = p.Key
			pairs++
		}
		d.Host.Charge(int64(len(got)) * 500)
		if uint32(len(got)) < ask {
			break
		}
	}
	return d.give(mem, d.page, s[5], s[6])
}
