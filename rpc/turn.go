package rpc

import "sync"

// turn is a mutex of those who wait for the network while they have it. Whoever waits for a sync.Mutex makes virtual time, in which
// the network would answer, stand still; a sync.Cond does not. Like a mutex, and unlike a channel, it is not handed to who
// waits longest: who reads on gets it again before watch wakes.
type turn struct {
	mu    sync.Mutex
	taken bool
	freed sync.Cond
}

func (t *turn) Lock() {
	t.mu.Lock()
	for t.taken {
		if t.freed.L == nil {
			t.freed.L = &t.mu
		}
		t.freed.Wait()
	}
	t.taken = true
	t.mu.Unlock()
}

func (t *turn) TryLock() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken {
		return false
	}
	t.taken = true
	return true
}

func (t *turn) Unlock() {
	t.mu.Lock()
	t.taken = false
	t.mu.Unlock()
	t.freed.Signal()
}
