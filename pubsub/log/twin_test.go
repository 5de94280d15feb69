package log

import (
	"flag"
	"fmt"
	"maps"
	"slices"
)

var (
	seed  = flag.Uint64("seed", 1, "of the first schedule")
	seeds = flag.Int("seeds", 300, "schedules to run")
)

// mark is what the twin knows of an entry of a consumer that is delivered and not settled.
type mark struct {
	worker     string
	due, begun int64
	try        int
}

// copied is what a consumer of the twin has given up.
type copied struct {
	text       string
	at, begun  int64
	try        int
	why        string
	again      bool
	redelivery mark
}

// follower is a consumer of the twin: every entry for itself.
type follower struct {
	holds  bool
	front  uint64
	marks  map[uint64]*mark
	dead   map[uint64]*copied
	missed uint64
	floor  uint64 // as it was last seen
	sole   string
}

// twin is the dumb version: slices and maps in memory, entry by entry. What the log dropped it drops as well, if it may be.
type twin struct {
	rules     Rules
	first     uint64
	text      []string // by offset - 1
	at        []int64
	size      []uint64
	followers map[string]*follower
}

func (w *twin) next() uint64 { return uint64(len(w.text)) + 1 }

// fetch is Fetch, entry by entry.
func (w *twin) fetch(f *follower, q Settle, now int64) (out []string) {
	for o := f.front; o < w.first; o++ {
		f.missed++
		f.front++
	}
	for o := range f.marks {
		if o < w.first {
			f.missed++
			delete(f.marks, o)
		}
	}
	told := map[uint64]bool{}
	for _, o := range q.Ack {
		told[o] = true
		if d := f.dead[o]; d != nil && d.again {
			delete(f.dead, o)
		}
		delete(f.marks, o)
	}
	for _, v := range q.Fail {
		if told[v.Offset] {
			continue
		}
		told[v.Offset] = true
		if d := f.dead[v.Offset]; d != nil && d.again && d.redelivery.worker == q.Worker {
			if m := &d.redelivery; v.Back && !v.Final {
				m.worker, m.due, m.try = "", now+v.After, max(0, m.try-1)
			} else if v.Final || m.try >= w.rules.Tries {
				d.again, d.try, d.begun, d.why = false, m.try, m.begun, v.Why
			} else {
				m.worker, m.due = "", now+v.After
			}
		}
		if m := f.marks[v.Offset]; m != nil && m.worker == q.Worker {
			if v.Back && !v.Final {
				m.worker, m.due, m.try = "", now+v.After, max(0, m.try-1)
			} else if v.Final || m.try >= w.rules.Tries {
				delete(f.marks, v.Offset)
				f.dead[v.Offset] = &copied{w.text[v.Offset-1], w.at[v.Offset-1], m.begun, m.try, v.Why, false, mark{}}
			} else {
				m.worker, m.due = "", now+v.After
			}
		}
	}
	if q.Over || q.Lost {
		free := func(m *mark) {
			if !q.Over && m.worker != "" && m.worker != q.Worker {
				return
			}
			if m.worker != "" && m.due > now {
				m.try = max(0, m.try-1)
			}
			m.worker, m.due = "", 0
		}
		for _, m := range f.marks {
			free(m)
		}
		for _, d := range f.dead {
			free(&d.redelivery) // of no account unless it is sent again
		}
	}
	if q.Over {
		f.sole = ""
		if q.Sole {
			f.sole = q.Worker
		}
	}
	if q.Limit == 0 {
		return nil
	}
	give := func(o uint64, text string, m *mark) {
		if m.begun == 0 {
			m.begun = now
		}
		m.worker, m.due, m.try = q.Worker, now+w.rules.Wait, m.try+1
		if f.sole != "" {
			m.due = never
		}
		out = append(out, fmt.Sprintf("%d:%s/%d@%d", o, text, m.try, m.begun))
	}
	const why = "it was not acknowledged in time"
	for _, o := range slices.Sorted(maps.Keys(f.dead)) {
		d := f.dead[o]
		switch m := &d.redelivery; {
		case !d.again || m.due > now || len(out) == q.Limit:
		case m.try >= w.rules.Tries:
			d.again, d.try, d.begun, d.why = false, m.try, m.begun, why
		default:
			give(o, d.text, m)
		}
	}
	for _, o := range slices.Sorted(maps.Keys(f.marks)) {
		switch m := f.marks[o]; {
		case m.due > now || len(out) == q.Limit:
		case m.try >= w.rules.Tries:
			delete(f.marks, o)
			f.dead[o] = &copied{w.text[o-1], w.at[o-1], m.begun, m.try, why, false, mark{}}
		default:
			give(o, w.text[o-1], m)
		}
	}
	for ; f.front < w.next() && len(out) < q.Limit; f.front++ {
		m := &mark{}
		f.marks[f.front] = m
		give(f.front, w.text[f.front-1], m)
	}
	return out
}

func (f *follower) least() uint64 {
	least := f.front
	for o := range f.marks {
		least = min(least, o)
	}
	return least
}

// alive is what was delivered, or is to be delivered again, and is not settled.
func (f *follower) alive() map[uint64]bool {
	out := map[uint64]bool{}
	for o := range f.marks {
		out[o] = true
	}
	for o, d := range f.dead {
		if d.again {
			out[o] = true
		}
	}
	return out
}

func (f *follower) pending() (n uint64) {
	for _, d := range f.dead {
		if d.again {
			n++
		}
	}
	return n + uint64(len(f.marks))
}
