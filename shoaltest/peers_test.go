package shoaltest

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

func TestNetworkIsPeers(t *testing.T) {
	TestPeers(t, func(t *testing.T) (a, b shoal.Peers) {
		n := NewNetwork()
		return n.Node("node-a"), n.Node("node-b")
	})
}

// duo is two nodes in a bubble of virtual time; b answers "t.echo" and counts.
func duo(n *Network) (a, b *Node) {
	a, b = n.Node("a"), n.Node("b")
	b.Handle("t.echo", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil })
	b.Handle("t.wait", func(ctx context.Context, _ shoal.PeerID, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	b.HandleStream("t.read", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		_, err := io.Copy(io.Discard, s)
		return err
	})
	return a, b
}

func TestDelay(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := duo(n)
		n.Delay("a", "b", 30*time.Millisecond)
		n.Delay("b", "a", 12*time.Millisecond)
		start := time.Now()
		if _, err := a.Ask(t.Context(), b.Self(), "t.echo", nil); err != nil || time.Since(start) != 42*time.Millisecond {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
	})
}

func TestCutIsOneWay(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := duo(n)
		a.Handle("t.echo", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil })
		n.Cut("b", "a") // requests of a arrive, replies do not
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.Ask(ctx, "b", "t.echo", nil)
		wantError(t, err, shoal.Timeout, "t.echo")
		if n.Asked("t.echo") != 1 {
			t.Fatalf("the request was handled %d times, want 1", n.Asked("t.echo"))
		}
		start := time.Now()
		_, err = b.Ask(t.Context(), "a", "t.echo", nil) // requests of b do not arrive
		wantError(t, err, shoal.Unavailable, "no answer")
		if n.Asked("t.echo") != 1 || time.Since(start) != n.Patience {
			t.Fatalf("handled %d times, gave up after %v", n.Asked("t.echo"), time.Since(start))
		}
		n.Heal("b", "a")
		if _, err := a.Ask(t.Context(), "b", "t.echo", nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDropLosesAShare(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, _ := duo(n)
		n.Drop("a", "b", 0.3)
		lost := 0
		for range 200 {
			if _, err := a.Ask(t.Context(), "b", "t.echo", nil); err != nil {
				lost++
			}
		}
		if lost < 35 || lost > 85 {
			t.Fatalf("%d of 200 were lost, want about 60", lost)
		}
	})
}

func TestStopBreaksWhatIsUnderWay(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := duo(n)
		asked := make(chan error, 1)
		go func() { _, err := a.Ask(t.Context(), "b", "t.wait", nil); asked <- err }()
		s, err := a.Open(t.Context(), "b", "t.read", nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.Stop()
		wantError(t, <-asked, shoal.Unavailable, "b")
		_, err = s.Read(make([]byte, 1))
		wantError(t, err, shoal.Unavailable, "")
		_, err = a.Ask(t.Context(), "b", "t.echo", nil)
		wantError(t, err, shoal.Unavailable, "b")
		_, err = b.Ask(t.Context(), "a", "t.echo", nil)
		wantError(t, err, shoal.Unavailable, "a")
		b.Start()
		if _, err := a.Ask(t.Context(), "b", "t.echo", nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCutBreaksStreams(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, _ := duo(n)
		s, err := a.Open(t.Context(), "b", "t.read", nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		n.Cut("b", "a")
		_, err = io.ReadAll(s)
		wantError(t, err, shoal.Unavailable, "")
	})
}
