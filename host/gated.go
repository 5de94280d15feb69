package host

import (
	"context"
	"io"

	corehost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-fabric/shoal"
)

// gatedHost is the libp2p host that other rooms see: each way to set a handler leads through the
// gate, and so does opening a stream.
type gatedHost struct {
	corehost.Host
	gate *gate
}

func (h *gatedHost) SetStreamHandler(id protocol.ID, f network.StreamHandler) {
	h.Host.SetStreamHandler(id, h.gate.guard(f))
}

func (h *gatedHost) SetStreamHandlerMatch(id protocol.ID, m func(protocol.ID) bool, f network.StreamHandler) {
	h.Host.SetStreamHandlerMatch(id, m, h.gate.guard(f))
}

// NewStream opens to members only, unless all of the protocols are open.
func (h *gatedHost) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	for _, id := range ids {
		if !h.gate.opens(id) {
			if err := h.gate.admit(ctx, p); err != nil {
				return nil, shoal.Wrap(shoal.Refused, "open a stream to "+p.ShortString(), err)
			}
			break
		}
	}
	return h.Host.NewStream(ctx, p, ids...)
}

func (h *gatedHost) Mux() protocol.Switch { return gatedMux{h.Host.Mux(), h.gate} }

func (h *gatedHost) Network() network.Network { return gatedNetwork{h.Host.Network(), h.gate} }

// Close does nothing: the host belongs to Host.
func (h *gatedHost) Close() error { return nil }

// gatedMux guards handlers set on the multiplexer itself.
type gatedMux struct {
	protocol.Switch
	gate *gate
}

func (m gatedMux) AddHandler(id protocol.ID, f protocol.HandlerFunc) {
	m.Switch.AddHandler(id, m.guard(f))
}

func (m gatedMux) AddHandlerWithFunc(id protocol.ID, match func(protocol.ID) bool, f protocol.HandlerFunc) {
	m.Switch.AddHandlerWithFunc(id, match, m.guard(f))
}

func (m gatedMux) guard(f protocol.HandlerFunc) protocol.HandlerFunc {
	return func(id protocol.ID, rwc io.ReadWriteCloser) error {
		s, ok := rwc.(network.Stream)
		if !ok {
			return rwc.Close()
		}
		var err error
		m.gate.guard(func(s network.Stream) { err = f(id, s) })(s)
		return err
	}
}

// gatedNetwork keeps the network's own stream handler, which negotiates protocols, out of reach.
type gatedNetwork struct {
	network.Network
	gate *gate
}

// SetStreamHandler panics: it would replace every handler and the gate with them.
func (gatedNetwork) SetStreamHandler(network.StreamHandler) {
	panic("host: the network's stream handler is taken; set handlers by protocol")
}

// NewStream opens a stream without a protocol, to members only.
func (n gatedNetwork) NewStream(ctx context.Context, p peer.ID) (network.Stream, error) {
	if err := n.gate.admit(ctx, p); err != nil {
		return nil, shoal.Wrap(shoal.Refused, "open a stream to "+p.ShortString(), err)
	}
	return n.Network.NewStream(ctx, p)
}
