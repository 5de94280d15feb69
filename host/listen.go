package host

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-fabric/shoal"
)

// portTries is how many ports are tried, from Config.Port up.
const portTries = 100

// listener is what a swarm can do beyond network.Network: it tells why an address failed.
type listener interface {
	AddListenAddr(a ma.Multiaddr) error
	ListenClose(addrs ...ma.Multiaddr)
}

// listen opens what the configuration asks for.
func (h *Host) listen() error {
	l := h.inner.Network().(listener)
	if len(h.cfg.Listen) == 0 {
		return h.listenDefault(l)
	}
	for _, s := range h.cfg.Listen {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return &shoal.Error{
				Kind: shoal.Invalid, What: "listen on '" + s + "'", Why: "not a multiaddr", Err: err,
				Try: "write it like /ip4/0.0.0.0/tcp/4170 or /ip4/0.0.0.0/udp/4170/quic-v1",
			}
		}
		open := listenOn
		if h.cfg.Carrier != nil {
			open = listener.AddListenAddr
		}
		if err := open(l, a); err != nil {
			return listenError(s, err)
		}
	}
	return nil
}

// listenDefault takes the first port that is free for both TCP and UDP, on IPv4 and, where the
// machine has it, IPv6.
func (h *Host) listenDefault(l listener) error {
	var last error
	for port := h.cfg.Port; port < h.cfg.Port+portTries && port <= 65535; port++ {
		var done []ma.Multiaddr
		last = nil
		// UDP first: unlike TCP, where libp2p shares ports between sockets, it is ours alone.
		for _, form := range []string{
			"/ip4/0.0.0.0/udp/%d/quic-v1", "/ip4/0.0.0.0/tcp/%d",
			"/ip6/::/udp/%d/quic-v1", "/ip6/::/tcp/%d",
		} {
			a := ma.StringCast(fmt.Sprintf(form, port))
			err := listenOn(l, a)
			switch {
			case err == nil:
				done = append(done, a)
			case inUse(err) || strings.HasPrefix(form, "/ip4"):
				last = listenError(a.String(), err)
			default:
				h.cfg.Log.Debug("no IPv6 here", "address", a, "error", err)
			}
			if last != nil {
				break
			}
		}
		if last == nil {
			return nil
		}
		l.ListenClose(done...)
		if !inUse(last) {
			return last
		}
	}
	var e *shoal.Error
	if errors.As(last, &e) {
		e.Try = "name addresses to listen on"
		return e
	}
	return shoal.E(shoal.Invalid, "listen", "no port to try", "choose a port from 1 to 65535")
}

// listenOn listens on one address. libp2p opens TCP ports so that they can be shared, to dial from
// them; a look with a plain socket first finds the port of another program, or another node.
func listenOn(l listener, a ma.Multiaddr) error {
	if network, addr, err := manet.DialArgs(a); err == nil && strings.HasPrefix(network, "tcp") {
		probe, err := net.Listen(network, addr)
		if err != nil {
			return err
		}
		if err := probe.Close(); err != nil {
			return err
		}
	}
	return l.AddListenAddr(a)
}

// inUse reports whether err says that a port is taken, on any system.
func inUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) ||
		strings.Contains(err.Error(), "Only one usage of each socket address") // Windows
}

func listenError(addr string, err error) error {
	e := &shoal.Error{Kind: shoal.Unavailable, What: "listen on " + addr, Err: err}
	switch {
	case inUse(err):
		e.Why, e.Try = "the port is in use", "choose another port, or stop the program that has it"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Why, e.Try = "this machine has no such address", "use one that 'ip address' shows, or 0.0.0.0"
	case errors.Is(err, os.ErrPermission):
		e.Why, e.Try = "not allowed", "choose a port above 1023"
	default:
		e.Why = err.Error()
	}
	return e
}

// quietQUIC stops a warning about socket buffers, which the QUIC library prints to standard error
// and offers no other way to turn off.
func quietQUIC() {
	const name = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"
	if _, set := os.LookupEnv(name); !set {
		os.Setenv(name, "true") // an error leaves the warning on, no more
	}
}
