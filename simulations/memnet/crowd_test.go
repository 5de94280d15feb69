package memnet

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	kad "github.com/libp2p/go-libp2p-kad-dht"
	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-fabric/shoal/host"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

var (
	count    = flag.Int("hosts", 60, "hosts of TestCrowd")
	asks     = flag.Int("lookups", 20, "lookups of TestCrowd")
	idle     = flag.Duration("idle", 10*time.Minute, "virtual time that TestCrowd's hosts are idle")
	heapFile = flag.String("heap", "", "where TestCrowd writes the heap's profile")
)

// real is the machine's time, in a bubble too.
func real() time.Duration {
	b, _ := os.ReadFile("/proc/uptime")
	s, _, _ := strings.Cut(string(b), " ")
	f, _ := strconv.ParseFloat(s, 64)
	return time.Duration(f * 1e9)
}

// resident is the process's memory in MB.
func resident() int {
	b, _ := os.ReadFile("/proc/self/statm")
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(f[1])
	return pages * os.Getpagesize() >> 20
}

// Host rooms with kad-dht, warm: each has 20 of every distance in its routing table. Lookups end at those closest, and the
// network is at rest afterwards. 1,000 of them, as DESIGN section 13 has it:
//
//	go test ./simulations/memnet -run TestCrowd -v -hosts 1000
func TestCrowd(t *testing.T) {
	begin := real()
	stage := func(what string, n *Net, since time.Time) {
		t.Logf("%-10s wall %6.2fs, virtual %8v, %6d goroutines, %5d MB, %+v", what, (real() - begin).Seconds(),
			time.Since(since).Round(time.Millisecond), runtime.NumGoroutine(), resident(), n.Stats())
	}
	watch := NewWatch(WatchConfig{Patience: 20 * time.Second, Stuck: func(_ time.Duration, who string) { t.Log(who) }})
	defer watch.Stop()
	bubble.Test(t, func(t *testing.T) {
		defer watch.Pulse()()
		since := time.Now()
		n := New(Config{Latency: same(20 * time.Millisecond), Jitter: 0.1})
		var hosts []*host.Host
		var tables []*kad.IpfsDHT
		var ids []peer.ID
		for i := range *count {
			h := n.small(t, i)
			defer h.Close()
			hosts, ids = append(hosts, h), append(ids, h.Libp2p().ID())
		}
		stage("hosts", n, since)
		for _, h := range hosts {
			d, err := kad.New(h.Libp2p(), kad.Mode(kad.ModeServer), kad.ProtocolPrefix("/test"), kad.DisableAutoRefresh(),
				kad.AddressFilter(nil))
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			tables = append(tables, d)
		}
		stage("dht", n, since)
		r := rand.New(rand.NewPCG(1, 1))
		keys := make([]kb.ID, len(ids))
		for i, id := range ids {
			keys[i] = kb.ConvertPeerID(id)
		}
		addrs := make([][]ma.Multiaddr, len(ids))
		for i := range ids {
			addrs[i] = []ma.Multiaddr{ma.StringCast(Address(i))}
		}
		for i := range ids {
			far := map[int]int{}
			for _, j := range r.Perm(len(ids)) {
				c := kb.CommonPrefixLen(keys[i], keys[j])
				if i == j || far[c] >= 20 {
					continue
				}
				far[c]++
				hosts[i].Libp2p().Peerstore().AddAddrs(ids[j], addrs[j], 24*time.Hour)
				_, _ = tables[i].RoutingTable().TryAddPeer(ids[j], true, false)
			}
		}
		stage("warm", n, since)
		var took time.Duration
		for range *asks {
			key := fmt.Sprint("key ", r.Uint64())
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			at := time.Now()
			asker := r.IntN(len(tables))
			got, err := tables[asker].GetClosestPeers(ctx, key)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			took += time.Since(at)
			best := slices.MinFunc(ids, func(a, b peer.ID) int {
				return closer(kb.ConvertKey(key), kb.ConvertPeerID(a), kb.ConvertPeerID(b))
			})
			if best != ids[asker] && !slices.Contains(got, best) {
				t.Fatalf("the closest was not found; %d were", len(got))
			}
		}
		stage("lookups", n, since)
		t.Logf("a lookup: %v", took/time.Duration(*asks))
		if *heapFile != "" {
			f, err := os.Create(*heapFile)
			if err != nil {
				t.Fatal(err)
			}
			runtime.GC()
			if err := pprof.WriteHeapProfile(f); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		time.Sleep(*idle)
		stage("idle", n, since)
		conns := 0
		for _, h := range hosts {
			conns += len(h.Connected())
		}
		if s := n.Stats(); s.Open != conns/2 || s.Dials != s.Opened+s.Failed {
			t.Errorf("%d connections by the hosts' account, by the network's %+v", conns/2, s)
		}
	})
	t.Logf("closed     wall %6.2fs", (real() - begin).Seconds())
}

// small starts a host room with few connections.
func (n *Net) small(t testing.TB, i int) *host.Host {
	t.Helper()
	h, err := host.New(host.Config{
		Key: seed(i), Listen: []string{Address(i)}, Carrier: n.Carrier(Place{}), LowPeers: 48, HighPeers: 64,
		Admit: everybody,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// closer compares distances to a key.
func closer(key, a, b kb.ID) int {
	for i := range key {
		if x, y := key[i]^a[i], key[i]^b[i]; x != y {
			return int(x) - int(y)
		}
	}
	return 0
}
