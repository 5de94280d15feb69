package blobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	corehost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/shoal-fabric/shoal"
)

// swap is bitswap, server and client, on the protocols that every IPFS node speaks.
type swap struct {
	host   corehost.Host
	bits   *bitswap.Bitswap
	cancel context.CancelFunc
}

func newSwap(cfg Config) *swap {
	ctx, cancel := context.WithCancel(context.Background())
	// The defaults start 150 goroutines for a public gateway, and allow a peer 1 MiB on its way,
	// which is one leaf.
	bits := bitswap.New(ctx, bsnet.NewFromIpfsHost(cfg.Host), nil, blockstore{cfg.Store},
		bitswap.EngineBlockstoreWorkerCount(8),
		bitswap.EngineTaskWorkerCount(4),
		bitswap.TaskWorkerCount(4),
		bitswap.MaxOutstandingBytesPerPeer(8<<20),
		bitswap.WithoutDuplicatedBlockStats(),
		bitswap.WithPeerBlockRequestFilter(func(p peer.ID, c cid.Cid) bool {
			return cfg.Member(shoal.PeerID(p.String())) || cfg.Public(c)
		}),
	)
	return &swap{host: cfg.Host, bits: bits, cancel: cancel}
}

func (s *swap) close() error {
	err := s.bits.Close()
	s.cancel()
	return err
}

// blockstore shows a shoal.Store to bitswap, which reads it. What bitswap receives, Fetch writes.
type blockstore struct{ store shoal.Store }

func (b blockstore) Has(ctx context.Context, c cid.Cid) (bool, error) {
	_, err := b.store.Size(ctx, c)
	if lacks(err) {
		return false, nil
	}
	return err == nil, err
}

func (b blockstore) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	data, err := b.store.Get(ctx, c)
	if err != nil {
		return nil, absent(c, err)
	}
	return blocks.NewBlockWithCid(data, c)
}

func (b blockstore) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	n, err := b.store.Size(ctx, c)
	if err != nil {
		return -1, absent(c, err)
	}
	return n, nil
}

// lacks reports whether err says that a block is not there. One that rotted is not, nor one whose file
// changed.
func lacks(err error) bool {
	k := shoal.KindOf(err)
	return err != nil && (k == shoal.NotFound || k == shoal.Corrupt)
}

// absent puts that into the words bitswap knows.
func absent(c cid.Cid, err error) error {
	if lacks(err) {
		return ipld.ErrNotFound{Cid: c}
	}
	return err
}

var errReadOnly = errors.New("bitswap does not write to the store")

func (blockstore) Put(context.Context, blocks.Block) error       { return errReadOnly }
func (blockstore) PutMany(context.Context, []blocks.Block) error { return errReadOnly }
func (blockstore) DeleteBlock(context.Context, cid.Cid) error    { return errReadOnly }

func (blockstore) AllKeysChan(context.Context) (<-chan cid.Cid, error) { return nil, errReadOnly }

// wanted bounds the blocks asked for at once, and so the bytes that may arrive before they are
// written.
const wanted = 32

// Fetch downloads a graph by bitswap into the store, block by block verified, leaving out what is
// there: a fetch that broke off resumes. from holds multiaddresses that end in /p2p/ID; Fetch connects
// to them and asks whoever else is connected too. When it returns nil, the graph is durable.
//
// Unavailable: no source could be reached (each is named), or nothing came for Config.Stall.
// Refused: this node has no host.
func (b *Blobs) Fetch(ctx context.Context, root cid.Cid, from []string) error {
	what := "fetch " + root.String()
	if b.swap == nil {
		return shoal.E(shoal.Refused, what, "this node has no network", "")
	}
	if err := checkCID(root); err != nil {
		return err
	}
	sources, err := parseSources(what, from)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the sessions as well
	if err := b.connect(ctx, what, sources); err != nil {
		return err
	}
	f := &fetch{
		ctx: ctx, cfg: b.cfg, what: what, open: b.swap.bits.NewSession, out: newBatch(ctx, b.cfg.Store),
		arrived: make(chan blocks.Block), seen: map[cid.Cid]struct{}{}, asked: map[cid.Cid]struct{}{},
	}
	f.begin()
	start := time.Now()
	err = f.run(root)
	if err != nil {
		cancel()
		_ = f.out.wait() // no write goes on behind the caller's back
	}
	b.cfg.Log.Info("bitswap fetch", "root", root, "bytes", f.bytes, "blocks", f.blocks,
		"took", time.Since(start), "err", err)
	return shoal.Wrap(shoal.Internal, what, err)
}

func parseSources(what string, from []string) ([]peer.AddrInfo, error) {
	addrs := make([]multiaddr.Multiaddr, 0, len(from))
	for _, s := range from {
		a, err := multiaddr.NewMultiaddr(s)
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(a)
		}
		if err != nil {
			return nil, shoal.E(shoal.Invalid, what+" from '"+s+"'", err.Error(),
				"give an address like /ip4/10.0.0.7/tcp/4001/p2p/12D3KooW...")
		}
		addrs = append(addrs, a)
	}
	return peer.AddrInfosFromP2pAddrs(addrs...)
}

