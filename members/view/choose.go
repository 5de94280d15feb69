package view

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Bounds of the wait between calls to a member that does not answer.
const (
	firstWait = 500 * time.Millisecond
	lastWait  = 60 * time.Second
)

// Failed notes that id did not answer, or could not be reached. r spreads the next calls.
func (v *View) Failed(id shoal.PeerID, r *rand.Rand, now time.Time) {
	e := v.rows[id]
	if e == nil || e.rec == nil {
		return
	}
	if e.failing.IsZero() {
		e.failing = now
		v.since.look(e)
	}
	wait := min(lastWait, firstWait<<min(e.tries, 10))
	e.tries++
	e.next = now.Add(wait*3/4 + time.Duration(r.Int64N(int64(wait)/2)))
}

// Targets picks at most n of the connected members at random, to push news to.
func (v *View) Targets(connected []shoal.PeerID, n int, r *rand.Rand) []shoal.PeerID {
	list := v.present(connected)
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(n, len(list))]
}

// Probes picks at most n of the connected members that have not answered for the longest time, and
// not within quiet. A member picked counts as asked: it is not picked again within quiet.
func (v *View) Probes(connected []shoal.PeerID, n int, quiet time.Duration, now time.Time) []shoal.PeerID {
	list := slices.DeleteFunc(v.present(connected), func(id shoal.PeerID) bool {
		e := v.rows[id]
		return now.Sub(later(e.contact, e.probed)) < quiet
	})
	slices.SortFunc(list, func(a, b shoal.PeerID) int {
		x, y := v.rows[a], v.rows[b]
		return cmp.Or(later(x.contact, x.probed).Compare(later(y.contact, y.probed)), cmp.Compare(a, b))
	})
	list = list[:min(n, len(list))]
	for _, id := range list {
		v.rows[id].probed = now
	}
	return list
}

// Calls picks at most n members that are not connected and due to be called: at random, those not
// Down first. A member picked is not due again for a minute, unless a failure, a broken connection or
// a new address says otherwise.
func (v *View) Calls(connected []shoal.PeerID, n int, r *rand.Rand, now time.Time) []shoal.PeerID {
	there := make(map[shoal.PeerID]bool, len(connected))
	for _, id := range connected {
		there[id] = true
	}
	var list []shoal.PeerID
	for id, e := range v.rows {
		if e.rec != nil && id != v.cfg.Self && !there[id] && !e.next.After(now) && len(e.rec.Addresses) > 0 {
			list = append(list, id)
		}
	}
	slices.Sort(list) // the order of a map is no function of r
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b shoal.PeerID) int {
		return cmp.Compare(v.gloom(a, now), v.gloom(b, now))
	})
	list = list[:min(n, len(list))]
	for _, id := range list {
		v.rows[id].next = now.Add(lastWait)
	}
	return list
}

func (v *View) gloom(id shoal.PeerID, now time.Time) int {
	if v.state(v.rows[id], now) == shoal.Down {
		return 1
	}
	return 0
}

// Late returns those of the connected members that have failed to answer for so long that they are
// Down: their connections are dead.
func (v *View) Late(connected []shoal.PeerID, now time.Time) []shoal.PeerID {
	return slices.DeleteFunc(v.present(connected), func(id shoal.PeerID) bool {
		e := v.rows[id]
		return e.failing.IsZero() || now.Sub(e.contact) < v.cfg.DownAfter || now.Sub(e.failing) < v.cfg.DownAfter
	})
}

// Present returns how many of list are other members with a record; it stops to count at most.
func (v *View) Present(list []shoal.PeerID, most int) (n int) {
	for _, id := range list {
		if e := v.rows[id]; e != nil && e.rec != nil && id != v.cfg.Self {
			if n++; n >= most {
				break
			}
		}
	}
	return n
}

// present returns those of list that are other members, in the order of list.
func (v *View) present(list []shoal.PeerID) []shoal.PeerID {
	out := make([]shoal.PeerID, 0, len(list))
	for _, id := range list {
		if e := v.rows[id]; e != nil && e.rec != nil && id != v.cfg.Self {
			out = append(out, id)
		}
	}
	return out
}
