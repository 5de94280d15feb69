package gravity

import (
	"cmp"
	"math"
	"slices"

	"github.com/shoal-fabric/shoal"
)

// MaxSites bounds the sites a ledger remembers. Of more, the ones with the least pull are forgotten, as if they had
// never been read from.
const MaxSites = 32

// Ledger is what one thing has paid for distance, and where it should be. It is not safe for concurrent use.
//
// It may be kept or not: after a restart without it, the thing behaves as one that has just arrived where it is,
// which costs at most as much as the payments that a decision takes, once.
type Ledger struct {
	Home shoal.PeerID `cbor:"home" json:"home"`
	// Debt is by how many seconds a plan in hindsight that ends here is dearer than the best one.
	Debt  float64 `cbor:"debt,omitempty" json:"debt_s"`
	Sites []Site  `cbor:"sites,omitempty" json:"sites,omitempty"` // by peer; Home is none of them
	Local float64 `cbor:"local,omitempty" json:"local_s"`         // what other sites would have paid for what was read at Home
	Other float64 `cbor:"other,omitempty" json:"other_s"`         // paid for sites that are not remembered
}

// Site is a place that the thing reads from, or is called from.
type Site struct {
	Peer shoal.PeerID `cbor:"peer" json:"peer_id"`
	Pull float64      `cbor:"pull,omitempty" json:"pull_s"` // seconds; at the price of a move it is as good a place as any
	Paid float64      `cbor:"paid,omitempty" json:"paid_s"` // seconds paid for it since the thing came to Home
}

// Place is a site the thing could move to now.
type Place struct {
	Peer  shoal.PeerID
	Price float64 // seconds that the move takes; not positive or not finite: no place
}

// At starts the ledger of a thing that is at home.
func At(home shoal.PeerID) *Ledger { return &Ledger{Home: home} }

// Pay notes that the distance to a peer took so many seconds; of what was read at home, how many it would have
// taken from elsewhere. price is what moving to the peer costs; not positive: the thing cannot go there.
func (l *Ledger) Pay(to shoal.PeerID, seconds, price float64) {
	if !positive(seconds) {
		return
	}
	if to == l.Home {
		l.Local += seconds
		less := min(l.Debt, seconds)
		l.Debt -= less
		l.weaken("", seconds-less)
		return
	}
	if !positive(price) {
		l.Other += seconds
		return
	}
	s := l.site(to)
	s.Paid += seconds
	s.Pull = min(s.Pull, price)
	gain := min(price-s.Pull, seconds)
	s.Pull += gain
	if rest := seconds - gain; rest > 0 { // it is the best place already: all others fall behind
		l.Debt = max(l.Debt, min(l.Debt+rest, price)) // no plan ends worse than one move behind the best
		l.weaken(to, rest)
	}
}

// weaken takes from the pull of all sites but one.
func (l *Ledger) weaken(but shoal.PeerID, seconds float64) {
	if seconds <= 0 {
		return
	}
	for i := range l.Sites {
		if s := &l.Sites[i]; s.Peer != but {
			s.Pull = max(0, s.Pull-seconds)
		}
	}
}

// site returns the entry of a peer, making room for it.
func (l *Ledger) site(p shoal.PeerID) *Site {
	i, ok := l.index(p)
	if ok {
		return &l.Sites[i]
	}
	if len(l.Sites) >= MaxSites {
		least := 0
		for j, s := range l.Sites {
			if t := l.Sites[least]; s.Pull < t.Pull || s.Pull == t.Pull && s.Paid < t.Paid {
				least = j
			}
		}
		l.Other += l.Sites[least].Paid
		l.Sites = slices.Delete(l.Sites, least, least+1)
		if least < i {
			i--
		}
	}
	l.Sites = slices.Insert(l.Sites, i, Site{Peer: p})
	return &l.Sites[i]
}

// Decide says whether the thing should move now, and to which of the places that fit. Nothing changes
// until the caller has moved it and says so with Moved.
func (l *Ledger) Decide(fit []Place) Decision {
	d := Decision{From: l.Home, Here: l.paid()}
	best := Site{Pull: -1}
	for _, p := range fit {
		s, ok := l.find(p.Peer)
		if !ok || !positive(p.Price) {
			continue
		}
		s.Pull = min(s.Pull/p.Price, 1)
		if s.Pull > best.Pull || s.Pull == best.Pull && s.Paid > best.Paid {
			best = s
			d.To, d.Price, d.There = p.Peer, p.Price, max(0, d.Here-s.Paid)+l.Local
		}
	}
	d.Move = d.To != "" && best.Pull >= 1-slack && l.Debt >= d.Price*(1-slack)
	return d
}

// slack is for sums of floats that miss a price by their rounding.
const slack = 1e-9

func (l *Ledger) find(p shoal.PeerID) (Site, bool) {
	i, ok := l.index(p)
	if !ok {
		return Site{}, false
	}
	return l.Sites[i], true
}

func (l *Ledger) index(p shoal.PeerID) (int, bool) {
	return slices.BinarySearchFunc(l.Sites, p, func(s Site, p shoal.PeerID) int { return cmp.Compare(s.Peer, p) })
}

// paid is what distance has taken since the thing came to Home.
func (l *Ledger) paid() float64 {
	sum := l.Other
	for _, s := range l.Sites {
		sum += s.Paid
	}
	return sum
}

// Moved notes that the thing is elsewhere now, by a decision or for another reason. price is what a move
// between the two sites costs.
func (l *Ledger) Moved(to shoal.PeerID, price float64) {
	if to == l.Home {
		return
	}
	if !positive(price) {
		*l = Ledger{Home: to}
		return
	}
	gap := price
	if i, ok := l.index(to); ok {
		gap = max(0, price-l.Sites[i].Pull)
		l.Sites = slices.Delete(l.Sites, i, i+1)
	}
	old, back := l.Home, price-min(l.Debt, price)
	l.Home, l.Debt, l.Local, l.Other = to, gap, 0, 0
	for i := range l.Sites {
		l.Sites[i].Paid = 0
	}
	l.Sites = slices.DeleteFunc(l.Sites, func(s Site) bool { return s.Pull == 0 })
	if back > 0 {
		l.site(old).Pull = back
	}
}

// Spoil notes that a move to a site failed: it has to earn its pull anew before it is chosen again.
func (l *Ledger) Spoil(p shoal.PeerID) {
	if i, ok := l.index(p); ok {
		l.Sites[i].Pull = 0
	}
}

// Follows reports whether a, of two agents that call one another, counts what their calls cost. Of any two
// exactly one does, whatever either knows of the other, and never in a circle.
func Follows(a, b string) bool { return a < b }

func positive(v float64) bool { return v > 0 && !math.IsInf(v, 1) }
