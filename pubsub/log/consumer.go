package log

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Limits of consumers.
const (
	MaxConsumers = 256  // of those that hold, and of those that do not
	Window       = 1024 // delivered, and not settled: no more is delivered then
	MaxName      = 512  // bytes of a consumer's name
	MaxWorker    = 64   // bytes of a worker's name
	MaxAfter     = 3600_000
	idle         = 7 * 86400_000 // milliseconds after which a consumer that does not hold makes way for another
	fresh        = 60_000        // milliseconds within which it need not be noted that a consumer is used
)

// run is neighbours that were delivered and are not settled. All fields but the offsets are the same for all.
type run struct {
	From   uint64 `cbor:"o"`
	N      uint64 `cbor:"n"`
	Worker string `cbor:"w,omitempty"` // who has it; "": nobody
	Due    int64  `cbor:"u,omitempty"` // when it may be delivered again, Unix milliseconds; 0: now
	Try    int    `cbor:"t,omitempty"` // deliveries so far
	Begun  int64  `cbor:"b,omitempty"` // when it was first delivered, Unix milliseconds; 0: it was not
}

func (r *run) end() uint64 { return r.From + r.N }

// like reports whether both may be one run, if they are neighbours.
func (r *run) like(o *run) bool {
	return r.Worker == o.Worker && r.Due == o.Due && r.Try == o.Try && r.Begun == o.Begun
}

// Cursor is the position of a consumer. What lies in the log before Front and in no run is settled.
type Cursor struct {
	Holds  bool   `cbor:"-"` // in front of the rest, as is the floor
	Front  uint64 `cbor:"x"`
	Runs   []run  `cbor:"r,omitempty"` // in order
	Again  []run  `cbor:"a,omitempty"` // of what was given up: it is delivered again, from the copy
	Dead   int    `cbor:"d,omitempty"` // copies, those of Again as well
	Bytes  uint64 `cbor:"b,omitempty"` // of the copies
	Gone   uint64 `cbor:"g,omitempty"` // given up, and not kept
	Missed uint64 `cbor:"m,omitempty"` // dropped from the log before they were settled
	Used   int64  `cbor:"u,omitempty"` // Unix milliseconds
	Sole   string `cbor:"s,omitempty"` // the only worker; "": there may be several

	name string
}

// Floor is the least offset that is not settled.
func (c *Cursor) Floor() uint64 {
	if len(c.Runs) > 0 {
		return c.Runs[0].From
	}
	return c.Front
}

// Pending is how many were delivered and are not settled.
func (c *Cursor) Pending() uint64 { return count(c.Runs) + count(c.Again) }

// GivenUp is how many were given up and are not to be delivered again.
func (c *Cursor) GivenUp() int { return c.Dead - int(count(c.Again)) }

func count(list []run) (n uint64) {
	for i := range list {
		n += list[i].N
	}
	return n
}

// Leased is how many a worker has.
func (c *Cursor) Leased() (n uint64) {
	for _, list := range [][]run{c.Runs, c.Again} {
		for i := range list {
			if list[i].Worker != "" {
				n += list[i].N
			}
		}
	}
	return n
}

// Lag is how many are not settled.
func (c *Cursor) Lag(l *Log) uint64 {
	return c.Pending() + l.Next - max(c.Front, min(l.First, l.Next))
}

// Name is the consumer's.
func (c *Cursor) Name() string { return c.name }

var cursors = []byte("c")

func cursorKey(name string) []byte { return append(slices.Clone(cursors), name...) }

// Cursor returns a consumer's position, nil if there is no such consumer.
func (l *Log) Cursor(name string) (*Cursor, error) {
	if name == "" || len(name) > MaxName {
		return nil, shoal.E(shoal.Invalid, "consumer", fmt.Sprintf("a name of %d bytes: it has 1 to %d", len(name), MaxName), "")
	}
	b, ok, err := l.s.Get(cursorKey(name))
	if err != nil || !ok {
		return nil, err
	}
	return parseCursor(name, b)
}

func parseCursor(name string, b []byte) (*Cursor, error) {
	c := &Cursor{name: name}
	if len(b) < 9 {
		return nil, corrupt("a consumer is cut short")
	}
	if err := wire.Unmarshal("consumer", b[9:], c); err != nil {
		return nil, corrupt(err.Error())
	}
	c.Holds = b[0]&holds != 0
	return c, nil
}

