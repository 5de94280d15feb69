package rpc

import (
	"context"
	"io"
	"runtime"
	"sync"
)

const (
	pileLimit   = 1 << 20   // bytes that wait for the writer before callers wait too
	writeChunk  = 128 << 10 // bytes of parts that one write adds to the small frames
	gatherLimit = 15 << 10  // bytes for which no further frames are waited
	spareToKeep = 96 << 10  // a burst of small frames; idle streams should not hold more
)

// writer writes to a shared stream. Callers append frames; what has piled up leaves in one Write. A
// caller who may wait for that Write makes it itself when nobody is at it: a lone frame then needs no
// other goroutine. All else is written by run, which has a goroutine only as long as there is something to
// write: of the many streams of a node most are silent. Between two writes each waiting large body adds one part
// at a time.
type writer struct {
	out    io.Writer
	begin  func(w *writer) // has run called by another goroutine; the lock is held
	broken func(err error) // told of a write that failed
	mu     sync.Mutex
	rest   sync.Cond // run is through
	at     bool      // run is called, or will be
	busy   bool      // somebody is writing, or about to
	single bool      // who put the last frame expects no others
	pile   []byte
	spare  []byte        // the pile before, when nobody writes it
	bulk   []*bulk       // bodies of which parts remain, in turn
	room   chan struct{} // closed when the pile has shrunk; nil: nobody waits
	err    error
}

// bulk is a body that is sent part by part.
type bulk struct {
	id   uint64
	rest []byte
	sent func() // called once when nothing of rest is needed any more; may be nil
}

func newWriter(out io.Writer, begin func(w *writer), broken func(err error)) *writer {
	w := &writer{out: out, begin: begin, broken: broken}
	w.rest.L = &w.mu
	return w
}

// how a frame is put.
type how byte

const (
	crowd  how = iota // others may be about to put theirs: run gathers and writes them
	single            // nobody else is about to: run writes it at once
	direct            // the same, and its caller may wait for the Write: he makes it himself
)

// put queues a frame with its body, waiting for room while ctx lasts. A body over partSize is used
// until sent is called or drop(f.id) has returned; a smaller one is copied, sent is called at once.
// An error means that nothing of the frame was or will be written.
func (w *writer) put(ctx context.Context, f *frame, body []byte, sent func(), how how) error {
	w.mu.Lock()
	for w.err == nil && len(w.pile) > pileLimit {
		if w.room == nil {
			w.room = make(chan struct{})
		}
		room := w.room
		w.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
		w.mu.Lock()
	}
	if w.err != nil {
		w.mu.Unlock()
		return w.err
	}
	f.body = body[:min(len(body), partSize)]
	w.pile = appendFrame(w.pile, f)
	if rest := body[len(f.body):]; len(rest) > 0 {
		w.bulk = append(w.bulk, &bulk{id: f.id, rest: rest, sent: sent})
		sent = nil
	}
	w.single = how != crowd
	if how == direct && !w.busy && len(w.bulk) == 0 {
		w.flush()
	} else {
		w.wake()
	}
	w.mu.Unlock()
	if sent != nil {
		sent()
	}
	return nil
}

// note queues a small frame without waiting.
func (w *writer) note(f *frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.pile = appendFrame(w.pile, f)
		w.wake()
	}
}

// wake has run write what is there; whoever is at it now does so too, when it is done. The lock is held.
func (w *writer) wake() {
	if !w.busy && !w.at {
		w.at = true
		w.begin(w)
	}
}

// drop forgets what remains of a body. Afterwards its bytes are not touched again.
func (w *writer) drop(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, b := range w.bulk {
		if b.id == id {
			w.bulk = append(w.bulk[:i], w.bulk[i+1:]...)
			return
		}
	}
}

// run writes until there is nothing left, or somebody else is at it, who then sees to what is left.
func (w *writer) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && !w.busy && (len(w.pile) > 0 || len(w.bulk) > 0) {
		w.flush()
	}
	w.at = false
	w.rest.Broadcast()
}

// wait returns when run is through, once fail was called.
func (w *writer) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.at {
		w.rest.Wait()
	}
}

// flush writes what is there, once. The lock is held, but not meanwhile.
func (w *writer) flush() {
	w.busy = true
	if !w.single {
		w.gather()
	}
	if w.err != nil {
		return
	}
	done := w.addParts()
	batch := w.pile
	w.pile, w.spare = w.spare[:0], nil
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	w.mu.Unlock()
	for _, b := range done {
		b.sent()
	}
	_, err := w.out.Write(batch)
	if err != nil {
		w.fail(err)
		w.broken(err)
	}
	w.mu.Lock()
	w.busy = false
	if cap(batch) <= spareToKeep {
		w.spare = batch
	}
	if len(w.pile) > 0 || len(w.bulk) > 0 {
		w.wake()
	}
}

// gather lets those who are ready add their frames. One yield is not enough: who runs meanwhile makes
// others ready, and the larger the batch, the less its Write costs each. The lock is held, but not meanwhile.
func (w *writer) gather() {
	for had := -1; w.err == nil && len(w.pile) > had && len(w.pile) < gatherLimit; {
		had = len(w.pile)
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
}

// addParts appends parts to the pile, one of each body in turn, and returns the bodies that are done.
func (w *writer) addParts() (done []*bulk) {
	for room := writeChunk; room > 0 && len(w.bulk) > 0; room -= partSize {
		b := w.bulk[0]
		part := b.rest[:min(len(b.rest), partSize)]
		b.rest = b.rest[len(part):]
		w.pile = appendFrame(w.pile, &frame{kind: frameMore, id: b.id, body: part})
		w.bulk = append(w.bulk[:0], w.bulk[1:]...)
		switch {
		case len(b.rest) > 0:
			w.bulk = append(w.bulk, b)
		case b.sent != nil:
			done = append(done, b)
		}
	}
	return done
}

// fail ends the writer; later calls of put return err.
func (w *writer) fail(err error) {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return
	}
	w.err = err
	left := w.bulk
	w.bulk, w.pile = nil, nil
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	w.mu.Unlock()
	for _, b := range left {
		if b.sent != nil {
			b.sent()
		}
	}
}
