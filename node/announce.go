package node

import (
	"context"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
)

// Times of announcing.
const (
	announceLook  = 2 * time.Second // between looks at what this node says of itself
	announceAgain = 6 * time.Hour   // between puts of a record that did not change; peers keep it for 48 h
	announceRetry = 5 * time.Minute // longest wait after a put that failed
)

// announcer has the directory know what this node is, so that peers without a table of all members
// find it: its keys (expr.MemberKeys), and its signed record. After a restart it begins anew; keys that
// held in an earlier life and no longer do expire at the peers that noted them, and until then whoever
// follows them sees from the record that they do not hold.
type announcer struct {
	n    *Node
	keys map[shoal.Key]bool // announced
	put  shoal.Member       // as in the record that was put last
	next time.Time          // when to put the same again
	wait time.Duration      // after a failure
}

// announce keeps the directory's word on this node true until ctx ends.
func (n *Node) announce(ctx context.Context) error {
	a := &announcer{n: n, keys: map[shoal.Key]bool{}}
	if n.cfg.stage().Warm {
		for _, k := range n.Backstage().Keys() {
			a.keys[k] = true
		}
		a.put, _ = n.rooms.members.Signed()
		a.next = time.Now().Add(announceAgain)
	}
	tick := time.NewTicker(announceLook)
	defer tick.Stop()
	for {
		a.turn(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// turn announces what is new, and withdraws what no longer holds.
func (a *announcer) turn(ctx context.Context) {
	r, log := a.n.rooms, a.n.cfg.Log
	self, sealed := r.members.Signed()
	holds := map[shoal.Key]bool{}
	if sealed != nil { // else it is no member any more, and is nothing to anybody
		for _, k := range expr.MemberKeys(&self) {
			holds[k] = true
		}
	}
	fresh, gone := lacking(holds, a.keys), lacking(a.keys, holds)
	if err := r.dht.Provide(ctx, fresh...); err != nil {
		log.Warn("node: cannot announce what this machine is", "err", err)
	} else if err := r.dht.Withdraw(ctx, gone...); err != nil {
		log.Warn("node: cannot withdraw what this machine was", "err", err)
	} else {
		a.keys = holds
	}
	now := time.Now()
	same := slices.Equal(self.Addresses, a.put.Addresses) && self.Attributes.Equal(a.put.Attributes)
	if sealed == nil || now.Before(a.next) && (same || a.wait > 0) {
		return
	}
	if err := r.dht.PutRecord(ctx, self.ID, sealed); err != nil {
		a.wait = min(max(2*a.wait, announceLook), announceRetry)
		a.next = now.Add(a.wait)
		log.Debug("node: the record was not put", "err", err, "again in", a.wait)
		return
	}
	a.put, a.wait, a.next = self, 0, now.Add(announceAgain)
}

// lacking returns the keys of a that are not in b, in order.
func lacking(a, b map[shoal.Key]bool) (out []shoal.Key) {
	for k := range a {
		if !b[k] {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
