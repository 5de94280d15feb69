package host

import (
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"

	"github.com/shoal-fabric/shoal"
)

// mdnsService is what nodes of every fabric announce themselves as.
const mdnsService = "_shoal._udp"

// maxEarly bounds the nodes remembered that were heard before anybody wanted to know.
const maxEarly = 64

// OnDiscover has f called with each node that mDNS hears of, of any fabric or none, one call at a
// time; the same node may come again. Those heard before the first call of OnDiscover are told at once:
// mDNS says a thing once. Addresses are as it says: nothing is proven before Connect.
func (h *Host) OnDiscover(f func(p shoal.PeerID, addrs []string)) {
	h.telling.Lock()
	defer h.telling.Unlock()
	h.onDiscover = append(h.onDiscover, f)
	for _, info := range h.early {
		h.discovered(info)
	}
	h.early = nil
}

// discover starts mDNS. Without multicast the node goes on without.
func (h *Host) discover() {
	found := make(chan peer.AddrInfo, 64)
	service := mdns.NewMdnsService(h.inner, mdnsService, notifee(found))
	if err := service.Start(); err != nil {
		h.cfg.Log.Warn("no discovery on the local network", "error", err)
		_ = service.Close()
		return
	}
	h.closer = append(h.closer, service)
	h.tasks.Go(func() {
		for {
			select {
			case <-h.ctx.Done():
				return
			case info := <-found:
				h.telling.Lock()
				if len(h.onDiscover) > 0 {
					h.discovered(info)
				} else if len(h.early) < maxEarly {
					h.early = append(h.early, info)
				}
				h.telling.Unlock()
			}
		}
	})
}

// discovered tells those who want to know. h.telling is held.
func (h *Host) discovered(info peer.AddrInfo) {
	var addrs []string
	for _, a := range info.Addrs {
		addrs = append(addrs, a.String())
	}
	for _, f := range h.onDiscover {
		f(shoal.PeerID(info.ID.String()), addrs)
	}
}

// notifee passes on what mDNS finds; when nobody keeps up it drops: announcements come again.
type notifee chan<- peer.AddrInfo

func (n notifee) HandlePeerFound(info peer.AddrInfo) {
	select {
	case n <- info:
	default:
	}
}
