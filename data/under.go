package data

import (
	"context"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/pieces"
	"github.com/shoal-fabric/shoal/wire"
)

// get is the Getter of the walk: from here, or else from a source, with the nodes under it.
func (f *fetch) get(holders map[shoal.PeerID]bool, more func() bool) Getter {
	return func(ctx context.Context, c cid.Cid) ([]byte, error) {
		b, err := f.d.Store.Get(ctx, c)
		if err == nil {
			f.d.Store.touch(c)
			return b, nil
		}
		if k := shoal.KindOf(err); k != shoal.NotFound && k != shoal.Corrupt {
			return nil, err
		}
		if i := slices.IndexFunc(f.nodes, func(b shoal.Block) bool { return b.CID.Equals(c) }); i >= 0 {
			return f.nodes[i].Data, nil
		}
		b, ok := f.ahead[c]
		if !ok {
			if b, err = f.under(ctx, c, holders, more); err != nil {
				return nil, err
			}
		}
		delete(f.ahead, c)
		f.nodes = append(f.nodes, shoal.Block{CID: c, Data: b})
		if f.bulk += len(b); f.bulk >= batchBytes || len(f.nodes) >= batchBlocks {
			return b, f.flushNodes()
		}
		return b, nil
	}
}

// flushNodes writes the inner nodes that came.
func (f *fetch) flushNodes() error {
	nodes := f.nodes
	f.nodes, f.bulk = nil, 0
	return f.d.Store.PutRaw(f.ctx, nodes...)
}

// under asks one source after the other for the inner node c and those under it.
func (f *fetch) under(
	ctx context.Context, c cid.Cid, holders map[shoal.PeerID]bool, more func() bool,
) ([]byte, error) {
	asked := map[shoal.PeerID]bool{}
	for {
		f.mu.Lock()
		wake, finding, looked := f.wake, f.finding, f.looked
		var best *source
		for _, s := range f.sources {
			if s.dead || asked[s.peer] {
				continue
			}
			if best == nil || holders[s.peer] && !holders[best.peer] ||
				holders[s.peer] == holders[best.peer] && f.d.rtt(s.peer) < f.d.rtt(best.peer) {
				best = s
			}
		}
		f.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case best != nil:
			asked[best.peer] = true
			b, err := f.askUnder(ctx, best, c)
			if err == nil && b != nil {
				return b, nil
			}
			if err != nil {
				best.die(err)
			}
		case finding > 0:
			select {
			case <-wake:
			case <-ctx.Done():
			}
		case !looked && more():
		default:
			f.mu.Lock()
			last := f.last
			f.mu.Unlock()
			if last != nil && shoal.KindOf(last) != shoal.NotFound {
				return nil, shoal.Wrap(shoal.Unavailable, f.what, last)
			}
			return nil, shoal.E(shoal.NotFound, f.what, "nobody who was asked has it",
				"check the CID, and that a holder runs")
		}
	}
}

// askUnder fills ahead with one answer of s. It returns nil without error if s lacks c.
func (f *fetch) askUnder(ctx context.Context, s *source, c cid.Cid) (out []byte, err error) {
	st, dog, end, err := f.dial(ctx, s.peer)
	if err != nil {
		return nil, err
	}
	defer end()
	dog.feed()
	if err := wire.WriteFrame(st, wire.Marshal(pieces.Want{Under: c.Bytes()}), pieces.MaxWantLen); err != nil {
		return nil, dog.explain(err)
	}
	if err := st.CloseWrite(); err != nil {
		return nil, dog.explain(err)
	}
	clear(f.ahead)
	r := pieces.NewReader(st, nil) // inner nodes stay for a while
	for n, size := 0, 0; ; n++ {
		a, err := r.Next()
		if err != nil {
			return nil, dog.explain(err)
		}
		dog.feed()
		switch {
		case a.Kind == pieces.End:
			return out, nil
		case a.Kind != pieces.Block || n >= pieces.MaxUnder || size > pieces.UnderBytes+wire.MaxBlock:
			return nil, shoal.E(shoal.Invalid, f.what, "a malformed answer", "")
		case !a.True:
			_, err := f.d.wrong(ctx, s.peer, a.CID)
			return nil, err
		}
		size += len(a.Data)
		f.mu.Lock()
		f.moved += uint64(len(a.Data))
		f.mu.Unlock()
		if a.CID.Equals(c) {
			out = a.Data
		} else {
			f.ahead[a.CID] = a.Data
		}
	}
}
