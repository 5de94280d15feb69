package topic

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Limits of presences.
const (
	MaxPresent = 10_000 // nodes that subscribe, and as many that publish
	maxShown   = 1000   // publishers in a View
	sweep      = 8      // presences that are looked at when one comes, whether they are over
	countAll   = 256    // up to that many subscribers are counted one by one
)

// Keys of presences: of subscribers and of publishers by their peers, and of publishers by their numbers, the last first.
var (
	subs     = []byte("s")
	pubs     = []byte("p")
	lasts    = []byte("n")
	partsKey = []byte("P")
)

// parts is what is known of the presences as a whole.
type parts struct {
	Subs   uint64 `cbor:"s,omitempty"` // kept, also such as are over
	Pubs   uint64 `cbor:"p,omitempty"`
	Number uint64 `cbor:"n,omitempty"` // given last
}

// present is a presence as it is kept.
type present struct {
	Presence Presence `cbor:"p"`
	Until    int64    `cbor:"u"` // Unix milliseconds
}

func lastKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64(slices.Clone(lasts), ^number)
}

func presenceKey(p *Presence) []byte {
	if p.Publishes {
		return append(slices.Clone(pubs), p.Peer...)
	}
	return append(slices.Clone(subs), p.Peer...)
}

func join(o *open) ([]byte, error) {
	var p Presence
	if err := wire.Unmarshal("presence", o.Payload, &p); err != nil {
		return nil, err
	}
	if p.Peer == "" || len(p.Peer) > 128 {
		return nil, shoal.E(shoal.Invalid, "presence", fmt.Sprintf("a peer's ID of %d bytes", len(p.Peer)), "")
	}
	var all parts
	if err := get(o.Turn, partsKey, &all); err != nil {
		return nil, err
	}
	was := all
	key := presenceKey(&p)
	var old present
	if err := get(o.Turn, key, &old); err != nil {
		return nil, err
	}
	now := o.Now.UnixMilli()
	there := old.Presence.Peer != ""
	same := there && old.Presence.Epoch == p.Epoch
	switch {
	case p.Leaves && !there:
	case p.Leaves:
		if err := o.leave(&all, &old.Presence); err != nil {
			return nil, err
		}
	case same && old.Until-now > (Lease-Renew/2).Milliseconds(): // it was said a moment ago
	default:
		if err := o.sweep(&all, key, now); err != nil {
			return nil, err
		}
		if there && !same {
			if err := o.leave(&all, &old.Presence); err != nil {
				return nil, err
			}
			there = false
		}
		p.Number, p.Leaves = old.Presence.Number, false
		if !there {
			n := &all.Subs
			if p.Publishes {
				n = &all.Pubs
			}
			if *n >= MaxPresent {
				return nil, shoal.E(shoal.Overloaded, "topic", fmt.Sprintf("%d nodes take part already", *n), "try again later")
			}
			*n++
			all.Number++
			p.Number = all.Number
		}
		b := wire.Marshal(present{p, now + Lease.Milliseconds()})
		if err := o.State.Put(key, b); err != nil {
			return nil, err
		}
		if p.Publishes {
			if err := o.State.Put(lastKey(p.Number), b); err != nil {
				return nil, err
			}
		}
	}
	if all != was {
		if err := o.State.Put(partsKey, wire.Marshal(all)); err != nil {
			return nil, err
		}
	}
	return o.view()
}

// leave removes a presence that is kept.
func (o *open) leave(all *parts, p *Presence) error {
	if p.Publishes {
		all.Pubs--
		if err := o.State.Delete(lastKey(p.Number)); err != nil {
			return err
		}
	} else {
		all.Subs--
	}
	return o.State.Delete(presenceKey(p))
}

// sweep removes presences that are over among the few that follow a key: those who come are anywhere among them.
func (o *open) sweep(all *parts, key []byte, now int64) error {
	list, err := o.State.Scan(key[:1], key, sweep)
	if err == nil && len(list) < sweep { // from the beginning on
		var more []shoal.Pair
		more, err = o.State.Scan(key[:1], nil, sweep-len(list))
		list = append(list, more...)
	}
	if err != nil {
		return err
	}
	seen := map[string]bool{string(key): true}
	for _, p := range list {
		var x present
		if err := decode(p.Value, &x); err != nil {
			return err
		}
		if x.Until >= now || seen[string(p.Key)] {
			continue
		}
		seen[string(p.Key)] = true
		if err := o.leave(all, &x.Presence); err != nil {
			return err
		}
	}
	return nil
}

// present fills in who takes part.
func (o *open) present(v *View) error {
	var all parts
	if err := get(o.Turn, partsKey, &all); err != nil {
		return err
	}
	if all.Subs == 0 && all.Pubs == 0 {
		return nil
	}
	now := o.Now.UnixMilli()
	live := func(prefix []byte, limit int) (out []Presence, err error) {
		list, err := o.State.Scan(prefix, nil, limit)
		for _, p := range list {
			var x present
			if err := decode(p.Value, &x); err != nil {
				return nil, err
			}
			if x.Until >= now {
				out = append(out, x.Presence)
			}
		}
		return out, err
	}
	var err error
	if v.Subs, err = live(subs, countAll); err != nil {
		return err
	}
	v.Subscribed = len(v.Subs)
	if all.Subs > countAll {
		v.Subscribed = int(all.Subs)
	}
	v.Subs = v.Subs[:min(len(v.Subs), Shown)]
	v.Pubs, err = live(lasts, maxShown)
	return err
}