// connect dials all sources and needs one.
func (b *Blobs) connect(ctx context.Context, what string, sources []peer.AddrInfo) error {
	if len(sources) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Connect)
	outcomes := make(chan error, len(sources))
	for _, src := range sources {
		go func() {
			err := b.swap.host.Connect(ctx, src)
			if err != nil {
				err = fmt.Errorf("%s: %w", src.ID, err)
			}
			outcomes <- err
		}()
	}
	var faults []string
	for left := len(sources); left > 0; left-- {
		err := <-outcomes
		if err == nil {
			go func() { // the others may still connect, and join the session when they do
				defer cancel()
				for range left - 1 {
					<-outcomes
				}
			}()
			return nil
		}
		faults = append(faults, strings.Join(strings.Fields(err.Error()), " "))
	}
	defer cancel()
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return shoal.Wrap(shoal.Canceled, what, err)
	}
	return shoal.E(shoal.Unavailable, what, "no source can be reached: "+strings.Join(faults, "; "),
		"check the addresses and that the nodes run")
}

// fetch is one download.
type fetch struct {
	ctx     context.Context
	cfg     Config
	what    string
	open    func(ctx context.Context) exchange.Fetcher
	session exchange.Fetcher
	talk    context.Context // the session's
	end     context.CancelFunc
	out     *batch
	arrived chan blocks.Block

	todo  []cid.Cid            // to look at; the end comes first
	seen  map[cid.Cid]struct{} // ever in todo
	asked map[cid.Cid]struct{} // and not arrived

	blocks, bytes int // arrived
}

// Of a want that is lost bitswap's session says nothing. It happens when the cancels of a session that was given up, which go out behind
// its back, meet the wants of the next one.
const (
	asksAgain = 2                      // in Config.Stall
	cancelled = 100 * time.Millisecond // after which a session's cancels have gone out
)

// begin begins a session.
func (f *fetch) begin() {
	f.talk, f.end = context.WithCancel(f.ctx)
	f.session = f.open(f.talk)
}

// again asks for what is missing by another session.
func (f *fetch) again() error {
	f.end()
	select {
	case <-time.After(cancelled):
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
	f.begin()
	return f.want(slices.Collect(maps.Keys(f.asked)))
}

func (f *fetch) run(root cid.Cid) error {
	f.push(root)
	last, silence := time.Now(), f.cfg.Stall/asksAgain
	look := time.NewTicker(silence)
	defer look.Stop()
	for {
		if err := f.ask(); err != nil {
			return err
		}
		if len(f.asked) == 0 {
			return f.out.flush()
		}
		select {
		case blk := <-f.arrived:
			if err := f.take(blk); err != nil {
				return err
			}
			last = time.Now()
			look.Reset(silence)
		case <-look.C:
			if time.Since(last) >= f.cfg.Stall {
				return shoal.E(shoal.Unavailable, "",
					fmt.Sprintf("no block came for %v, %d are asked for", f.cfg.Stall, len(f.asked)),
					"it may lie elsewhere, or be for members only there: name a node that has it with --from")
			}
			if err := f.again(); err != nil {
				return err
			}
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
}

func (f *fetch) push(c cid.Cid) {
	if _, again := f.seen[c]; !again {
		f.seen[c] = struct{}{}
		f.todo = append(f.todo, c)
	}
}

// ask looks at what there is to do: what the store has is followed, the rest is asked for.
func (f *fetch) ask() error {
	var ask []cid.Cid
	for len(f.todo) > 0 && len(f.asked) < wanted {
		c := f.todo[len(f.todo)-1]
		f.todo = f.todo[:len(f.todo)-1]
		if data, ok := inline(c); ok {
			if err := f.follow(c, data); err != nil {
				return err
			}
			continue
		}
		if _, err := f.cfg.Store.Size(f.ctx, c); err == nil {
			if leaf(c) {
				continue
			}
			data, err := f.cfg.Store.Get(f.ctx, c)
			if err == nil {
				if err := f.follow(c, data); err != nil {
					return err
				}
				continue
			}
			if !lacks(err) {
				return err
			}
		} else if !lacks(err) {
			return err
		}
		f.asked[c] = struct{}{}
		ask = append(ask, c)
	}
	return f.want(ask)
}

// want has the session get blocks.
func (f *fetch) want(ask []cid.Cid) error {
	if len(ask) == 0 {
		return nil
	}
	got, err := f.session.GetBlocks(f.talk, ask)
	if err != nil {
		return err
	}
	go func() {
		for blk := range got {
			select {
			case f.arrived <- blk:
			case <-f.ctx.Done():
				return
			}
		}
	}()
	return nil
}

// take keeps a block. Bitswap has made its CID of its bytes; the store checks again.
func (f *fetch) take(blk blocks.Block) error {
	c := blk.Cid()
	if _, ok := f.asked[c]; !ok {
		return nil
	}
	delete(f.asked, c)
	f.blocks++
	f.bytes += len(blk.RawData())
	if err := f.follow(c, blk.RawData()); err != nil {
		return err
	}
	return f.out.add(c, blk.RawData())
}

// follow puts what a block links to before everything else there is to do.
func (f *fetch) follow(c cid.Cid, data []byte) error {
	n, err := decode(c, data)
	if err != nil {
		return err
	}
	for i := len(n.links) - 1; i >= 0; i-- {
		f.push(n.links[i].cid)
	}
	return nil
}
