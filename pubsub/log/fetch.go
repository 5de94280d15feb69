package log

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/shoal-fabric/shoal"
)

// Limits of one turn.
const (
	MaxSettle = 4096 // acknowledgements and failures
	MaxFetch  = 1024 // entries
	maxScans  = 64   // chunks that are looked for
	maxDie    = 256  // entries that are given up
	dieBytes  = 1 << 20
	MaxBudget = 900 << 10
)

// Failure says that an entry could not be processed.
type Failure struct {
	Offset uint64
	Why    string
	After  int64 // milliseconds until it is delivered again
	Final  bool  // it is given up at once
	Back   bool  // it was not tried: the delivery does not count
	More   int   // times that it was tried besides
}

// Settle is what a worker tells and asks.
type Settle struct {
	Worker string
	Over   bool // what workers have is free, as if it had not been delivered, and nothing is waited for; also what this one has
	Lost   bool // what this worker has is free, and nothing is waited for: it may not have heard of it
	Sole   bool // with Over: from now on all other workers are refused, and what this one has stays its own until it is settled
	Ack    []uint64
	Fail   []Failure
	Limit  int // entries to deliver; 0: none
	Bytes  int // of them, about; 0 or more than MaxBudget: MaxBudget
}

const maxMore = 1000

// never is when the lease of a sole worker ends.
const never = math.MaxInt64

// Given is an entry that was delivered.
type Given struct {
	Entry
	Try   int
	Begun int64 // of its first delivery, Unix milliseconds
}

// Fetched is what a worker gets.
type Fetched struct {
	Given []Given
	Died  []uint64 // offsets of what was given up in this turn
	Due   int64    // when something may be had again if nothing is appended, Unix milliseconds; 0: never
}

// Fetch settles entries and delivers others: what is due again first, in order, then what is new, in order.
func (l *Log) Fetch(c *Cursor, q Settle) (out Fetched, err error) {
	switch {
	case len(q.Worker) > MaxWorker || q.Worker == "" && q.Limit > 0:
		return out, shoal.E(shoal.Invalid, "fetch", fmt.Sprintf("a worker's name of %d bytes: it has 1 to %d", len(q.Worker), MaxWorker), "")
	case len(q.Ack)+len(q.Fail) > MaxSettle:
		return out, shoal.E(shoal.Invalid, "fetch", fmt.Sprintf("%d entries are settled at once, and %d is the limit", len(q.Ack)+len(q.Fail), MaxSettle), "")
	case q.Limit < 0:
		return out, shoal.E(shoal.Invalid, "fetch", "a limit below zero", "")
	}
	f := &fetching{l: l, c: c, q: q, left: min(q.Limit, MaxFetch), bytes: q.Bytes}
	if f.bytes <= 0 || f.bytes > MaxBudget {
		f.bytes = MaxBudget
	}
	f.missed()
	if !q.Over && c.Sole != "" && c.Sole != q.Worker {
		return out, shoal.E(shoal.Refused, "fetch", "another worker has taken over", "stop, or take over from it")
	}
	if err := f.settle(); err != nil {
		return out, err
	}
	if q.Over {
		sole := ""
		if q.Sole {
			sole = q.Worker
		}
		f.changed, c.Sole = f.changed || c.Sole != sole, sole
	}
	if q.Over || q.Lost {
		c.Runs, c.Again = f.free(c.Runs), f.free(c.Again)
	}
	if q.Limit > 0 {
		if err := f.deliver(); err != nil {
			return out, err
		}
	}
	if f.changed || c.Used+fresh < l.now {
		c.Used = l.now
		err = l.Keep(c)
	}
	return Fetched{f.out, f.dead, f.due()}, err
}

type fetching struct {
	l       *Log
	c       *Cursor
	q       Settle
	left    int // entries that may be delivered yet
	bytes   int
	dead    []uint64 // what was given up, and how many bytes of it were copied
	buried  int
	more    bool // there is more that may be had now
	changed bool
	out     []Given
}

// missed leaves out what the log has dropped.
func (f *fetching) missed() {
	c, first := f.c, f.l.First
	for len(c.Runs) > 0 && c.Runs[0].From < first {
		r := &c.Runs[0]
		n := min(r.N, first-r.From)
		r.From, r.N, f.changed = r.From+n, r.N-n, true
		c.Missed += n
		if r.N == 0 {
			c.Runs = c.Runs[1:]
		}
	}
	if c.Front < first {
		c.Missed += first - c.Front
		c.Front, f.changed = first, true
	}
}

