package data

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// keepRequest asks a peer to keep partitions. It fetches them from the asker and whoever else has
// them.
type keepRequest struct {
	Manifest shoal.Manifest `cbor:"m"`
	Parts    []int          `cbor:"i"` // ascending
	Put      int64          `cbor:"t"` // Unix milliseconds of the put
	Peers    []string       `cbor:"w"` // who else has been asked to keep parts
}

// keepNews is what the keeper answers, now and then.
type keepNews struct {
	Done  []int  `cbor:"d,omitempty"` // partitions that are durable since the last news
	Moved uint64 `cbor:"b"`           // bytes that came so far
	End   bool   `cbor:"e,omitempty"` // all are
	Gone  int64  `cbor:"x,omitempty"` // refused: the dataset was released then, after the put
}

const (
	maxPeers  = 256
	keepPulse = time.Second // between news, also when there is nothing new
	maxNews   = 1 << 20
)

// askKeep has a peer keep partitions and tells news as they come.
func (d *Data) askKeep(
	ctx context.Context, peer shoal.PeerID, q keepRequest, news func(done []int, moved uint64),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := d.Peers.Open(ctx, peer, "data.keep", wire.Marshal(q))
	if err != nil {
		return err
	}
	defer st.Reset()
	defer context.AfterFunc(ctx, st.Reset)()
	if err := st.CloseWrite(); err != nil {
		return err
	}
	dog := newWatchdog(max(d.cfg.Stall, 2*keepPulse), st)
	defer dog.stop()
	r := bufio.NewReader(st)
	for {
		dog.feed()
		frame, err := wire.ReadFrame(r, maxNews)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return theirs(peer, dog.explain(err))
		}
		var n keepNews
		if err := wire.Unmarshal("answer to keep", frame, &n); err != nil {
			return err
		}
		for _, i := range n.Done {
			if !slices.Contains(q.Parts, i) {
				return shoal.E(shoal.Invalid, "answer to keep", "a partition nobody asked for", "")
			}
		}
		if n.Gone > 0 {
			return d.heardGone(q, n.Gone)
		}
		news(n.Done, n.Moved)
		if n.End {
			return nil
		}
	}
}

// heardGone takes up that a dataset was released while this node was not there to hear.
func (d *Data) heardGone(q keepRequest, at int64) error {
	d.log.Info("the dataset was released meanwhile", "root", q.Manifest.Root)
	return shoal.E(shoal.Refused, "keep "+q.Manifest.Root.String(),
		fmt.Sprintf("it was released at %s, after it was put", time.UnixMilli(at).UTC().Format(time.RFC3339)),
		"put it again")
}

// serveKeep fetches partitions and keeps them.
func (d *Data) serveKeep(ctx context.Context, from shoal.PeerID, req []byte, s shoal.Stream) error {
	var q keepRequest
	if err := wire.Unmarshal("request to keep", req, &q); err != nil {
		return err
	}
	if err := checkManifest(&q.Manifest); err != nil {
		return err
	}
	if len(q.Parts) == 0 || len(q.Parts) > len(q.Manifest.Partitions) || len(q.Peers) > maxPeers {
		return shoal.E(shoal.Invalid, "request to keep", "impossible partitions or peers", "")
	}
	var size uint64
	for n, i := range q.Parts {
		if i < 0 || i >= len(q.Manifest.Partitions) || n > 0 && i <= q.Parts[n-1] {
			return shoal.E(shoal.Invalid, "request to keep", "impossible partitions", "")
		}
		size += q.Manifest.Partitions[i].Bytes
	}
	k := &keeper{d: d, q: &q, out: s, from: append([]shoal.PeerID{from}, peerIDs(q.Peers)...)}
	if old := d.know(q.Manifest.Root); old != nil && old.Gone >= q.Put {
		return k.write(keepNews{Gone: old.Gone})
	}
	if why := d.unfitHere(&q); why != "" {
		return shoal.E(shoal.Refused, "keep "+q.Manifest.Root.String(), why, "choose another peer")
	}
	if free, err := d.freeBytes(); err == nil && free < size {
		if missing := k.missing(ctx); free < missing {
			return shoal.E(shoal.Full, "keep "+q.Manifest.Root.String(),
				fmt.Sprintf("%d bytes wanted, %d free", missing, free), "choose another peer")
		}
	}
	defer func() { d.repair.brought.Add(k.moved.Load()) }()
	return k.run(ctx)
}

