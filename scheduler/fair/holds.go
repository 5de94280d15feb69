package fair

import (
	"time"

	"github.com/shoal-fabric/shoal"
)

const (
	// HoldFor is how long an offer keeps a place for whoever asked for it.
	HoldFor = 500 * time.Millisecond

	maxHolds = 32   // of one owner
	allHolds = 4096 // of all

	task = 1 << 48
)

// Holds are the places that offers keep for a moment, so that many who ask at once do not all hear that nobody else
// comes. Whoever asks several peers takes one of them, so a hold is the part of a task that is to be expected. Both
// the holds of one owner and those of all are bounded. Not safe for concurrent use.
type Holds struct {
	by  map[shoal.PeerID][]hold
	sum uint64 // of parts: whole numbers, so that the order in which they come and go decides nothing
	n   int
}

type hold struct {
	until time.Time
	part  uint64 // of a task, in units of 1/task
}

// Add keeps a place for an owner that asked so many peers.
func (h *Holds) Add(owner shoal.PeerID, asked int, now time.Time) {
	h.expire(now)
	if h.n >= allHolds || len(h.by[owner]) >= maxHolds {
		return
	}
	if h.by == nil {
		h.by = map[shoal.PeerID][]hold{}
	}
	part := task / uint64(max(asked, 1))
	h.by[owner] = append(h.by[owner], hold{now.Add(HoldFor), part})
	h.sum += part
	h.n++
}

// Take ends the oldest hold of an owner, whose task has come; false: it has none.
func (h *Holds) Take(owner shoal.PeerID, now time.Time) bool {
	h.expire(now)
	list := h.by[owner]
	if len(list) == 0 {
		return false
	}
	h.drop(owner, 1)
	return true
}

// Others is how many tasks of others are to be expected.
func (h *Holds) Others(owner shoal.PeerID, now time.Time) float64 {
	h.expire(now)
	sum := h.sum
	for _, x := range h.by[owner] {
		sum -= x.part
	}
	return float64(sum) / task
}

// drop ends the first n holds of an owner.
func (h *Holds) drop(owner shoal.PeerID, n int) {
	list := h.by[owner]
	for _, x := range list[:n] {
		h.sum -= x.part
	}
	h.n -= n
	if h.by[owner] = list[n:]; len(list) == n {
		delete(h.by, owner)
	}
}

func (h *Holds) expire(now time.Time) {
	for owner, list := range h.by {
		n := 0
		for n < len(list) && !list[n].until.After(now) {
			n++
		}
		if n > 0 {
			h.drop(owner, n)
		}
	}
}
