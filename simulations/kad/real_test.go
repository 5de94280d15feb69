package kad_test

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"math"
	mrand "math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/routing"
	"github.com/libp2p/go-libp2p/core/transport"

	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/simulations/kad"
	"github.com/shoal-fabric/shoal/simulations/memnet"
)

const (
	oneWay = 10 * time.Millisecond
	jitter = 0.5
)

// uneven is a network in which packets are late by up to the half of what they take at least. Without that answers would come at the same
// moment, and which of them kad-dht sees first is a matter of its goroutines.
type uneven struct{ r *mrand.Rand }

func (n uneven) Trips(_, _ uint32, trips int) (d time.Duration, ok bool) {
	for range 2 * trips {
		d += oneWay + time.Duration(float64(oneWay)*jitter*n.r.Float64())
	}
	return d, true
}

// patient is a host whose dials go on when nobody waits for them any more, as package dht has it (dht/reach.go).
type patient struct{ host.Host }

func (h patient) Connect(ctx context.Context, to peer.AddrInfo) error {
	done := make(chan error, 1)
	go func() { done <- h.Host.Connect(context.WithoutCancel(ctx), to) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fabric is hosts in memory with kad-dht on them, by place: in the order of their ids.
type fabric struct {
	hosts []host.Host
	dhts  []*dht.IpfsDHT
	ids   []uint64
}

func newFabric(t *testing.T, seed uint64, n int) *fabric {
	mem := memnet.New(memnet.Config{Latency: func(_, _ int) time.Duration { return oneWay }, Jitter: jitter})
	f := &fabric{}
	r := mrand.NewChaCha8([32]byte{byte(seed), byte(n)})
	for i := range n {
		var of [ed25519.SeedSize]byte
		r.Read(of[:])
		key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(of[:]))
		if err != nil {
			t.Fatal(err)
		}
		carrier := mem.Carrier(memnet.Place{})
		h, err := libp2p.New(libp2p.Identity(key), libp2p.NoTransports, libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery(),
			libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.ListenAddrStrings(memnet.Address(i)),
			libp2p.Transport(func(k crypto.PrivKey, l network.ResourceManager) (transport.Transport, error) { return carrier(k, l) }))
		if err != nil {
			t.Fatal(err)
		}
		f.hosts = append(f.hosts, h)
	}
	slices.SortFunc(f.hosts, func(a, b host.Host) int {
		return slices.Compare(kb.ConvertPeerID(a.ID()), kb.ConvertPeerID(b.ID()))
	})
	for _, h := range f.hosts {
		d, err := dht.New(patient{h}, dht.Mode(dht.ModeServer), dht.ProtocolPrefix("/sim"), dht.BucketSize(kad.K), dht.DisableAutoRefresh(), dht.AddressFilter(nil))
		if err != nil {
			t.Fatal(err)
		}
		f.dhts, f.ids = append(f.dhts, d), append(f.ids, binary.BigEndian.Uint64(kb.ConvertPeerID(h.ID())))
	}
	return f
}

// warm fills all tables with nodes drawn by chance.
func (f *fabric) warm(r *mrand.Rand) {
	for i, d := range f.dhts {
		for _, j := range r.Perm(len(f.hosts)) {
			if j != i {
				if ok, _ := d.RoutingTable().TryAddPeer(f.hosts[j].ID(), true, false); ok {
					f.hosts[i].Peerstore().AddAddrs(f.hosts[j].ID(), f.hosts[j].Addrs(), peerstore.PermanentAddrTTL)
				}
			}
		}
	}
}

// found is what a lookup of kad-dht came to.
type found struct {
	hops, asked int
	took        time.Duration
	closest     peer.ID
}

func (f *fabric) lookup(t *testing.T, from int, key string) (r found) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ctx, looks := dht.RegisterForLookupEvents(ctx)
	ctx, asks := routing.RegisterForQueryEvents(ctx)
	depth := map[peer.ID]int{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for looks != nil || asks != nil {
			select {
			case e, ok := <-looks:
				if !ok {
					looks = nil
				} else if e.Response != nil {
					for _, p := range e.Response.Heard {
						if _, known := depth[p.Peer]; !known {
							depth[p.Peer] = depth[e.Response.Cause.Peer] + 1 // the asker itself has 0
						}
					}
				}
			case e, ok := <-asks:
				if !ok {
					asks = nil
				} else if e.Type == routing.SendingQuery {
					r.asked++
				}
			}
		}
	}()
	begun := time.Now()
	peers, err := f.dhts[from].GetClosestPeers(ctx, key)
	r.took = time.Since(begun)
	cancel()
	<-done
	if err != nil || len(peers) == 0 {
		t.Fatalf("%d peers, %v", len(peers), err)
	}
	r.hops, r.closest = depth[peers[0]], peers[0]
	return r
}