// free makes all due, or what this worker has: one that takes over gets what is not settled before what is new, and in order.
func (f *fetching) free(list []run) []run {
	var out []run
	for _, r := range list {
		if !f.q.Over && r.Worker != "" && r.Worker != f.q.Worker {
			out = join(out, r)
			continue
		}
		if r.Worker != "" && r.Due > f.l.now {
			r.Try = max(0, r.Try-1)
		}
		r.Worker, r.Due = "", 0
		out = join(out, r)
	}
	f.changed = f.changed || !slices.Equal(list, out)
	return out
}

// verdict is what becomes of an entry: it is acknowledged, or has failed.
type verdict struct {
	offset uint64
	fail   *Failure
}

// settle does what the worker tells. One pass goes over the runs, and one over what is told.
func (f *fetching) settle() (err error) {
	var list []verdict
	for _, o := range f.q.Ack {
		list = append(list, verdict{offset: o})
	}
	for i := range f.q.Fail {
		list = append(list, verdict{f.q.Fail[i].Offset, &f.q.Fail[i]})
	}
	if len(list) == 0 {
		return nil
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].offset < list[j].offset }) // an acknowledgement comes before a failure
	list = slices.CompactFunc(list, func(a, b verdict) bool { return a.offset == b.offset })
	if f.c.Again, err = f.pass(f.c.Again, list, true); err == nil {
		f.c.Runs, err = f.pass(f.c.Runs, list, false)
	}
	return err
}

func (f *fetching) pass(runs []run, list []verdict, again bool) (out []run, err error) {
	for _, r := range runs {
		for len(list) > 0 && list[0].offset < r.From {
			list = list[1:]
		}
		for len(list) > 0 && list[0].offset < r.end() {
			v := list[0]
			list = list[1:]
			one := cut(&r, v.offset, &out)
			if v.fail != nil && one.Worker != f.q.Worker { // it has it no more: another may
				out = join(out, one)
				continue
			}
			f.changed = true
			if v.fail == nil {
				if again {
					err = f.l.bury(f.c, one.From)
				}
			} else {
				out, err = f.failed(out, one, v.fail, again)
			}
			if err != nil {
				return nil, err
			}
		}
		if r.N > 0 {
			out = join(out, r)
		}
	}
	return out, nil
}

// cut takes one entry out of a run, and puts what lies before it into out.
func cut(r *run, offset uint64, out *[]run) run {
	if offset > r.From {
		head := *r
		head.N = offset - r.From
		*out = join(*out, head)
	}
	one := *r
	one.From, one.N = offset, 1
	r.N -= offset + 1 - r.From
	r.From = offset + 1
	return one
}

// join appends a run to a list.
func join(list []run, r run) []run {
	if n := len(list); n > 0 && list[n-1].end() == r.From && list[n-1].like(&r) {
		list[n-1].N += r.N
		return list
	}
	return append(list, r)
}

func (f *fetching) failed(out []run, one run, v *Failure, again bool) ([]run, error) {
	one.Worker, one.Due, one.Try = "", f.l.now+min(max(0, v.After), MaxAfter), one.Try+min(max(0, v.More), maxMore)
	if v.Back && !v.Final {
		one.Try = max(0, one.Try-1)
		return join(out, one), nil
	}
	if v.Final || one.Try >= f.l.rules.Tries {
		if again { // the copy is there still
			f.dead = append(f.dead, one.From)
			return out, f.l.blame(f.c, one, v.Why)
		}
		if n, err := f.die(one, v.Why); n > 0 || err != nil {
			return out, err
		}
		one.Due, one.Try = 0, max(one.Try, f.l.rules.Tries) // in a later turn
	}
	return join(out, one), nil
}

// die gives up the first of some entries of the log, and returns how many: a turn can do so many.
func (f *fetching) die(r run, why string) (n uint64, err error) {
	if len(f.dead) >= maxDie || f.buried >= dieBytes || f.l.scans >= maxScans {
		return 0, nil
	}
	list, err := f.l.Read(r.From, int(min(r.N, uint64(maxDie-len(f.dead)))), dieBytes-f.buried)
	for _, e := range list {
		f.dead = append(f.dead, e.Offset)
		f.buried += len(e.Bytes)
		if err := f.l.bear(f.c, e, r, why); err != nil {
			return 0, err
		}
	}
	return uint64(len(list)), err
}

