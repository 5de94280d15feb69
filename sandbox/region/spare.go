package region

import "sync"

// Spare keeps a few small regions for the next guests: a page that is there already costs a hundredth
// of one that the system has to find. While guests come, some are made ready before they are asked for.
type Spare struct {
	mu      sync.Mutex
	idle    []Region
	usual   uint64 // bytes that guests had lately
	reserve uint64
	warming bool
	closed  bool
	work    sync.WaitGroup
}

// The regions kept, those made ready, and the bytes each may hold.
const (
	maxIdle      = 8
	readyIdle    = 3
	maxIdleBytes = 4 << 20
)

// Get returns a region, which may have nothing yet.
func (p *Spare) Get() (r Region) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		r, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	if len(p.idle) < readyIdle && p.usual > 0 && !p.warming && !p.closed {
		p.warming = true
		p.work.Go(p.warm)
	}
	return r
}

// warm makes regions ready until there are enough.
func (p *Spare) warm() {
	for {
		p.mu.Lock()
		size, reserve := p.usual, p.reserve
		if p.warming = len(p.idle) < readyIdle && !p.closed; !p.warming {
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		var r Region
		ok := r.Ready(size, reserve)
		p.mu.Lock()
		if ok && !p.closed {
			p.idle = append(p.idle, r)
			p.mu.Unlock()
			continue
		}
		p.warming = false
		p.mu.Unlock()
		r.Free()
		return
	}
}

// Put takes a region back; it is zero again when it is given out.
func (p *Spare) Put(r Region) {
	size, reserve := r.opened()
	if r.Recycle(maxIdleBytes) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.usual, p.reserve = max(size, p.usual-p.usual/8), reserve
		if len(p.idle) < maxIdle {
			p.idle = append(p.idle, r)
			return
		}
	}
	r.Free()
}

// Close frees what is kept.
func (p *Spare) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.work.Wait()
	for _, r := range p.idle {
		r.Free()
	}
	p.idle = nil
}
