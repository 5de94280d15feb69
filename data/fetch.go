package data

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Bounds on what a fetch keeps in memory beside the window of each source.
const (
	batchBytes  = 16 << 20 // bytes written to the store at once
	batchBlocks = 256
	manyBytes   = 4 << 20 // missing bytes above which more holders are looked for
)

// item is a block that a fetch wants.
type item struct {
	cid   cid.Cid
	size  int // as the parent says
	tried map[*source]bool
}

// pile is the items of one partition, with the peers that are known to hold it.
type pile struct {
	items   []*item
	holders map[shoal.PeerID]bool // nil: anybody may have it
}

// movedKey finds, in a context, the func(uint64) that is told how many bytes have moved.
type movedKey struct{}

// fetch brings the missing blocks of one graph here.
type fetch struct {
	d     *Data
	ctx   context.Context
	class Class
	what  string
	stall time.Duration // a source that sends nothing for so long is given up: Config.Stall, or less while there are others to turn to

	mu      sync.Mutex
	wake    chan struct{} // closed and renewed when anything below changes
	sources []*source
	known   map[shoal.PeerID]bool
	piles   []*pile
	anyone  *pile            // what no particular peer is known to hold
	asked   map[cid.Cid]bool // leaves that were queued
	open    int              // items not yet in the store
	hungry  bool             // a source waits for items
	spare   *time.Timer      // see start
	finding int              // lookups under way
	looked  bool             // whether the directory was asked
	closed  bool
	err     error // the first error that ends it all
	last    error // what the last source that failed said
	spoilt  error // names the first file in place, here or at a source, that changed
	moved   uint64

	arrived chan shoal.Block
	deliver func(b shoal.Block) error // takes what arrives, in a buffer of d's; else the store does
	full    func() bool               // says, with mu held, that no more leaves should be queued for now
	queued  func(c cid.Cid, size int) // is told, with mu held, of each leaf that is queued
	ahead   map[cid.Cid][]byte        // inner nodes that came with others; used by the walk only
	nodes   []shoal.Block             // inner nodes not yet in the store; used by the walk only
	bulk    int
}

func (d *Data) newFetch(ctx context.Context, c cid.Cid, class Class) *fetch {
	f := &fetch{
		d: d, ctx: ctx, class: class, what: "fetch " + c.String(), stall: d.cfg.Stall, wake: make(chan struct{}),
		anyone: &pile{},
		known:  map[shoal.PeerID]bool{d.Peers.Self(): true}, asked: map[cid.Cid]bool{},
		arrived: make(chan shoal.Block, 16), ahead: map[cid.Cid][]byte{},
	}
	f.deliver = f.arrive
	f.piles = []*pile{f.anyone}
	return f
}

// changed wakes everybody who waits. The caller holds mu.
func (f *fetch) changed() {
	close(f.wake)
	f.wake = make(chan struct{})
}

// find looks for more holders of c, once for a fetch.
func (f *fetch) find(c cid.Cid) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = true
	f.finding++
	go func() {
		f.d.survey(f.ctx, c, func(h holding) {
			if len(h.have) > 0 {
				f.addSource(h.peer)
			}
		})
		f.mu.Lock()
		defer f.mu.Unlock()
		f.finding--
		f.changed()
	}()
}

// fail ends the fetch.
func (f *fetch) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && err != nil {
		f.err = err
		f.changed()
	}
}

// queue adds leaves to a pile, those that nobody queued before.
func (f *fetch) queue(p *pile, c cid.Cid, size int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked[c] {
		return
	}
	f.asked[c] = true
	f.enqueue(p, c, size)
}

func (f *fetch) wasAsked(c cid.Cid) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[c]
}

// enqueue adds a leaf to a pile. The caller holds mu.
func (f *fetch) enqueue(p *pile, c cid.Cid, size int) {
	if f.queued != nil {
		f.queued(c, size)
	}
	f.open++
	p.items = append(p.items, &item{cid: c, size: size})
	if f.hungry {
		f.hungry = false
		f.changed()
	}
	f.enlist()
}

// newPile adds a pile.
func (f *fetch) newPile(holders map[shoal.PeerID]bool) *pile {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &pile{holders: holders}
	f.piles = append(f.piles, p)
	return p
}