// unfitHere says why this node must not be given the copies: it knows itself best. What it keeps already it goes
// on keeping, whatever the terms are now.
func (d *Data) unfitHere(q *keepRequest) string {
	if s := d.know(q.Manifest.Root); s != nil && !slices.ContainsFunc(q.Parts, func(i int) bool { return !s.holds(i) }) {
		return ""
	}
	self := d.alive()[0]
	return d.unfit(q.Manifest.Needs, &self)
}

func peerIDs(list []string) (out []shoal.PeerID) {
	for _, p := range list {
		if p != "" && len(p) < 128 {
			out = append(out, shoal.PeerID(p))
		}
	}
	return out
}

// keeper serves one request to keep.
type keeper struct {
	d    *Data
	q    *keepRequest
	from []shoal.PeerID

	mu    sync.Mutex // of out
	out   shoal.Stream
	moved atomic.Uint64
}

// missing sums up the partitions that are not here.
func (k *keeper) missing(ctx context.Context) (sum uint64) {
	for _, i := range k.q.Parts {
		p := k.q.Manifest.Partitions[i]
		if have, _, err := k.d.Missing(ctx, p.CID); err != nil || have < p.Bytes {
			sum += p.Bytes - min(p.Bytes, have)
		}
	}
	return sum
}

func (k *keeper) write(n keepNews) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n.Moved = k.moved.Load()
	return wire.WriteFrame(k.out, wire.Marshal(n), maxNews)
}

func (k *keeper) run(ctx context.Context) error {
	d, m := k.d, &k.q.Manifest
	defer d.Store.begin()()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go k.pulse(ctx, cancel)

	// The inner nodes of the whole first: with them any holder can list the dataset.
	n, err := d.inner(ctx, m, k.from)
	k.moved.Add(n)
	if err != nil {
		return err
	}
	if err := k.note(nil); err != nil {
		return err
	}
	next, results := make(chan int), make(chan error)
	const workers = 3
	for range workers {
		go func() {
			for i := range next {
				n, err := d.part(ctx, m.Partitions[i].CID, k.from)
				k.moved.Add(n)
				if err == nil {
					err = k.note([]int{i})
				}
				if err == nil {
					err = k.write(keepNews{Done: []int{i}})
				}
				results <- err
			}
		}()
	}
	go func() {
		defer close(next)
		for _, i := range k.q.Parts {
			next <- i
		}
	}()
	var first error
	for range k.q.Parts {
		if err := <-results; err != nil && first == nil {
			first = err
			cancel() // the rest fails quickly
		}
	}
	if first != nil {
		return first
	}
	s := d.know(m.Root)
	if s == nil {
		return shoal.E(shoal.Refused, "keep "+m.Root.String(), "it was released meanwhile", "")
	}
	d.announce(ctx, s)
	if s.m.Public {
		d.publicise(ctx, s.m)
	}
	return k.write(keepNews{End: true})
}

// pulse shows the asker that this node is alive, and ends the work when the asker is gone.
func (k *keeper) pulse(ctx context.Context, cancel context.CancelFunc) {
	for sleep(ctx, keepPulse) {
		if k.write(keepNews{}) != nil {
			cancel()
			return
		}
	}
}

// note makes this node a holder of parts, durably.
func (k *keeper) note(parts []int) error {
	_, err := k.d.update(&k.q.Manifest, func(r *role) {
		for _, i := range parts {
			r.set(i, true)
		}
		r.Bare, r.Gone = false, 0
		r.Put = max(r.Put, k.q.Put)
		for _, p := range k.from {
			if string(p) != string(k.d.Peers.Self()) && !slices.Contains(r.Peers, string(p)) && len(r.Peers) < maxPeers {
				r.Peers = append(slices.Clone(r.Peers), string(p))
			}
		}
	})
	return err
}