// sample is figures of the same kind, of which the mean and its standard error are asked.
type sample []float64

func (s sample) mean() (mean, err float64) {
	for _, x := range s {
		mean += x / float64(len(s))
	}
	for _, x := range s {
		err += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(err) / float64(len(s))
}

// TestAgainstKadDHT has kad-dht on hosts in memory and the model do the same lookups one after the other, with nothing fitted. The tables of both
// are drawn by chance, each in its own way, so that the means of two samples are compared: the seed draws all keys, which leaves to chance only what
// kad-dht's goroutines make of it (1 % of the requests), and the standard error, printed with each difference, is what another seed would change.
func TestAgainstKadDHT(t *testing.T) {
	const seed = 1
	for n, runs := range map[int]int{100: 300, 200: 200} {
		bubble.Test(t, func(t *testing.T) {
			r := mrand.New(mrand.NewPCG(seed, uint64(n)))
			f := newFabric(t, seed, n)
			f.warm(r)
			s := kad.NewSpaceOf(slices.Clone(f.ids), n, 1)
			x := &kad.Searcher{
				Space: s, Tables: kad.NewImplied(s), Links: kad.NewLinks(n, 192, 255, true), Net: uneven{r}, Handshake: memnet.HandshakeTrips,
			}
			var real, model [2][3]sample // early and late: with few and with many connections open
			exact := 0
			for i := range runs {
				from, key := r.IntN(n), strconv.FormatUint(r.Uint64(), 36)
				a := f.lookup(t, from, key)
				time.Sleep(time.Second)
				at := binary.BigEndian.Uint64(kb.ConvertKey(key))
				b := x.Find(uint32(from), at, time.Duration(i)*time.Second, nil)
				if f.hosts[b.Found[0]].ID() == a.closest {
					exact++
				}
				half := i * 2 / runs
				for k, v := range []float64{float64(a.hops), float64(a.asked), a.took.Seconds()} {
					real[half][k] = append(real[half][k], v)
				}
				for k, v := range []float64{float64(b.Hops), float64(b.Asked), b.Time.Seconds()} {
					model[half][k] = append(model[half][k], v)
				}
			}
			if exact < runs*99/100 {
				t.Errorf("%d nodes: %d of %d lookups found the same closest node", n, exact, runs)
			}
			for k, what := range []string{"hops", "requests", "seconds"} {
				for half := range 2 {
					theirs, e := real[half][k].mean()
					ours, o := model[half][k].mean()
					d, sure := ours/theirs-1, math.Hypot(e, o)/theirs
					t.Logf("%d nodes, half %d: %s: kad-dht %.3f, model %.3f: %+.1f ± %.1f %%", n, half, what, theirs, ours, 100*d, 100*sure)
					if math.Abs(d) > 0.1 {
						t.Errorf("%d nodes, half %d: %s differ by %+.1f %%, standard error %.1f %%", n, half, what, 100*d, 100*sure)
					}
				}
			}
			for i := range f.dhts {
				f.dhts[i].Close()
				f.hosts[i].Close()
			}
		})
	}
}