// arrive hands a block to store.
func (f *fetch) arrive(b shoal.Block) error {
	select {
	case f.arrived <- b:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// store writes what arrives, as much at once as has arrived meanwhile.
func (f *fetch) store() {
	for {
		var batch []shoal.Block
		select {
		case b := <-f.arrived:
			batch = append(batch, b)
		case <-f.ctx.Done():
			return
		}
		for size := len(batch[0].Data); size < batchBytes && len(batch) < batchBlocks; {
			select {
			case b := <-f.arrived:
				batch = append(batch, b)
				size += len(b.Data)
				continue
			default:
			}
			break
		}
		if err := f.d.Store.PutRaw(f.ctx, batch...); err != nil {
			f.fail(err)
			return
		}
		for _, b := range batch {
			f.d.buffers.Put(b.Data)
		}
		f.mu.Lock()
		f.open -= len(batch)
		if f.open == 0 {
			f.changed()
		}
		moved := f.moved
		f.mu.Unlock()
		if tell, ok := f.ctx.Value(movedKey{}).(func(uint64)); ok {
			tell(moved)
		}
	}
}

// wait returns when all items are in the store, or nobody is left who could send one. more looks for
// further holders.
func (f *fetch) wait(more func() bool) error {
	return f.waitFor(func() bool { return f.open == 0 }, more)
}

// waitFor returns when something has come true, or nothing will come any more. done is called with mu
// held.
func (f *fetch) waitFor(done func() bool, more func() bool) error {
	for {
		f.mu.Lock()
		wake, err, ready, stuck := f.wake, f.err, done(), f.stuck()
		looked := f.looked
		switch {
		case err != nil || !stuck:
		case f.spoilt != nil:
			err = f.spoilt
		case f.last != nil:
			err = shoal.Wrap(shoal.Unavailable, f.what, f.last)
		}
		f.mu.Unlock()
		switch {
		case ready:
			return f.ctx.Err()
		case f.ctx.Err() != nil:
			return f.ctx.Err()
		case stuck && !looked && more():
			continue
		case stuck && err == nil:
			return shoal.E(shoal.NotFound, f.what, "no peer that was asked has all of it",
				"check that its holders run: 'shoal where' lists them")
		case err != nil:
			return err
		}
		select {
		case <-wake:
		case <-f.ctx.Done():
		}
	}
}

// stuck reports whether nobody works and nobody will. The caller holds mu.
func (f *fetch) stuck() bool {
	if f.finding > 0 {
		return false
	}
	for _, s := range f.sources {
		if !s.dead && (s.outstanding > 0 || f.useful(s)) {
			return false
		}
	}
	// Blocks that arrived but are not yet written are nobody's any more.
	queued := 0
	for _, p := range f.piles {
		queued += len(p.items)
	}
	return queued > 0
}

// wrong says that a peer sent wrong bytes. It is asked to look at the block: one whose own disk is at
// fault admits it, and goes on serving the rest; any other is avoided for a while.
func (d *Data) wrong(ctx context.Context, p shoal.PeerID, c cid.Cid) (admitted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.HeldTimeout)
	defer cancel()
	_, err = d.Peers.Ask(ctx, p, "data.check", wire.Marshal(query{c.Bytes()}))
	if shoal.KindOf(err) == shoal.Corrupt {
		d.log.Warn("a peer has a damaged block", "peer", p, "cid", c, "err", err)
		return true, err
	}
	d.log.Warn("a peer sent wrong bytes; avoided for a while", "peer", p, "cid", c, "for", d.cfg.Avoid)
	d.avoided.add(p, time.Now().Add(d.cfg.Avoid))
	return false, shoal.E(shoal.Corrupt, "block "+c.String(), "peer "+p.Short()+" sent bytes that do not match", "")
}

// serveCheck holds a block that a peer found damaged against its CID.
func (d *Data) serveCheck(ctx context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	c, err := parseQuery(req)
	if err != nil {
		return nil, err
	}
	_, err = d.Store.Get(ctx, c)
	d.dropped(err)
	return nil, err
}

// dropped notes that a read found a block damaged, which is gone then: what it belonged to is whole no more.
func (d *Data) dropped(err error) {
	if shoal.KindOf(err) == shoal.Corrupt {
		d.complete.clear()
	}
}

// rtt is the round trip to a peer; one that was never measured counts as far: there is no connection to it, as a rule.
func (d *Data) rtt(p shoal.PeerID) time.Duration {
	if d.RTT != nil {
		if rtt := d.RTT(p); rtt > 0 {
			return rtt
		}
	}
	return time.Second
}

// spoil notes that a file in place changed, here or at a source.
func (f *fetch) spoil(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spoilt == nil {
		f.spoilt = err
	}
}

// finish stops the sources and returns what moved.
func (f *fetch) finish() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.spare != nil {
		f.spare.Stop()
	}
	f.changed()
	return f.moved
}

var errStalled = errors.New("it sent nothing for too long")
