package node

import (
	"context"
	"fmt"
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
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b, err := n.CallService(ctx, name, []byte(payload), services.CallOptions{})
	return string(b), err
}

func TestServiceOnNodes(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, nil)
	d, err := ns[0].CreateService(t.Context(), ServiceSpec{Name: "echo", Code: "example:classify", Method: "classify", Idle: 2 * time.Second, Target: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(d)
	_ = cid.Undef
	_ = agents.CreateOptions{}
	_ = shoal.PeerID("")
	_ = strings.Contains
	begun := time.Now()
	out, err := callService(t, ns[1], "echo", "what a great day")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%q after %v", out, time.Since(begun))
	var wg sync.WaitGroup
	var failed atomic.Int32
	for i := range 3 {
		for range 20 {
			wg.Go(func() {
				for range 100 {
					if _, err := callService(t, ns[i], "echo", strings.Repeat("what a great day ", 1000)); err != nil {
						if failed.Add(1) < 5 {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	s, err := ns[2].ShowService(t.Context(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range s.Hosts {
		t.Log(fmt.Sprintf("%+v", h))
	}
	eventually(t, 10*time.Second, "zero", func() bool {
		s, err := ns[2].ShowService(t.Context(), "echo")
		return err == nil && s.Instances == 0
	})
}
