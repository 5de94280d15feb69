package dht_test

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/dht"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// silentListener accepts connections and never says a word.
func silentListener(t *testing.T) ma.Multiaddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	a, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestDeadPeer kills one of 12 nodes in three ways, and looks things up while it is in every table.
func TestDeadPeer(t *testing.T) {
	kadID := protocol.ID("/shoal/" + fabricID + "/kad/1.0.0")
	for _, c := range []struct {
		name string
		kill func(t *testing.T, victim *node, others []host.Host)
	}{
		{"refused", func(t *testing.T, victim *node, _ []host.Host) {
			victim.host.Close() // its port is closed: dials fail at once
		}},
		{"blackholed", func(t *testing.T, victim *node, others []host.Host) {
			victim.host.Close()
			for _, h := range others { // dials get nowhere
				h.Peerstore().ClearAddrs(victim.host.ID())
				h.Peerstore().AddAddr(victim.host.ID(), silentListener(t), peerstore.PermanentAddrTTL)
			}
		}},
		{"frozen", func(_ *testing.T, victim *node, _ []host.Host) {
			victim.host.SetStreamHandler(kadID, func(s network.Stream) { // connected, and silent
				_, _ = io.Copy(io.Discard, s)
			})
			for _, conn := range victim.host.Network().Conns() {
				for _, s := range conn.GetStreams() {
					if s.Protocol() == kadID {
						_ = s.Reset()
					}
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFabric(t, dht.Config{})
			nodes := f.mesh(12)
			victim, others := nodes[11], nodes[:11]
			have := []*node{nodes[0], nodes[5], victim}
			for _, n := range have {
				if err := n.Provide(t.Context(), testKey("data")); err != nil {
					t.Fatal(err)
				}
			}
			for _, n := range nodes {
				f.heard(n, testKey("data"), have...)
			}
			var hosts []host.Host
			for _, n := range others {
				hosts = append(hosts, n.host)
			}
			c.kill(t, victim, hosts)
			if c.name != "frozen" {
				f.until("connections to break", func() bool {
					return !slices.ContainsFunc(hosts, func(h host.Host) bool {
						return h.Network().Connectedness(victim.host.ID()) == network.Connected
					})
				})
			}
			for i, n := range others[:3] {
				there, failed, waited := slices.Contains(n.Peers(), victim.id), false, 0
				ctx := shoal.WithTrace(t.Context(), func(h shoal.Hop) {
					if h.Event == "fail" && h.Peer == victim.id {
						failed = true
						if !strings.Contains(h.Err, "passed over") {
							waited++
						}
					}
				})
				for _, what := range []string{"data", "nothing"} {
					start, first := time.Now(), time.Duration(0)
					found := 0
					for _, err := range n.Find(ctx, testKey(what), 0) {
						if err != nil {
							t.Error(err)
						}
						if found++; found == 1 {
							first = time.Since(start)
						}
					}
					took := time.Since(start)
					t.Logf("node %d, %s: %d found, first after %v, all after %v", i, what, found,
						first.Round(time.Millisecond), took.Round(time.Millisecond))
					if took > time.Second || what == "data" && found < 2 {
						t.Errorf("node %d, %s: %d found after %v", i, what, found, took)
					}
				}
				if c.name == "frozen" && waited > 1 {
					t.Errorf("node %d waited for the victim %d times", i, waited)
				}
				if there && !failed {
					t.Errorf("node %d: the trace does not tell that the victim failed", i)
				}
			}
			start := time.Now()
			if _, err := others[7].FindPeer(t.Context(), others[6].id); err != nil {
				t.Error(err)
			}
			_, _ = others[8].FindPeer(t.Context(), victim.id)
			_, _ = others[9].GetRecord(t.Context(), victim.id)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("three other lookups took %v", took)
			}
			// Announcements still reach everybody, in time.
			start = time.Now()
			if err := others[10].Provide(t.Context(), testKey("new"), testKey("new 2"), testKey("new 3")); err != nil {
				t.Fatal(err)
			}
			for _, n := range others[3:7] {
				f.heard(n, testKey("new 2"), others[10])
			}
			t.Logf("announced everywhere after %v", time.Since(start).Round(time.Millisecond))
		})
	}
}

// TestNeverTwice: of many lookups at once only the first second suffers from a frozen peer.
func TestNeverTwice(t *testing.T) {
	f := newFabric(t, dht.Config{Memory: time.Minute})
	nodes := f.mesh(4)
	frozen := nodes[3].host
	frozen.SetStreamHandler(protocol.ID("/shoal/"+fabricID+"/kad/1.0.0"), func(s network.Stream) { _, _ = io.Copy(io.Discard, s) })
	for _, conn := range frozen.Network().Conns() {
		for _, s := range conn.GetStreams() {
			_ = s.Reset()
		}
	}
	start := time.Now()
	for i := range 20 {
		if _, err := shoaltest.Found(t.Context(), nodes[0], shoal.NameKey("never", string(rune('a'+i))), 0); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(start)
	t.Logf("20 lookups in %v", took.Round(time.Millisecond))
	if took > 2*time.Second {
		t.Error("they waited more than once")
	}
}
