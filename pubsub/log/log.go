package log

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Limits.
const (
	MaxBytes = 512 << 20 // that a log takes; an agent keeps a GiB in all
	MaxEntry = 256 << 10 // bytes of one entry
	chunk    = 256 << 10 // bytes of entries under one key, about
	maxBatch = 3 << 19   // bytes of the entries of one append: a turn writes 3 MiB, of what is dropped as well
	few      = 8         // chunks that an append drops because they are old: it adds one
	many     = 64        // chunks that it drops because there are too many bytes
)

// Rules are what bounds a log. Times are in milliseconds.
type Rules struct {
	Retain int64  // older entries are dropped; 0: they are not
	Bytes  uint64 // of all entries; 0, or more than MaxBytes: MaxBytes
	Wait   int64  // after which what was not acknowledged is delivered again
	Tries  int    // deliveries, after which it is given up; 0: it never is
}

// Head is what is known of a log as a whole.
type Head struct {
	First   uint64 `cbor:"f,omitempty"` // offset of the oldest entry that is kept
	Next    uint64 `cbor:"n,omitempty"` // that the next one gets
	Bytes   uint64 `cbor:"b,omitempty"` // of all chunks
	Oldest  int64  `cbor:"o,omitempty"` // when the oldest was appended, Unix milliseconds
	Newest  int64  `cbor:"w,omitempty"`
	Held    int    `cbor:"h,omitempty"` // consumers that hold
	Free    uint64 `cbor:"r,omitempty"` // entries before it are held by nobody: at least those
	Blocked int64  `cbor:"k,omitempty"` // when an old chunk was found to be held: not asked again for a second
	Others  int    `cbor:"c,omitempty"` // consumers that do not hold
	Dead    uint64 `cbor:"d,omitempty"` // bytes of all that was given up
	Tend    bool   `cbor:"t,omitempty"` // for the log's user: a timer is set
	Trim    int64  `cbor:"m,omitempty"` // for the log's user: when another is due, Unix milliseconds; 0: it is not set
}

// Log is a log in one turn. Close ends it.
type Log struct {
	Head
	was   Head
	s     shoal.State
	rules Rules
	now   int64

	last  part // the chunk read last
	scans int  // of chunks, in this turn
}

// Entry is an entry of a log.
type Entry struct {
	Offset uint64
	At     int64 // Unix milliseconds
	Bytes  []byte
}

var headKey = []byte("h")

// Open begins a turn's work on a log. now is the turn's time in Unix milliseconds.
func Open(s shoal.State, r Rules, now int64) (*Log, error) {
	if r.Bytes == 0 || r.Bytes > MaxBytes {
		r.Bytes = MaxBytes
	}
	if r.Tries == 0 {
		r.Tries = math.MaxInt
	}
	l := &Log{s: s, rules: r, now: now}
	if err := get(s, headKey, &l.Head); err != nil {
		return nil, err
	}
	l.was = l.Head
	if l.Next == 0 {
		l.First, l.Next = 1, 1
	}
	l.now = max(now, l.Newest)
	return l, nil
}

// Close writes what changed of the head.
func (l *Log) Close() error {
	if l.Head == l.was {
		return nil
	}
	l.was = l.Head
	return l.s.Put(headKey, wire.Marshal(l.Head))
}

// Append puts entries at the end, and returns the offset of the first. Overloaded: consumers hold too much.
func (l *Log) Append(entries [][]byte) (uint64, error) {
	bytes := 0
	for _, e := range entries {
		if len(e) > MaxEntry {
			return 0, shoal.E(shoal.Invalid, "append", fmt.Sprintf("an entry of %d bytes, and %d is the limit", len(e), MaxEntry), "")
		}
		bytes += len(e)
	}
	if bytes > maxBatch {
		return 0, shoal.E(shoal.Invalid, "append", fmt.Sprintf("%d bytes at once, and %d is the limit", bytes, maxBatch), "append fewer")
	}
	if err := l.room(uint64(bytes)); err != nil {
		return 0, err
	}
	first := l.Next
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && (n == 0 || size+len(entries[n]) <= chunk) {
			size += len(entries[n])
			n++
		}
		if err := l.put(entries[:n], size); err != nil {
			return 0, err
		}
		entries = entries[n:]
	}
	return first, nil
}

