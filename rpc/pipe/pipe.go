// Package pipe is a bounded queue of bytes between one side that writes and one that reads: one
// direction of a stream that lives in memory. Unlike io.Pipe it has room, so a writer runs ahead of
// its reader as it would on a network, and the writer's end may carry an error to the reader, who
// sees it after the bytes written before.
package pipe

import (
	"io"
	"sync"
)

// Pipe is one direction. All methods may be called from many goroutines at once.
type Pipe struct {
	mu     sync.Mutex
	moved  sync.Cond
	queue  [][]byte // what was written and not read; never holds an empty slice
	held   int      // bytes in queue
	limit  int
	end    error // what Read returns once queue is empty; nil: more may come
	refuse error // what Write returns; nil: it is open
}

// New returns a pipe that holds up to limit bytes (at least 1) before Write blocks.
func New(limit int) *Pipe {
	p := &Pipe{limit: max(limit, 1)}
	p.moved.L = &p.mu
	return p
}

// Write queues a copy of b, waiting for room piece by piece.
func (p *Pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := 0
	for {
		room, err := p.room()
		if err != nil || done == len(b) {
			return done, err
		}
		n := min(room, len(b)-done)
		p.push(append([]byte(nil), b[done:done+n]...))
		done += n
		if done == len(b) {
			return done, nil
		}
	}
}

// Give queues b itself, which then belongs to the pipe. It waits until there is any room, so that
// the pipe may hold up to limit bytes and one slice more.
func (p *Pipe) Give(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.room(); err != nil {
		return err
	}
	p.push(b)
	return nil
}

// room waits until something fits or the pipe refuses. The lock is held.
func (p *Pipe) room() (int, error) {
	for p.refuse == nil && p.held >= p.limit {
		p.moved.Wait()
	}
	return p.limit - p.held, p.refuse
}

func (p *Pipe) push(b []byte) {
	if len(b) > 0 {
		p.queue = append(p.queue, b)
		p.held += len(b)
		p.moved.Broadcast()
	}
}

// Read returns what is there, waiting for the first byte.
func (p *Pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 && len(p.queue) == 0 && p.end == nil {
		p.moved.Wait()
	}
	n := 0
	for n < len(b) && len(p.queue) > 0 {
		k := copy(b[n:], p.queue[0])
		n += k
		if p.queue[0] = p.queue[0][k:]; len(p.queue[0]) == 0 {
			p.queue[0] = nil
			p.queue = p.queue[1:]
		}
	}
	if n > 0 {
		p.held -= n
		p.moved.Broadcast()
		return n, nil
	}
	if len(b) == 0 {
		return 0, nil
	}
	return 0, p.end
}

// CloseWrite is the writer's end: the reader gets what is queued and then end, or io.EOF for nil.
// A Write that waits or comes later returns io.ErrClosedPipe. The first close counts.
func (p *Pipe) CloseWrite(end error) {
	if end == nil {
		end = io.EOF
	}
	p.close(end, io.ErrClosedPipe, false)
}

// CloseRead is the reader's end: what is queued is dropped, and the writer gets refuse.
func (p *Pipe) CloseRead(refuse error) { p.close(io.ErrClosedPipe, refuse, true) }

// Break ends both sides with err at once and drops what is queued. It overrides CloseWrite, so that
// a reader cannot take a broken stream for a whole one.
func (p *Pipe) Break(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == nil || len(p.queue) > 0 {
		p.end = err
	}
	if p.refuse == nil {
		p.refuse = err
	}
	p.queue, p.held = nil, 0
	p.moved.Broadcast()
}

func (p *Pipe) close(end, refuse error, drop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == nil {
		p.end = end
	}
	if p.refuse == nil {
		p.refuse = refuse
	}
	if drop {
		p.queue, p.held = nil, 0
		p.end = end
	}
	p.moved.Broadcast()
}
