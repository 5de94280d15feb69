package region

import (
	"context"
	"sync"
	"time"
)

// Ledger counts the memory of all guests together. Guests that want more than is left wait for
// others to end; a wait that could not end, because every guest that holds memory waits as well, is
// refused instead. To make that rare, a guest sets aside what its module needed before when it starts.
type Ledger struct {
	Total    uint64
	Patience time.Duration

	mu      sync.Mutex
	used    uint64
	holders int      // accounts with memory
	queue   []*claim // waiting, oldest first
}

// Account is one guest's share of a ledger. Its methods are for one goroutine at a time.
type Account struct {
	L    *Ledger
	held uint64
}

// claim is a wait for n more bytes.
type claim struct {
	by      *Account
	n       uint64
	granted chan bool
}

// Reach brings the account to n bytes at least; false: there was no room and none came in time.
func (a *Account) Reach(ctx context.Context, n uint64) bool {
	if n <= a.held {
		return true
	}
	n -= a.held
	l := a.L
	l.mu.Lock()
	if l.fits(n) && (a.held > 0 || len(l.queue) == 0) {
		l.grant(a, n)
		l.mu.Unlock()
		return true
	}
	if n > l.Total-min(l.Total, a.held) {
		l.mu.Unlock()
		return false
	}
	c := &claim{by: a, n: n, granted: make(chan bool, 1)}
	l.queue = append(l.queue, c)
	l.settle()
	l.mu.Unlock()

	late := time.NewTimer(l.Patience)
	defer late.Stop()
	select {
	case ok := <-c.granted:
		return ok
	case <-ctx.Done():
	case <-late.C:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.queue {
		if l.queue[i] == c {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			l.settle()
			return false
		}
	}
	return <-c.granted // it was settled meanwhile
}

// GiveBack ends the account.
func (a *Account) GiveBack() {
	l := a.L
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.held > 0 {
		l.used -= a.held
		l.holders--
		a.held = 0
		l.settle()
	}
}

func (l *Ledger) fits(n uint64) bool { return n <= l.Total && l.used <= l.Total-n }

func (l *Ledger) grant(a *Account, n uint64) {
	if a.held == 0 && n > 0 {
		l.holders++
	}
	a.held += n
	l.used += n
}

// settle grants what fits: first to guests that hold memory already, since they bring nearer the end
// of somebody; then to newcomers in order. If then all holders wait, the one that came last is refused.
func (l *Ledger) settle() {
	for _, holding := range []bool{true, false} {
		for i := 0; i < len(l.queue); i++ {
			c := l.queue[i]
			if (c.by.held > 0) != holding {
				continue
			}
			if l.fits(c.n) {
				l.grant(c.by, c.n)
				l.answer(i, true)
				i--
			} else if !holding {
				break
			}
		}
	}
	waiting, last := 0, 0
	for i, c := range l.queue {
		if c.by.held > 0 {
			waiting++
			last = i
		}
	}
	if waiting > 0 && waiting == l.holders {
		l.answer(last, false)
	}
}

func (l *Ledger) answer(i int, ok bool) {
	l.queue[i].granted <- ok
	l.queue = append(l.queue[:i], l.queue[i+1:]...)
}

// Idle reports whether nobody has memory and nobody waits; used is what is had.
func (l *Ledger) Idle() (used uint64, idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used, l.used == 0 && l.holders == 0 && len(l.queue) == 0
}
