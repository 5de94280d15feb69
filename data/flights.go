package data

import (
	"context"
	"sync"

	"github.com/ipfs/go-cid"
)

// flights coalesces fetches of one graph.
type flights struct {
	mu sync.Mutex
	by map[cid.Cid]*flight
}

type flight struct {
	done   chan struct{}
	cancel context.CancelFunc
	refs   int
	moved  uint64
	err    error
}

// do runs f, or waits for the f of another caller with the same key. f goes on until the last of its
// callers gives up. Whoever joined is told that nothing moved: the first caller counts it.
func (g *flights) do(
	ctx context.Context, key cid.Cid, f func(ctx context.Context) (uint64, error),
) (moved uint64, joined bool, err error) {
	g.mu.Lock()
	fl := g.by[key]
	if joined = fl != nil; !joined {
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{done: make(chan struct{}), cancel: cancel}
		if g.by == nil {
			g.by = map[cid.Cid]*flight{}
		}
		g.by[key] = fl
		go func() {
			defer cancel()
			fl.moved, fl.err = f(run)
			g.mu.Lock()
			if g.by[key] == fl {
				delete(g.by, key)
			}
			g.mu.Unlock()
			close(fl.done)
		}()
	}
	fl.refs++
	g.mu.Unlock()
	select {
	case <-fl.done:
		if !joined {
			moved = fl.moved
		}
		return moved, joined, fl.err
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		if fl.refs--; fl.refs == 0 {
			fl.cancel()
			if g.by[key] == fl {
				delete(g.by, key)
			}
		}
		return 0, joined, ctx.Err()
	}
}

// complete remembers graphs that were seen to be all here, until a block is dropped.
type complete struct {
	mu    sync.Mutex
	bytes map[cid.Cid]uint64
	gen   int
}

func (k *complete) get(c cid.Cid) (uint64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, ok := k.bytes[c]
	return n, ok
}

func (k *complete) now() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gen
}

func (k *complete) add(c cid.Cid, n uint64, since int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gen != since {
		return // something was dropped while c was looked at
	}
	if k.bytes == nil || len(k.bytes) >= 1<<14 {
		k.bytes = map[cid.Cid]uint64{}
	}
	k.bytes[c] = n
}

func (k *complete) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gen++
	clear(k.bytes)
}
