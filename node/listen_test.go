package node

import (
	"slices"
	"testing"

	"github.com/shoal-fabric/shoal"
)

func TestListenAddrs(t *testing.T) {
	got, err := listenAddrs([]string{"127.0.0.1:4170", ":0", "/ip4/10.0.0.1/tcp/1/p2p/12D3Koo", "[::1]:7"})
	want := []string{
		"/ip4/127.0.0.1/tcp/4170", "/ip4/127.0.0.1/udp/4170/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1",
		"/ip4/10.0.0.1/tcp/1", "/ip6/::1/tcp/7", "/ip6/::1/udp/7/quic-v1",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"4170", "127.0.0.1", "127.0.0.1:port", "no such host:1"} {
		if _, err := listenAddrs([]string{bad}); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
