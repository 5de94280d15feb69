package job

import (
	"errors"
	"fmt"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Policy bounds retries.
type Policy struct {
	Attempts int           // runs that may fail before the task has failed
	Waits    int           // times it may be told to come back later, because queues are full
	Base     time.Duration // the first pause; it doubles with each failure
	Max      time.Duration // the longest pause
}

// DefaultPolicy suits a person waiting for a task.
func DefaultPolicy() Policy {
	return Policy{Attempts: 5, Waits: 100, Base: 100 * time.Millisecond, Max: 5 * time.Second}
}

// Decision is what follows from a failure.
type Decision struct {
	Again bool
	After time.Duration // pause before the next attempt
	Why   string        // why not again
}

// Tries counts the failures of one task and decides what follows. It is not safe for concurrent use.
type Tries struct {
	policy Policy
	failed int
	waits  int
	absent int // answers that nobody has what the task needs
	bad    map[shoal.PeerID]int
	full   map[shoal.PeerID]bool // that refused since the last pause
	nexts  int                   // times that another was asked at once
}

// NewTries starts the count.
func NewTries(p Policy) *Tries {
	return &Tries{policy: p, bad: map[shoal.PeerID]int{}, full: map[shoal.PeerID]bool{}}
}

// Failed notes that an attempt on peer ended with err and decides. shown says that output of the
// attempt has reached the user or input was consumed, so that another attempt would repeat it; roll
// is a random number in [0, 1) that spreads the pauses.
func (t *Tries) Failed(peer shoal.PeerID, err error, shown bool, roll float64) Decision {
	kind := shoal.KindOf(err)
	pause := jitter(t.policy.Base<<min(t.failed+t.waits, 16), t.policy.Max, roll)
	var e *shoal.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		pause = max(pause, jitter(e.RetryAfter, t.policy.Max, roll))
	}
	switch {
	case kind == shoal.Canceled:
		return Decision{Why: "canceled"}
	case kind == shoal.Overloaded: // nothing ran
		t.waits++
		if t.waits >= t.policy.Waits {
			return Decision{Why: fmt.Sprintf("every queue was full %d times", t.waits)}
		}
		return Decision{Again: true, After: pause}
	case kind == shoal.NotFound: // another peer may know a holder, but one more opinion is enough
		t.absent++
		if t.absent > 1 {
			return Decision{Why: "nobody has what it needs"}
		}
	case !shoal.Retryable(err):
		return Decision{Why: "another attempt would end the same way"}
	}
	t.failed++
	t.bad[peer]++
	switch {
	case shown:
		return Decision{Why: "part of its output was already shown, or of its input read"}
	case t.failed >= t.policy.Attempts:
		return Decision{Why: fmt.Sprintf("it failed %d times", t.failed)}
	}
	return Decision{Again: true, After: pause}
}

// jitter spreads d over [d/2, d) and bounds it.
func jitter(d, limit time.Duration, roll float64) time.Duration {
	if d <= 0 || d > limit {
		d = limit
	}
	return d/2 + time.Duration(roll*float64(d/2))
}

// Bad reports whether an attempt failed on the peer.
func (t *Tries) Bad(p shoal.PeerID) bool { return t.bad[p] > 0 }

// Next notes that a peer refused with err because it is full, and reports whether another of so many that are open may be
// asked at once: nothing ran, and there is no need to wait for this one. If not, the caller calls Failed and pauses.
func (t *Tries) Next(peer shoal.PeerID, err error, others int) bool {
	if shoal.KindOf(err) != shoal.Overloaded || peer == "" || t.policy.Waits <= 1 || others <= 0 || t.full[peer] {
		clear(t.full)
		return false
	}
	t.full[peer] = true
	t.nexts++
	return true
}

// Nexts is how often Next said so.
func (t *Tries) Nexts() int { return t.nexts }

// Full reports whether a peer refused since the last pause.
func (t *Tries) Full(p shoal.PeerID) bool { return t.full[p] }

// Forgive gives every peer another chance: when all candidates have failed once.
func (t *Tries) Forgive() { clear(t.bad) }

// Count returns how many attempts failed.
func (t *Tries) Count() int { return t.failed }