// What the first byte of a consumer's record says.
const (
	holds  = 1 << 0
	resent = 1 << 1 // some of what was given up is to be delivered again
)

// Keep writes a consumer's position. What stands in front is read without the rest.
func (l *Log) Keep(c *Cursor) error {
	b := make([]byte, 9, 64)
	if c.Holds {
		b[0] |= holds
	}
	if len(c.Again) > 0 {
		b[0] |= resent
	}
	binary.BigEndian.PutUint64(b[1:], c.Floor())
	return l.s.Put(cursorKey(c.name), append(b, wire.Marshal(c)...))
}

// Make adds a consumer that begins at an offset, the next one if that is 0; the oldest that is kept if it is gone.
// Exists: there is one already. Full: there are too many.
func (l *Log) Make(name string, start uint64, holds bool) (*Cursor, error) {
	c, err := l.Cursor(name)
	switch {
	case err != nil:
		return nil, err
	case c != nil:
		return nil, shoal.E(shoal.Exists, "consumer "+name, "there is one already", "")
	}
	n := &l.Others
	if holds {
		n = &l.Held
	}
	if *n >= MaxConsumers && !holds {
		if err := l.makeWay(); err != nil {
			return nil, err
		}
	}
	if *n >= MaxConsumers {
		return nil, shoal.E(shoal.Full, "consumer "+name, fmt.Sprintf("there are %d already", *n), "have one forgotten with 'shoal topic forget'")
	}
	if start == 0 || start > l.Next {
		start = l.Next
	}
	*n++
	c = &Cursor{name: name, Front: max(start, l.First), Holds: holds, Used: l.now}
	if holds {
		l.Free = min(l.Free, c.Front)
	}
	return c, l.Keep(c)
}

// makeWay forgets the consumer that does not hold and was used least lately, if that is long ago.
func (l *Log) makeWay() error {
	var least *Cursor
	err := l.Cursors(func(c *Cursor) error {
		if !c.Holds && (least == nil || c.Used < least.Used) {
			least = c
		}
		return nil
	})
	if err != nil || least == nil || least.Used+idle > l.now {
		return err
	}
	return l.Forget(least)
}

// Forget removes a consumer, and what it has given up.
func (l *Log) Forget(c *Cursor) error {
	prefix := deadPrefix(c.name)
	for {
		list, err := l.s.Scan(prefix, nil, 64)
		if err != nil {
			return err
		}
		for _, p := range list {
			if err := l.s.Delete(p.Key); err != nil {
				return err
			}
		}
		if len(list) < 64 {
			break
		}
	}
	l.Dead -= min(l.Dead, c.Bytes)
	if c.Holds {
		l.Held--
	} else {
		l.Others--
	}
	return l.s.Delete(cursorKey(c.name))
}

// scan has f look at each consumer's record.
func (l *Log) scan(f func(name string, b []byte) error) error {
	var after []byte
	for {
		list, err := l.s.Scan(cursors, after, 64)
		if err != nil {
			return err
		}
		for _, p := range list {
			if len(p.Value) < 9 {
				return corrupt("a consumer is cut short")
			}
			if err := f(string(p.Key[1:]), p.Value); err != nil {
				return err
			}
			after = p.Key
		}
		if len(list) < 64 {
			return nil
		}
	}
}

// Cursors has f look at each consumer, in order of names.
func (l *Log) Cursors(f func(*Cursor) error) error {
	return l.scan(func(name string, b []byte) error {
		c, err := parseCursor(name, b)
		if err != nil {
			return err
		}
		return f(c)
	})
}

// Least is the least floor of the consumers that hold: entries before it are held by nobody. Without any it is the greatest number.
func (l *Log) Least() (uint64, error) {
	least, _, err := l.behind()
	return least, err
}

// Late reports whether a consumer that holds has not settled all, and returns the least floor of them.
func (l *Log) Late() (bool, uint64, error) {
	least, again, err := l.behind()
	return again || least < l.Next, least, err
}

func (l *Log) behind() (least uint64, again bool, err error) {
	least = math.MaxUint64
	if l.Held == 0 {
		return least, false, nil
	}
	err = l.scan(func(_ string, b []byte) error {
		if b[0]&holds != 0 {
			least = min(least, binary.BigEndian.Uint64(b[1:9]))
			again = again || b[0]&resent != 0
		}
		return nil
	})
	return least, again, err
}
