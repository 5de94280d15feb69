package agents

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/shoal-fabric/shoal"
)

// writer brings the batches of all groups to the disk: those that come while one sync runs share the next.
// That is what makes many agents cheap on one disk.
type writer struct {
	t     shoal.Table
	wake  chan struct{}
	clock func() int64
	since atomic.Int64 // when the write under way began, on that clock; 0: none is

	mu    sync.Mutex
	queue []write
}

type write struct {
	batch []shoal.Write
	sync  bool
	void  *atomic.Bool // set: it must not be written any more; nil: it always counts
	done  func(error)
}

func newWriter(t shoal.Table, clock func() int64) *writer {
	return &writer{t: t, wake: make(chan struct{}, 1), clock: clock}
}

// put queues a batch. done is called once it is on disk, or has failed; in order for each caller.
func (w *writer) put(batch []shoal.Write, sync bool, done func(error)) {
	w.putUnless(nil, batch, sync, done)
}

// putUnless is put for a batch that makes sense only if those before it were written: once void is set it is dropped.
func (w *writer) putUnless(void *atomic.Bool, batch []shoal.Write, sync bool, done func(error)) {
	w.mu.Lock()
	w.queue = append(w.queue, write{batch, sync, void, done})
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// commit writes a batch after all that was put before, and waits for the disk.
func (w *writer) commit(ctx context.Context, batch []shoal.Write) error {
	ch := make(chan error, 1)
	w.put(batch, true, func(err error) { ch <- err })
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return closing()
	}
}

func (w *writer) run(ctx context.Context) {
	var batch []shoal.Write
	for {
		select {
		case <-w.wake:
			runtime.Gosched() // others that are ready may have more to write
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		queue := w.queue
		w.queue = nil
		w.mu.Unlock()
		batch = batch[:0]
		sync := false
		queue = slices.DeleteFunc(queue, func(q write) bool { return q.void != nil && q.void.Load() })
		for _, q := range queue {
			batch = append(batch, q.batch...)
			sync = sync || q.sync
		}
		if len(queue) == 0 {
			continue
		}
		w.since.Store(w.clock())
		err := w.t.Commit(sync, batch...)
		w.since.Store(0)
		clear(batch)
		for _, q := range queue {
			q.done(err)
		}
	}
}
