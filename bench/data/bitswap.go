package data

import (
	"context"
	"io"
	"os"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
	corehost "github.com/libp2p/go-libp2p/core/host"

	"github.com/shoal-fabric/shoal/bench/plain"
)

// swap is bitswap on a plain host over a block store in memory.
type swap struct {
	host  corehost.Host
	bits  *bitswap.Bitswap
	store blockstore.Blockstore
	dag   ipld.DAGService
}

func newSwap(h corehost.Host) *swap {
	s := &swap{host: h, store: blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))}
	s.bits = bitswap.New(context.Background(), bsnet.NewFromIpfsHost(h), nil, s.store,
		bitswap.MaxOutstandingBytesPerPeer(8<<20), bitswap.WithTargetMessageSize(piece),
		bitswap.WithoutDuplicatedBlockStats())
	s.dag = merkledag.NewDAGService(blockservice.New(s.store, s.bits))
	return s
}

// holdBitswap imports all files under their roots first, and keeps the blocks of one at a time.
func holdBitswap(ctx context.Context, s setup) (*holder, error) {
	h, address, err := plain.New()
	if err != nil {
		return nil, err
	}
	sw := newSwap(h)
	files := map[string]string{}
	out := &holder{ready: ready{Address: address}, close: func() { sw.bits.Close(); h.Close() }}
	for _, f := range s.Files {
		root, err := importFile(sw.dag, f)
		if err == nil {
			err = drop(ctx, sw.store)
		}
		if err != nil {
			return nil, err
		}
		files[root.String()] = f
		out.ready.Roots = append(out.ready.Roots, root.String())
	}
	out.prepare = func(ctx context.Context, root string) error {
		if err := drop(ctx, sw.store); err != nil {
			return err
		}
		_, err := importFile(sw.dag, files[root])
		return err
	}
	return out, nil
}

func drop(ctx context.Context, store blockstore.Blockstore) error {
	all, err := store.AllKeysChan(ctx)
	if err != nil {
		return err
	}
	var list []cid.Cid
	for c := range all {
		list = append(list, c)
	}
	for _, c := range list {
		if err := store.DeleteBlock(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// importFile makes the graph that 'put' makes too: raw leaves of 1 MiB, a balanced tree.
func importFile(dag ipld.DAGService, path string) (cid.Cid, error) {
	f, err := os.Open(path)
	if err != nil {
		return cid.Undef, err
	}
	defer f.Close()
	prefix, err := merkledag.PrefixForCidVersion(1)
	if err != nil {
		return cid.Undef, err
	}
	p := helpers.DagBuilderParams{Maxlinks: 1024, RawLeaves: true, CidBuilder: prefix, Dagserv: dag}
	b, err := p.New(chunk.NewSizeSplitter(f, piece))
	if err != nil {
		return cid.Undef, err
	}
	n, err := balanced.Layout(b)
	if err != nil {
		return cid.Undef, err
	}
	return n.Cid(), nil
}

// fetchBitswap has a host, and in each transfer a new bitswap that knows nothing.
func fetchBitswap(ctx context.Context, s setup) (*fetcher, error) {
	whole := s.Kind == "bitswap"
	var h corehost.Host
	var sw *swap
	begin := func(ctx context.Context) (err error) {
		if sw != nil {
			sw.bits.Close()
			h.Close()
		}
		if h, _, err = plain.New(); err != nil {
			return err
		}
		sw = newSwap(h)
		_, err = plain.Connect(ctx, h, s.Address)
		return err
	}
	if err := begin(ctx); err != nil {
		return nil, err
	}
	return &fetcher{
		fetch: func(ctx context.Context, name, into string) error {
			root, err := cid.Decode(name)
			if err != nil {
				return err
			}
			if whole {
				if err := merkledag.FetchGraph(ctx, root, sw.dag); err != nil {
					return err
				}
			}
			return writeFile(ctx, merkledag.NewReadOnlyDagService(merkledag.NewSession(ctx, sw.dag)), root, into)
		},
		clean: begin,
		close: func() { sw.bits.Close(); h.Close() },
	}, nil
}

func writeFile(ctx context.Context, dag ipld.DAGService, root cid.Cid, into string) error {
	n, err := dag.Get(ctx, root)
	if err != nil {
		return err
	}
	r, err := uio.NewDagReader(ctx, n, dag)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.OpenFile(into, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := r.WriteTo(io.Writer(f)); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
