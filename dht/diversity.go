package dht

import (
	"net/netip"
	"sync"

	"github.com/libp2p/go-libp2p-kbucket/peerdiversity"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// diversity bounds how many peers of one block of addresses a bucket of the routing table holds, so
// that whoever owns one network cannot fill it. Machines of one lab share private addresses, which
// say nothing about who they are: those are not bounded. It implements
// peerdiversity.PeerIPGroupFilter, and is told of every change of the table.
type diversity struct {
	host    host.Host
	limit   int    // peers of a group in a bucket
	changed func() // the table is about to change; must not block

	mu     sync.Mutex
	counts map[bucketGroup]int
}

type bucketGroup struct {
	bucket int
	group  peerdiversity.PeerIPGroupKey
}

func (d *diversity) Allow(g peerdiversity.PeerGroupInfo) bool {
	if unbounded(g.IPGroupKey) {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts[bucketGroup{g.Cpl, g.IPGroupKey}] < d.limit
}

func (d *diversity) Increment(g peerdiversity.PeerGroupInfo) { d.count(g, 1) }
func (d *diversity) Decrement(g peerdiversity.PeerGroupInfo) { d.count(g, -1) }

func (d *diversity) count(g peerdiversity.PeerGroupInfo, by int) {
	d.mu.Lock()
	k := bucketGroup{g.Cpl, g.IPGroupKey}
	if d.counts[k] += by; d.counts[k] <= 0 {
		delete(d.counts, k)
	}
	d.mu.Unlock()
	d.changed()
}

// PeerAddresses returns the addresses by which p is judged: those of its connections, else those it
// is known under.
func (d *diversity) PeerAddresses(p peer.ID) []ma.Multiaddr {
	var addrs []ma.Multiaddr
	for _, c := range d.host.Network().ConnsToPeer(p) {
		addrs = append(addrs, c.RemoteMultiaddr())
	}
	if len(addrs) == 0 {
		addrs = d.host.Peerstore().Addrs(p)
	}
	var out []ma.Multiaddr
	for _, a := range addrs {
		if ip, err := manet.ToIP(a); err == nil && peerdiversity.IPGroupKey(ip) != "" {
			out = append(out, a)
		}
	}
	if len(out) == 0 { // no IP address (in memory, by name): nothing to count
		out = append(out, ma.StringCast("/ip4/127.0.0.1"))
	}
	return out
}

// unbounded reports whether the group, which kad-dht names by the first address of an IPv4 block or
// by the number of an IPv6 network, consists of private addresses. IPv6 addresses outside any known
// network are private or link-local, or nothing is known of them.
func unbounded(g peerdiversity.PeerIPGroupKey) bool {
	ip, err := netip.ParseAddr(string(g))
	if err != nil {
		return len(g) == 0 || g[0] < '0' || g[0] > '9'
	}
	carrier := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) // RFC 6598, used by overlays too
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || carrier.Contains(ip)
}
