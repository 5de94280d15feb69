package node

import (
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Whoever founds a fabric where there is one already is told, once, and how to join that one.
func TestHearsAnotherFabric(t *testing.T) {
	t.Parallel()
	notes, heard := make(chan string, 8), make(chan shoal.PeerID, 256)
	var ns []*Node
	for range 2 {
		n, err := Open(t.Context(), Config{
			Dir: t.TempDir(), Listen: []string{"/ip4/0.0.0.0/tcp/0"}, Slots: 1, Log: testLog(t),
			OnNote: func(text string) { notes <- text },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		n.rooms.host.OnDiscover(func(p shoal.PeerID, _ []string) { heard <- p })
		ns = append(ns, n)
	}
	select {
	case p := <-heard:
		t.Logf("heard %s", p.Short())
	case <-time.After(10 * time.Second):
		t.Skip("multicast does not come back here: on this machine nobody can be heard")
	}
	select {
	case note := <-notes:
		if !strings.Contains(note, "shoal up --join lan") || !strings.Contains(note, "another fabric") {
			t.Errorf("%q", note)
		}
		if f := ns[0].Status().Fabric; !strings.Contains(note, f) && !strings.Contains(note, ns[1].Status().Fabric) {
			t.Logf("it is about a third one: %q", note)
		}
	case <-time.After(25 * time.Second):
		t.Error("no word of the other fabric")
	}
}

// A node that hears nobody cannot join over the local network, and says so at once.
func TestJoinLANWithoutMDNS(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Config{Dir: t.TempDir(), Join: "lan", NoMDNS: true, Listen: []string{"/ip4/127.0.0.1/tcp/0"}}); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("got %v, want Invalid", err)
	}
}
