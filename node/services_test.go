package node

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/services"
)

func callService(t *testing.T, n *Node, name, payload string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	b, err := n.CallService(ctx, name, []byte(payload), services.CallOptions{})
	return string(b), err
}

// rowOf is what a peer says of its part in a service.
func rowOf(t *testing.T, n *Node, name string, p shoal.PeerID) services.Host {
	t.Helper()
	s, err := n.ShowService(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range s.Hosts {
		if h.Peer == p {
			return h
		}
	}
	return services.Host{}
}

// TestServiceOnNodes has real nodes serve a function: from zero, on more of them as calls wait, through the loss of one, and
// back to zero.
func TestServiceOnNodes(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, func(i int, c *Config) {
		if i > 0 { // the founder has the directory, for now alone
			c.Labels = map[string]string{"serves": "yes"}
		}
	})
	const idle = 3 * time.Second
	_, err := ns[0].CreateService(t.Context(), ServiceSpec{
		Name: "words", Code: "example:classify", Method: "classify", Idle: idle, Target: 2 * time.Millisecond,
		Needs: `labels.serves == "yes"`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ns[1].CreateAgent(t.Context(), "example:counter", cid.Undef, agents.CreateOptions{Name: "words"}); shoal.KindOf(err) != shoal.Exists {
		t.Fatalf("an agent of the same name: %v", err)
	}
	begun := time.Now()
	if out, err := callService(t, ns[1], "words", "a darn fine day"); err != nil || out != "dirty 1" {
		t.Fatalf("%q, %v", out, err)
	}
	t.Logf("%v to the first answer, from zero", time.Since(begun))

	// One node alone calls, with more than its slot can do: the others take part.
	text := strings.Repeat("a fine day, heck! ", 2000)
	var calling sync.WaitGroup
	stop := make(chan struct{})
	var done atomic.Int64
	var mu sync.Mutex
	var failures []error
	flood := func(n *Node, callers int) {
		for range callers {
			calling.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if out, err := callService(t, n, "words", text); err != nil {
						mu.Lock()
						failures = append(failures, err)
						mu.Unlock()
					} else if out != "dirty 2000" {
						t.Errorf("%q", out)
					}
					done.Add(1)
				}
			})
		}
	}
	flood(ns[1], 30)
	eventually(t, 30*time.Second, "a second node serves", func() bool {
		s, err := ns[0].ShowService(t.Context(), "words")
		busy := 0
		if err == nil {
			for _, h := range s.Hosts {
				if h.Instances > 0 && h.Calls > 20 {
					busy++
				}
			}
		}
		return busy >= 2
	})
	if len(failures) > 0 {
		t.Fatalf("%d calls failed, the first: %v", len(failures), failures[0])
	}
	if h := rowOf(t, ns[0], "words", ns[1].ID()); h.SentOn == 0 || h.Batch <= 1 {
		t.Errorf("the caller's own node, whose queue is long: %+v", h)
	}

	// A host is lost: its calls fail, as nobody knows what came of them, and no others.
	if h := rowOf(t, ns[1], "words", ns[0].ID()); h.Calls > 0 {
		t.Errorf("a node that does not fit serves: %+v", h)
	}
	left := ns[:2]
	was := done.Load()
	ns[2].Kill()
	eventually(t, 30*time.Second, "calls go on", func() bool { return done.Load() > was+200 })
	close(stop)
	calling.Wait()
	if len(failures) > 30 {
		t.Errorf("%d calls failed, and 30 were under way", len(failures))
	}
	for _, err := range failures {
		if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "went away before it answered") {
			t.Error(err)
		}
	}
	t.Logf("%d calls, of which %d failed with the host", done.Load(), len(failures))
	if out, err := callService(t, left[0], "words", "gosh"); err != nil || out != "dirty 1" {
		t.Fatalf("%q, %v", out, err)
	}
	begun = time.Now()
	eventually(t, idle+20*time.Second, "nothing is left", func() bool {
		s, err := left[0].ShowService(t.Context(), "words")
		return err == nil && s.Instances == 0
	})
	if took := time.Since(begun); took < idle/2 {
		t.Errorf("nothing is left after %v", took)
	}
	if out, err := callService(t, left[1], "words", "gosh"); err != nil || out != "dirty 1" {
		t.Fatalf("from zero again: %q, %v", out, err)
	}

	if err := left[1].RemoveService(t.Context(), "words"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "it is gone", func() bool {
		_, err := left[0].CallService(t.Context(), "words", nil, services.CallOptions{})
		return shoal.KindOf(err) == shoal.NotFound
	})
}

// TestServiceOverFabric has the most instances that a service may have hold for all nodes together.
func TestServiceOverFabric(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, func(_ int, c *Config) { c.Slots = 3 })
	if _, err := ns[0].CreateService(t.Context(), ServiceSpec{
		Name: "few", Code: "example:classify", Method: "classify", Max: 2, Target: time.Millisecond, Idle: time.Minute,
	}); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("a fine day, heck! ", 2000)
	var calling sync.WaitGroup
	for _, n := range ns {
		for range 10 {
			calling.Go(func() {
				for range 30 {
					if _, err := callService(t, n, "few", text); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	calling.Wait()
	eventually(t, 20*time.Second, "two instances are left", func() bool {
		s, err := ns[0].ShowService(t.Context(), "few")
		return err == nil && s.Instances <= 2
	})
	s, err := ns[0].ShowService(t.Context(), "few")
	if err != nil || s.Instances == 0 || s.Calls != 900 {
		t.Errorf("%+v, %v", s, err)
	}
	t.Logf("%+v", s.Hosts)
}
