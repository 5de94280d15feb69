package dht_test

import (
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-fabric/shoal"
)

// keenHost is a host that is asked something the moment it says that it takes questions, and lets
// nobody go on before there was time for an answer.
type keenHost struct {
	host.Host
	ask func(id protocol.ID)
}

func (h *keenHost) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	h.Host.SetStreamHandler(id, handle)
	h.ask(id)
}

// TestAskedEarly asks a node of the DHT while it is still being built, as the peers of a node that
// comes back do. It must answer, once it stands.
func TestAskedEarly(t *testing.T) {
	f := newFabric(t, patient())
	early, asker := newHost(t), newHost(t)
	f.admit(shoal.PeerID(asker.ID().String()), true)
	f.connect(&node{host: asker}, &node{host: early})
	ping := []byte{2, 8, 5} // a frame of two bytes: type PING
	answer := make(chan error, 1)
	f.start(&keenHost{early, func(id protocol.ID) {
		s, err := asker.NewStream(t.Context(), early.ID(), id)
		if err != nil {
			t.Error(err)
			return
		}
		_ = s.SetDeadline(time.Now().Add(patience))
		if _, err := s.Write(ping); err != nil {
			t.Error(err)
		}
		go func() {
			_, err := io.ReadFull(s, make([]byte, len(ping)))
			answer <- err
		}()
		time.Sleep(50 * time.Millisecond) // time to go wrong in
	}})
	if err := <-answer; err != nil {
		t.Errorf("the early question got no answer: %v", err)
	}
}