// put writes one chunk.
func (l *Log) put(entries [][]byte, size int) error {
	b := make([]byte, 0, size+5*len(entries)+20)
	b = binary.AppendUvarint(b, uint64(l.now))
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for _, e := range entries {
		b = binary.AppendUvarint(b, uint64(len(e)))
		b = append(b, e...)
	}
	if l.First == l.Next {
		l.Oldest = l.now
	}
	l.Next += uint64(len(entries))
	l.Bytes += uint64(len(b))
	l.Newest = l.now
	return l.s.Put(chunkKey(l.Next-1), b)
}

// room drops what is too old, and what is too much.
func (l *Log) room(bytes uint64) error {
	if l.now >= l.Blocked+1000 {
		if _, err := l.Drop(few); err != nil {
			return err
		}
	}
	full := func() bool { return l.First < l.Next && l.Bytes+bytes > l.rules.Bytes }
	held, err := l.drop(many, full)
	if err == nil && held && full() {
		return &shoal.Error{
			Kind: shoal.Overloaded, What: "append", Why: fmt.Sprintf("%d bytes are kept for bindings that have not acknowledged them", l.Bytes),
			Try: "see who is behind with 'shoal topic show'", RetryAfter: time.Second,
		}
	}
	return err
}

// Old reports whether the oldest entry is older than the rules allow.
func (l *Log) Old() bool {
	return l.rules.Retain > 0 && l.First < l.Next && l.Oldest+l.rules.Retain < l.now
}

// Drop drops up to n chunks that are too old, and reports whether that is all that may go now.
func (l *Log) Drop(n int) (all bool, err error) {
	held, err := l.drop(n, l.Old)
	if held {
		l.Blocked = l.now
	}
	return held || !l.Old(), err
}

// drop drops up to n of the oldest chunks while they are due, and reports whether it stopped at one that is held.
func (l *Log) drop(n int, due func() bool) (held bool, err error) {
	const batch = 16
	for n > 0 && due() {
		list, err := l.s.Scan(chunks, chunkKey(l.First-1), min(n, batch)+1)
		if err != nil {
			return false, err
		}
		if len(list) == 0 {
			return false, corrupt("the log ends before its end")
		}
		whole := len(list) <= min(n, batch)
		for i, p := range list {
			if i == len(list)-1 && !whole || !due() {
				break
			}
			c, _, err := parseHead(p)
			if err != nil {
				return false, err
			}
			end := c.first + uint64(c.n)
			if l.Held > 0 && l.Free < end {
				if l.Free, err = l.Least(); err != nil || l.Free < end {
					return err == nil, err
				}
			}
			if err := l.s.Delete(p.Key); err != nil {
				return false, err
			}
			n--
			l.First, l.Oldest = end, 0
			l.Bytes -= min(l.Bytes, uint64(len(p.Value)))
			if i+1 < len(list) {
				next, _, err := parseHead(list[i+1])
				if err != nil {
					return false, err
				}
				l.Oldest = next.at
			}
		}
	}
	return false, nil
}

// part is a chunk that was read.
type part struct {
	first   uint64
	n       int
	at      int64
	entries [][]byte
}

func (c *part) has(offset uint64) bool {
	return offset >= c.first && offset < c.first+uint64(c.n)
}

// Read returns entries from an offset on, or from the oldest if that is later: as many as the limits allow, one at least if
// there is one.
func (l *Log) Read(from uint64, limit, bytes int) (list []Entry, err error) {
	from = max(from, l.First)
	for batch := 1; from < l.Next && len(list) < limit && (bytes > 0 || len(list) == 0); batch = min(2*batch, 16) {
		if !l.last.has(from) {
			if err := l.read(from, &list, limit, &bytes, batch); err != nil {
				return nil, err
			}
		} else if !l.take(from, &list, limit, &bytes) {
			break
		}
		if len(list) > 0 {
			from = list[len(list)-1].Offset + 1
		}
	}
	return list, nil
}

