package host

import (
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
)

// Connections from one address: libp2p's default of 8, and one in five seconds, would lock out a lab
// of 50 nodes behind one router, or the fabric when its power comes back.
const (
	connsPerIP   = 512
	connRateIP   = 32.0 // new connections a second
	connBurstIP  = 512
	connsPerNet6 = 2048 // of an IPv6 /48
)

// resources returns a resource manager with libp2p's limits, raised where many streams between few
// peers, or many peers at one address, are what the fabric is for. Memory stays bounded by the
// machine's.
func resources() (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	base := scaling.AutoScale()
	const gib = 1 << 30
	lots := func(streams rcmgr.LimitVal, memory rcmgr.LimitVal64) rcmgr.ResourceLimits {
		return rcmgr.ResourceLimits{
			Streams: streams, StreamsInbound: streams, StreamsOutbound: streams, Memory: memory,
		}
	}
	partial := base.ToPartialLimitConfig()
	system := rcmgr.LimitVal64(max(gib, int64(partial.System.Memory)))

	raised := rcmgr.PartialLimitConfig{
		System:              lots(1<<16, system),
		Transient:           lots(1<<12, gib/4),
		ServiceDefault:      lots(1<<15, system),
		ServicePeerDefault:  lots(1<<12, gib/2),
		ProtocolDefault:     lots(1<<15, system),
		ProtocolPeerDefault: lots(1<<12, gib/2),
		PeerDefault:         lots(1<<12, gib/2),
	}
	conns := func(l *rcmgr.ResourceLimits, n rcmgr.LimitVal) { l.Conns, l.ConnsInbound, l.ConnsOutbound = n, n, n }
	conns(&raised.System, 4096)
	conns(&raised.Transient, 1024)
	conns(&raised.PeerDefault, 16)
	raised.PeerDefault.FD = 16
	raised.Transient.FD = max(256, partial.Transient.FD)

	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(raised.Build(base)),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerIP}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerIP}, {PrefixLength: 48, ConnCount: connsPerNet6}},
		),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: []rate.PrefixLimit{ // no limit on loopback
				{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")},
			},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: connRateIP, Burst: connBurstIP}}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: rate.Limit{RPS: connRateIP, Burst: connBurstIP}}},
				GracePeriod:      time.Minute,
			},
		}))
}
