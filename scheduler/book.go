package scheduler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/wire"
)

// book is the records of the tasks that have their home here or run here. Changes reach the disk
// in batches (one durable write for many tasks), each under a key of its own in order; at the
// opening the last version of a record wins and the batches are written anew.
type book struct {
	kv  shoal.KV
	cfg Config

	mu     sync.Mutex
	recs   map[shoal.TaskID]*entry
	ended  []shoal.TaskID // in the order of their end, for the bound
	dirty  map[shoal.TaskID]bool
	seq    uint64
	first  uint64        // of the batches on disk
	writes sync.Mutex    // one flush at a time
	kick   chan struct{} // something is dirty
}

// entry is one record. Its fields belong to book.mu.
type entry struct {
	rec     job.Record
	changed chan struct{} // closed and renewed at each change
	cancel  func()        // nil: nothing to cancel
	live    int           // copies of the task that are on their way
}

const (
	batchKey   = "batch/"
	batchMax   = 512                    // records in one batch
	batchesMax = 256                    // batches on disk before they are written anew
	flushWait  = 200 * time.Millisecond // how long changes gather
)

func openBook(kv shoal.KV, cfg Config, now time.Time) (*book, error) {
	b := &book{
		kv: kv, cfg: cfg, recs: map[shoal.TaskID]*entry{}, dirty: map[shoal.TaskID]bool{},
		kick: make(chan struct{}, 1),
	}
	var keys []string
	for k, v := range kv.Scan(batchKey) {
		keys = append(keys, k)
		if _, err := fmt.Sscanf(k, batchKey+"%016x", &b.seq); err != nil {
			cfg.Log.Warn("a batch of task records has an unknown name and is dropped", "key", k)
			continue
		}
		b.seq++
		var batch []job.Record
		if err := wire.Unmarshal("task records", v, &batch); err != nil {
			cfg.Log.Warn("a batch of task records is unreadable and dropped", "key", k, "error", err)
			continue
		}
		for _, r := range batch {
			b.recs[r.ID] = &entry{rec: r, changed: make(chan struct{})}
		}
	}
	for _, e := range b.recs {
		if !job.Ended(e.rec.State) {
			e.rec.State, e.rec.Ended = shoal.TaskFailed, now.UnixMilli()
			e.rec.Err = wire.FromError(shoal.E(shoal.Unavailable, "task "+string(e.rec.ID), "node restarted", "run it again"))
		}
	}
	b.ended = slices.SortedFunc(maps.Keys(b.recs), func(x, y shoal.TaskID) int {
		rx, ry := b.recs[x].rec, b.recs[y].rec
		if rx.Ended != ry.Ended {
			return int(max(-1, min(1, rx.Ended-ry.Ended)))
		}
		return strings.Compare(string(x), string(y))
	})
	b.trim()
	if len(keys) == 0 {
		return b, nil
	}
	b.first = b.seq
	return b, b.rewrite(keys)
}

// trim drops the oldest of too many ended records. The lock is held (or nobody else knows b).
func (b *book) trim() {
	for n := len(b.ended) - b.cfg.Records; n > 0; n-- {
		id := b.ended[0]
		b.ended = b.ended[1:]
		if e := b.recs[id]; e != nil && job.Ended(e.rec.State) {
			delete(b.recs, id)
			delete(b.dirty, id)
		}
	}
}

