package view

import (
	"cmp"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// sweepEvery is how often Since looks for members whose state is another only because time has passed.
const sweepEvery = 250 * time.Millisecond

// maxFresh bounds what waits for a reader.
const maxFresh = 128

// since is what changed in a view, in order, so that a reader need not look at every row.
type since struct {
	mark    uint64   // grows with each change that is told
	dropped uint64   // the mark at which a row was last deleted
	fresh   []*entry // may have another state than they had
	log     []change // by mark; of an entry's changes the last one counts
	swept   time.Time
}

type change struct {
	mark uint64
	e    *entry
}

// look notes that something has happened to an entry.
func (s *since) look(e *entry) {
	e.last = ""                   // so that a new record is told, too
	if len(s.fresh) >= maxFresh { // nobody reads: whoever does looks at all
		clear(s.fresh)
		s.fresh, s.swept = s.fresh[:0], time.Time{}
	}
	s.fresh = append(s.fresh, e)
}

// Since returns the rows, departed ones included, whose record or state changed after mark, in no order, and the
// mark to ask with next. all says that it is every row: mark was 0, or of another view, or rows went
// meanwhile, so what the caller has and does not find here is gone. What time alone changes is told 250 ms late at
// most. A second call at the same time with the new mark returns nothing. Slices and maps in the rows must not be
// changed.
func (v *View) Since(mark uint64, now time.Time) (rows []shoal.Member, next uint64, all bool) {
	v.refresh(now)
	list, all := v.since.after(mark, v.order)
	for _, e := range list {
		rows = append(rows, v.member(e, now))
	}
	return rows, v.since.mark, all
}

// after returns who changed after a mark; all of whom there are if that is not known.
func (s *since) after(mark uint64, rows []*entry) (list []*entry, all bool) {
	if mark < s.dropped || mark > s.mark {
		return rows, true
	}
	from, _ := slices.BinarySearchFunc(s.log, mark+1, func(c change, m uint64) int { return cmp.Compare(c.mark, m) })
	for _, c := range s.log[from:] {
		if c.e.changed == c.mark {
			list = append(list, c.e)
		}
	}
	return list, false
}

// refresh brings the log up to date.
func (v *View) refresh(now time.Time) {
	s := &v.since
	for _, e := range s.fresh {
		v.settle(e, now)
	}
	clear(s.fresh)
	s.fresh = s.fresh[:0]
	if since := now.Sub(s.swept); since >= sweepEvery || since < 0 {
		s.swept = now
		for _, e := range v.rows {
			v.settle(e, now)
		}
	}
	if len(s.log) > 2*len(v.rows)+64 {
		s.log = slices.DeleteFunc(s.log, func(c change) bool { return c.e.changed != c.mark || v.rows[c.e.id] != c.e })
	}
}

// settle logs an entry if it is another than it was.
func (v *View) settle(e *entry, now time.Time) {
	if s := v.state(e, now); s != e.last && v.rows[e.id] == e {
		v.since.mark++
		e.last, e.changed = s, v.since.mark
		v.since.log = append(v.since.log, change{v.since.mark, e})
	}
}

// Mark is the greatest mark that Since has given.
func (v *View) Mark() uint64 { return v.since.mark }
