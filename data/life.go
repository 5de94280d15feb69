package data

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Whoever keeps copies together with this node is asked now and then whether it is there, and on which disk. The member table
// does not know the latter: a machine that comes back soon with an empty disk has never been away. And where there is no table
// of all members it does not know the former.
//
// A visit is a short question, so those whom the table knows to live are visited seldom, and a node that shares data with
// very many visits a few of them in each round: then the full count of copies (Config.SurveyEvery) is sooner.
const (
	visitAlive = 4  // times Config.VisitEvery: a peer that is known to live
	maxVisits  = 16 // in a round
	lifeBytes  = 64 // of the name of a disk, at most
)

// lifeReply is the answer to data.life.
type lifeReply struct {
	Store string `cbor:"s"` // a word that was drawn with the disk
}

// storeName returns the name of this node's disk, drawn when the disk was new.
func storeName(kv shoal.KV) (string, error) {
	const key = "store"
	b, err := kv.Get(key)
	if err == nil || shoal.KindOf(err) != shoal.NotFound {
		return string(b), err
	}
	b = make([]byte, 8)
	_, _ = rand.Read(b) // it never fails
	name := hex.EncodeToString(b)
	return name, kv.Set(key, []byte(name))
}

func (d *Data) serveLife(context.Context, shoal.PeerID, []byte) ([]byte, error) {
	return wire.Marshal(lifeReply{d.store}), nil
}

// visits remembers who was asked when, which is the repair loop's own, and what each said.
type visits struct {
	asked map[shoal.PeerID]time.Time
	mu    sync.Mutex
	store map[shoal.PeerID]string
}

// visit asks some of those who keep copies together with this node. The counts in which one stands whose disk is another are
// forgotten, so that the copies are counted anew; so is, after a while, one who is silent.
func (d *Data) visit(ctx context.Context) {
	v, now := &d.visits, time.Now()
	with := d.fellows()
	v.mu.Lock()
	if v.asked == nil {
		v.asked, v.store = map[shoal.PeerID]time.Time{}, map[shoal.PeerID]string{}
	}
	for p := range v.asked {
		if !with[p] {
			delete(v.asked, p)
			delete(v.store, p)
		}
	}
	v.mu.Unlock()
	alive := map[shoal.PeerID]bool{}
	for _, m := range d.Members() {
		alive[m.ID] = m.State == shoal.Alive
	}
	var due []shoal.PeerID
	for p := range with {
		wait := d.cfg.VisitEvery
		if alive[p] {
			wait *= visitAlive
		}
		if at, known := v.asked[p]; !known || now.Sub(at) >= wait {
			due = append(due, p)
		}
	}
	slices.SortFunc(due, func(a, b shoal.PeerID) int {
		return cmp.Or(v.asked[a].Compare(v.asked[b]), cmp.Compare(a, b))
	})
	var all sync.WaitGroup
	for _, p := range due[:min(len(due), maxVisits)] {
		v.asked[p] = now
		all.Go(func() {
			store, err := d.askLife(ctx, p)
			if ctx.Err() != nil {
				return
			}
			d.repair.heard(p, err == nil)
			if err != nil {
				return
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			if was := v.store[p]; was != "" && was != store {
				d.log.Info("a holder has another disk: its copies are counted anew", "peer", p)
				d.repair.doubt(p)
			}
			v.store[p] = store
		})
	}
	all.Wait()
}

// fellows are the peers that keep copies of what this node keeps copies of, as last counted.
func (d *Data) fellows() map[shoal.PeerID]bool {
	out := map[shoal.PeerID]bool{}
	r := &d.repair
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.counts {
		for _, at := range c.kept {
			for p := range at {
				if p != d.Peers.Self() {
					out[p] = true
				}
			}
		}
	}
	return out
}

// doubt forgets the counts in which a peer stands.
func (r *repairState) doubt(p shoal.PeerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for root, c := range r.counts {
		if slices.ContainsFunc(c.kept, func(at map[shoal.PeerID]bool) bool { return at[p] }) {
			delete(r.counts, root)
		}
	}
}

func (d *Data) askLife(ctx context.Context, p shoal.PeerID) (store string, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.HeldTimeout)
	defer cancel()
	b, err := d.Peers.Ask(ctx, p, "data.life", nil)
	if err != nil {
		return "", err
	}
	var r lifeReply
	if err := wire.Unmarshal("sign of life", b, &r); err != nil {
		return "", err
	}
	if len(r.Store) > lifeBytes {
		return "", shoal.E(shoal.Invalid, "sign of life", "the name of the disk is too long", "")
	}
	return r.Store, nil
}