// rewrite writes all records into new batches and deletes the old keys.
func (b *book) rewrite(old []string) error {
	b.mu.Lock()
	for id := range b.recs {
		b.dirty[id] = true
	}
	b.mu.Unlock()
	if err := b.write(); err != nil {
		return err
	}
	for _, k := range old {
		if err := b.kv.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// write puts what is dirty on disk.
func (b *book) write() error {
	b.mu.Lock()
	ids := slices.Sorted(maps.Keys(b.dirty))
	clear(b.dirty)
	recs := make([]job.Record, 0, len(ids))
	for _, id := range ids {
		if e := b.recs[id]; e != nil {
			recs = append(recs, e.rec.Clone())
		}
	}
	b.mu.Unlock()
	for chunk := range slices.Chunk(recs, batchMax) {
		if err := b.kv.Set(fmt.Sprintf(batchKey+"%016x", b.seq), wire.Marshal(chunk)); err != nil {
			b.mu.Lock()
			for _, r := range recs {
				b.dirty[r.ID] = true
			}
			b.mu.Unlock()
			return shoal.Wrap(shoal.Internal, "keep task records", err)
		}
		b.seq++
	}
	return nil
}

// flush has every change so far on disk when it returns nil.
func (b *book) flush() error {
	b.writes.Lock()
	defer b.writes.Unlock()
	if err := b.write(); err != nil {
		return err
	}
	if b.seq-b.first <= batchesMax {
		return nil
	}
	var old []string
	for k := range b.kv.Scan(batchKey) {
		old = append(old, k)
	}
	b.first = b.seq
	return b.rewrite(old)
}

// flushLoop flushes from time to time until ctx ends.
func (b *book) flushLoop(ctx context.Context) {
	for {
		select {
		case <-b.kick:
		case <-ctx.Done():
			return
		}
		t := time.NewTimer(flushWait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		if err := b.flush(); err != nil {
			b.cfg.Log.Error("task records are not on disk", "error", err)
		}
	}
}

func (b *book) touch(e *entry) {
	b.dirty[e.rec.ID] = true
	close(e.changed)
	e.changed = make(chan struct{})
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// put begins a record. One of the same name that has ended, or that another attempt left, makes way.
func (b *book) put(r job.Record, cancel func()) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := &entry{rec: r.Clone(), changed: make(chan struct{}), cancel: cancel, live: 1}
	if old := b.recs[r.ID]; old != nil {
		defer close(old.changed) // whoever waits looks again
		old.changed = make(chan struct{})
	}
	b.recs[r.ID] = e
	b.touch(e)
	return e
}

// join has a second copy of a task share the record of the first, which is then found at n in Copies.
// When the first has failed meanwhile, the record begins anew.
func (b *book) join(r job.Record, cancel func()) (e *entry, n int) {
	b.mu.Lock()
	e = b.recs[r.ID]
	if e == nil || job.Ended(e.rec.State) && e.rec.State != shoal.TaskDone {
		b.mu.Unlock()
		return b.put(r, cancel), 0
	}
	defer b.mu.Unlock()
	c := &e.rec.Copies
	if len(*c) == 0 {
		*c = append(*c, job.Copy{Peer: e.rec.Peer, State: e.rec.State, Began: e.rec.Created, Ended: e.rec.Ended})
	}
	if len(*c) < job.MaxCopies {
		*c = append(*c, job.Copy{State: shoal.TaskQueued, Began: r.Created})
	}
	e.live++
	first := e.cancel
	e.cancel = func() {
		if first != nil {
			first()
		}
		cancel()
	}
	b.touch(e)
	return e, len(*c) - 1
}

// copied changes what is known of copy n of a task, and the record with it as long as it is the first.
func (b *book) copied(e *entry, n int, peer shoal.PeerID, st shoal.TaskState, f func(*job.Record)) {
	b.mu.Lock()
	if n < len(e.rec.Copies) && !job.Ended(e.rec.Copies[n].State) {
		c := &e.rec.Copies[n]
		if c.State = st; peer != "" {
			c.Peer = peer
		}
		if n > 0 && b.recs[e.rec.ID] == e {
			b.touch(e)
		}
	}
	b.mu.Unlock()
	if n == 0 {
		b.update(e, f)
	}
}

// end notes that copy n of a task has ended. The first that ends well ends the record, and else the last.
func (b *book) end(e *entry, n int, why cost.Explain, out shoal.Outcome, err error, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.live--
	if n < len(e.rec.Copies) {
		c := &e.rec.Copies[n]
		c.State, c.Ended = job.EndState(err), now.UnixMilli()
		if b.recs[e.rec.ID] == e {
			b.touch(e)
		}
	}
	b.change(e, func(r *job.Record) {
		if err != nil && e.live > 0 {
			for _, c := range r.Copies { // whoever asks for its log looks there
				if !job.Ended(c.State) && c.Peer != "" {
					r.Peer = c.Peer
				}
			}
			return
		}
		if out.Peer != "" {
			r.Peer = out.Peer
		}
		r.Explained(why)
		finish(r, out, err, now)
	})
}

// update changes a record. A state that may not follow is left as it was; nor does an ended record
// change, apart from what f changes together with its end.
func (b *book) update(e *entry, f func(*job.Record)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.change(e, f)
}

// change is update with the lock held.
func (b *book) change(e *entry, f func(*job.Record)) {
	was := e.rec.State
	if job.Ended(was) {
		return
	}
	f(&e.rec)
	if e.rec.State != was && !job.Step(was, e.rec.State) {
		e.rec.State = was
	}
	if job.Ended(e.rec.State) {
		e.cancel = nil
		if b.recs[e.rec.ID] == e {
			b.ended = append(b.ended, e.rec.ID)
			b.trim()
		}
	}
	if b.recs[e.rec.ID] == e {
		b.touch(e)
	}
}

// get returns a copy of the record and a channel that closes when it changes.
func (b *book) get(id shoal.TaskID) (job.Record, <-chan struct{}, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.recs[id]
	if e == nil {
		return job.Record{}, nil, false
	}
	return e.rec.Clone(), e.changed, true
}

// list returns the newest records that pass, newest first.
func (b *book) list(limit int, pass func(r *job.Record) bool) []job.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []job.Record
	for _, e := range b.recs {
		if pass(&e.rec) {
			out = append(out, e.rec)
		}
	}
	slices.SortFunc(out, newestFirst)
	out = out[:min(limit, len(out))]
	for i := range out {
		out[i] = out[i].Clone()
	}
	return out
}

func newestFirst(x, y job.Record) int {
	switch {
	case x.Created != y.Created:
		return int(max(-1, min(1, y.Created-x.Created)))
	case len(x.ID) != len(y.ID): // ID/9 before ID/10
		return len(x.ID) - len(y.ID)
	}
	return strings.Compare(string(x.ID), string(y.ID))
}

// cancel ends a task that has not ended, and says whether there is one of that name.
func (b *book) cancel(id shoal.TaskID) bool {
	b.mu.Lock()
	e := b.recs[id]
	var f func()
	if e != nil {
		f = e.cancel
	}
	b.mu.Unlock()
	if f != nil {
		f()
	}
	return e != nil
}