// deliver leases what is due, then what is new.
func (f *fetching) deliver() (err error) {
	if f.c.Again, err = f.lease(f.c.Again, true); err != nil {
		return err
	}
	if f.c.Runs, err = f.lease(f.c.Runs, false); err != nil {
		return err
	}
	if f.more {
		return nil
	}
	n := min(f.left, Window-int(min(f.c.Pending(), Window)))
	if n == 0 {
		f.more = f.left == 0 && f.c.Front < f.l.Next
		return nil
	}
	if len(f.out) > 0 && f.bytes <= 0 {
		f.more = f.c.Front < f.l.Next
		return nil
	}
	r := run{From: f.c.Front, Begun: f.l.now}
	if r, err = f.give(r, n, false); err != nil {
		return err
	}
	if r.N > 0 {
		f.c.Runs = join(f.c.Runs, r)
		f.c.Front = r.end()
	}
	f.more = f.c.Front < f.l.Next && f.c.Pending() < Window
	return nil
}

// lease delivers what is due of some runs, or gives it up.
func (f *fetching) lease(runs []run, again bool) (out []run, err error) {
	for _, r := range runs {
		for r.N > 0 {
			if r.Due > f.l.now {
				out, r.N = join(out, r), 0
				continue
			}
			if f.left == 0 || f.more || f.l.scans >= maxScans || len(f.out) > 0 && f.bytes <= 0 {
				f.more = true
				out, r.N = join(out, r), 0
				continue
			}
			part := r
			if r.Try >= f.l.rules.Tries {
				const why = "it was not acknowledged in time"
				if part.N = 1; again {
					f.dead = append(f.dead, part.From)
					err = f.l.blame(f.c, part, why)
				} else if part.N, err = f.die(r, why); part.N == 0 && err == nil {
					f.more = true
					continue
				}
			} else if part, err = f.give(part, min(f.left, int(r.N)), again); part.N > 0 {
				out = join(out, part)
			} else if err == nil {
				f.more = true // it does not fit any more
				continue
			}
			if err != nil {
				return nil, err
			}
			f.changed = true
			r.From, r.N = r.From+part.N, r.N-part.N
		}
	}
	return out, nil
}

// give delivers up to n entries of a run, and returns the run of those that it did deliver.
func (f *fetching) give(r run, n int, again bool) (run, error) {
	list, err := f.entries(r, n, again)
	if err != nil {
		return run{}, err
	}
	if r.Begun == 0 {
		r.Begun = f.l.now
	}
	r.N, r.Worker, r.Due, r.Try = uint64(len(list)), f.q.Worker, f.l.now+f.l.rules.Wait, r.Try+1
	if f.c.Sole != "" {
		r.Due = never
	}
	for _, e := range list {
		f.out = append(f.out, Given{e, r.Try, r.Begun})
		f.bytes -= len(e.Bytes)
	}
	f.left -= len(list)
	f.changed = f.changed || len(list) > 0
	return r, nil
}

func (f *fetching) entries(r run, n int, again bool) ([]Entry, error) {
	if !again {
		budget := f.bytes
		if len(f.out) > 0 {
			budget = max(budget, 0)
		}
		list, err := f.l.Read(r.From, n, budget)
		if len(list) == 1 && len(f.out) > 0 && len(list[0].Bytes) > f.bytes {
			list = nil // Read gives one at least
		}
		return list, err
	}
	f.l.scans++
	d, ok, err := f.l.dead(f.c, r.From)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, corrupt("a copy of what was given up is gone")
	}
	if len(f.out) > 0 && len(d.Bytes) > f.bytes {
		return nil, nil
	}
	return []Entry{{r.From, d.At, d.Bytes}}, nil
}

// due is when something may be had again.
func (f *fetching) due() (due int64) {
	if f.more {
		return f.l.now
	}
	for _, list := range [][]run{f.c.Runs, f.c.Again} {
		for i := range list {
			if at := max(list[i].Due, f.l.now); at < never && (due == 0 || at < due) {
				due = at
			}
		}
	}
	return due
}
