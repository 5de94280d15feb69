package log

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Limits of what was given up. With more, the oldest go.
const (
	MaxDead      = 1000      // copies of one consumer
	MaxDeadBytes = 4 << 20   // of one consumer
	allDead      = 128 << 20 // bytes, of all consumers
	maxWhy       = 300       // bytes
	renew        = 12 * 3600_000
)

// Dead is an entry that was given up.
type Dead struct {
	Bytes []byte `cbor:"b"`
	At    int64  `cbor:"a"` // when it was appended, Unix milliseconds
	Try   int    `cbor:"t"`
	Begun int64  `cbor:"g"`
	Why   string `cbor:"w,omitempty"`

	Offset uint64 `cbor:"-"`
}

// deadPrefix begins the keys of a consumer's copies. The name's length comes first, so that no name is the beginning of another.
func deadPrefix(name string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte("d"), uint16(len(name))), name...)
}

func deadKey(name string, offset uint64) []byte {
	return binary.BigEndian.AppendUint64(deadPrefix(name), offset)
}

func (l *Log) dead(c *Cursor, offset uint64) (d Dead, ok bool, err error) {
	b, ok, err := l.s.Get(deadKey(c.name, offset))
	if err != nil || !ok {
		return d, false, err
	}
	return d, true, decodeDead(b, &d)
}

func decodeDead(b []byte, d *Dead) error {
	if err := wire.View("what was given up", b, d); err != nil {
		return corrupt(err.Error())
	}
	return nil
}

// bear keeps a copy of an entry that is given up.
func (l *Log) bear(c *Cursor, e Entry, r run, why string) error {
	b := wire.Marshal(Dead{Bytes: e.Bytes, At: e.At, Try: r.Try, Begun: r.Begun, Why: short(why)})
	size := uint64(len(b))
	fits := func() bool { return c.Dead < MaxDead && c.Bytes+size <= MaxDeadBytes && l.Dead+size <= allDead }
	if !fits() {
		list, err := l.s.Scan(deadPrefix(c.name), nil, 64)
		if err != nil {
			return err
		}
		for _, p := range list {
			if fits() {
				break
			}
			if offset := binary.BigEndian.Uint64(p.Key[len(p.Key)-8:]); !within(c.Again, offset) {
				c.Gone++
				if err := l.bury(c, offset); err != nil {
					return err
				}
			}
		}
	}
	if !fits() {
		c.Gone++
		return nil
	}
	c.Dead++
	c.Bytes += size
	l.Dead += size
	return l.s.Put(deadKey(c.name, e.Offset), b)
}

// bury removes a copy.
func (l *Log) bury(c *Cursor, offset uint64) error {
	key := deadKey(c.name, offset)
	b, ok, err := l.s.Get(key)
	if err != nil || !ok {
		return err
	}
	size := uint64(len(b))
	c.Dead--
	c.Bytes -= min(c.Bytes, size)
	l.Dead -= min(l.Dead, size)
	return l.s.Delete(key)
}

// blame notes why what was delivered again is given up again. Its copy is there still.
func (l *Log) blame(c *Cursor, r run, why string) error {
	d, ok, err := l.dead(c, r.From)
	if err != nil || !ok {
		return err
	}
	was := uint64(len(wire.Marshal(d)))
	d.Try, d.Begun, d.Why = r.Try, r.Begun, short(why)
	b := wire.Marshal(d)
	is := uint64(len(b))
	c.Bytes += is - was
	l.Dead += is - was
	return l.s.Put(deadKey(c.name, r.From), b)
}

func short(why string) string {
	if len(why) > maxWhy {
		why = why[:maxWhy]
	}
	return string([]rune(why)) // valid UTF-8, also where it was cut
}

func within(runs []run, offset uint64) bool {
	return slices.ContainsFunc(runs, func(r run) bool { return offset >= r.From && offset < r.end() })
}

// ReadDead returns what a consumer has given up from an offset on: as many as the limits allow, one at least if there is one.
func (l *Log) ReadDead(c *Cursor, from uint64, limit, bytes int) (out []Dead, err error) {
	var after []byte
	if from > 0 {
		after = deadKey(c.name, from-1)
	}
	for {
		list, err := l.s.Scan(deadPrefix(c.name), after, 16)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			after = p.Key
			d := Dead{Offset: binary.BigEndian.Uint64(p.Key[len(p.Key)-8:])}
			if err := decodeDead(p.Value, &d); err != nil {
				return nil, err
			}
			if within(c.Again, d.Offset) {
				continue
			}
			if len(out) >= limit || len(out) > 0 && bytes < len(d.Bytes) {
				return out, nil
			}
			bytes -= len(d.Bytes)
			out = append(out, d)
		}
		if len(list) < 16 {
			return out, nil
		}
	}
}

// Resend has what was given up delivered again, as if for the first time, or forgets it. No offsets: all of it. It returns
// how many that are.
func (l *Log) Resend(c *Cursor, offsets []uint64, drop bool) (n int, err error) {
	if len(offsets) > MaxDead {
		return 0, shoal.E(shoal.Invalid, "resend", fmt.Sprintf("%d offsets, and %d is the limit", len(offsets), MaxDead), "")
	}
	all := offsets
	if len(all) == 0 {
		list, err := l.ReadDead(c, 0, MaxDead, 1<<30)
		if err != nil {
			return 0, err
		}
		for _, d := range list {
			all = append(all, d.Offset)
		}
	}
	all = slices.Clone(all)
	slices.Sort(all)
	for _, o := range slices.Compact(all) {
		d, ok, err := l.dead(c, o)
		if err != nil {
			return 0, err
		}
		if !ok || within(c.Again, o) {
			continue
		}
		n++
		if drop {
			if err := l.bury(c, o); err != nil {
				return 0, err
			}
			continue
		}
		if d.Begun+renew < l.now { // who remembers a request does so for a day
			d.Begun = 0
		}
		c.Again = append(c.Again, run{From: o, N: 1, Begun: d.Begun})
	}
	slices.SortFunc(c.Again, func(a, b run) int { return int(a.From) - int(b.From) })
	if n == 0 {
		return 0, nil
	}
	return n, l.Keep(c)
}