// read takes entries from some chunks.
func (l *Log) read(from uint64, list *[]Entry, limit int, bytes *int, batch int) error {
	pairs, err := l.s.Scan(chunks, chunkKey(from-1), batch)
	if err != nil {
		return err
	}
	l.scans++
	for _, p := range pairs {
		if l.last, err = parse(p); err != nil {
			return err
		}
		if !l.last.has(from) {
			return corrupt("the log has a gap")
		}
		if !l.take(from, list, limit, bytes) {
			return nil
		}
		from = l.last.first + uint64(l.last.n)
	}
	if len(pairs) == 0 {
		return corrupt("the log ends before its end")
	}
	return nil
}

// take takes entries from the chunk that was read last, and reports whether there may be more.
func (l *Log) take(from uint64, list *[]Entry, limit int, bytes *int) bool {
	for i, e := range l.last.entries[from-l.last.first:] {
		if len(*list) >= limit || len(*list) > 0 && *bytes < len(e) {
			return false
		}
		*bytes -= len(e)
		*list = append(*list, Entry{from + uint64(i), l.last.at, e})
	}
	return true
}

// Since returns the offset of the first entry that was appended at that time or later, Unix milliseconds; Next if there is none.
func (l *Log) Since(at int64) (uint64, error) {
	low, high := l.First, l.Next // the answer is in [low, high]
	for low < high {
		mid := low + (high-low)/2
		pairs, err := l.s.Scan(chunks, chunkKey(mid-1), 1)
		if err != nil {
			return 0, err
		}
		if len(pairs) == 0 {
			return 0, corrupt("the log ends before its end")
		}
		c, _, err := parseHead(pairs[0])
		if err != nil {
			return 0, err
		}
		if !c.has(mid) {
			return 0, corrupt("the log has a gap")
		}
		if c.at >= at {
			high = max(c.first, low)
		} else {
			low = c.first + uint64(c.n)
		}
	}
	return low, nil
}

var chunks = []byte("l")

// chunkKey is the key of the chunk whose last entry has that offset.
func chunkKey(last uint64) []byte { return binary.BigEndian.AppendUint64(slices.Clone(chunks), last) }

// parseHead reads what stands before the entries of a chunk, and returns the rest.
func parseHead(p shoal.Pair) (c part, b []byte, err error) {
	if len(p.Key) != 9 {
		return c, nil, corrupt("a chunk has no offset")
	}
	b = p.Value
	var at, n uint64
	for _, v := range []*uint64{&at, &n} {
		k := 0
		if *v, k = binary.Uvarint(b); k <= 0 {
			return c, nil, corrupt("a chunk is cut short")
		}
		b = b[k:]
	}
	last := binary.BigEndian.Uint64(p.Key[1:])
	if n == 0 || n > uint64(len(b)) || n > last {
		return c, nil, corrupt("a chunk has not as many entries as it says")
	}
	return part{first: last - n + 1, n: int(n), at: int64(at)}, b, nil
}

// parse reads a chunk, of whose value the entries are parts.
func parse(p shoal.Pair) (part, error) {
	c, b, err := parseHead(p)
	if err != nil {
		return c, err
	}
	c.entries = make([][]byte, c.n)
	for i := range c.entries {
		size, k := binary.Uvarint(b)
		if k <= 0 || size > uint64(len(b)-k) {
			return c, corrupt("a chunk is cut short")
		}
		c.entries[i] = b[k : k+int(size) : k+int(size)]
		b = b[k+int(size):]
	}
	return c, nil
}

func corrupt(why string) error { return shoal.E(shoal.Corrupt, "topic's log", why, "") }

// get decodes a value of the state, if there is one.
func get(s shoal.State, key []byte, v any) error {
	b, ok, err := s.Get(key)
	if err != nil || !ok {
		return err
	}
	if err := wire.Unmarshal("record", b, v); err != nil {
		return &shoal.Error{Kind: shoal.Corrupt, What: "topic's log", Why: err.Error(), Err: err}
	}
	return nil
}
