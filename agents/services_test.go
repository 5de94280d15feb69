package agents

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
)

// TestServiceNames has agents and services want the same names at once: each has one of them, and the keepers of the
// directory have the services in their own copies.
func TestServiceNames(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, w *world) {
		ctx := context.Background()
		const names = 10
		var won [names]sync.Map
		var wait sync.WaitGroup
		for i := range names {
			name := fmt.Sprint("name-", i)
			for k, n := range w.nodes {
				wait.Go(func() {
					key := shoal.DataKey(shoal.BlockCID([]byte(name + fmt.Sprint(k))))
					err := n.Define(ctx, name, key, []byte("spec"))
					if err == nil {
						won[i].Store(fmt.Sprint("service ", k), true)
					} else if shoal.KindOf(err) != shoal.Exists {
						t.Errorf("%s: %v", name, err)
					}
				})
				wait.Go(func() {
					_, err := n.Create(ctx, CreateOptions{Name: name, Code: "counter", Replicas: 1})
					if err == nil {
						won[i].Store(fmt.Sprint("agent ", k), true)
					} else if shoal.KindOf(err) != shoal.Exists {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
		}
		wait.Wait()
		services := 0
		for i := range names {
			name, count, service := fmt.Sprint("name-", i), 0, false
			won[i].Range(func(who, _ any) bool {
				count++
				service = who.(string)[0] == 's'
				return true
			})
			if count != 1 {
				t.Errorf("%s has %d", name, count)
			}
			e, err := w.nodes[i%3].Defined(ctx, name)
			_, call := w.nodes[i%3].Call(ctx, name, shoal.CallRequest{Method: "add"})
			if service {
				services++
				if err != nil || string(e.Spec) != "spec" || shoal.KindOf(call) != shoal.Invalid {
					t.Errorf("%s: %+v, %v; called as an agent: %v", name, e, err, call)
				}
			} else if shoal.KindOf(err) != shoal.Invalid || call != nil {
				t.Errorf("%s: %v; called: %v", name, err, call)
			}
		}
		list, err := w.nodes[1].Definitions(ctx, "")
		if err != nil || len(list) != services {
			t.Errorf("%d services are listed, %v, and there are %d", len(list), err, services)
		}
		kept, first := 0, 0
		for _, n := range w.nodes {
			if err := n.KeptServices(func(_ shoal.PeerID, e directory.Entry, is bool) {
				if kept++; is {
					first++
				}
				if string(e.Spec) != "spec" {
					t.Errorf("%+v is kept", e)
				}
			}); err != nil {
				t.Error(err)
			}
		}
		if first != services || kept < first {
			t.Errorf("of %d services %d are kept, %d by a first keeper", services, kept, first)
		}
		for _, e := range list {
			if _, err := w.nodes[2].Undefine(ctx, e.Name); err != nil {
				t.Error(err)
			}
			if _, err := w.nodes[0].Defined(ctx, e.Name); shoal.KindOf(err) != shoal.NotFound {
				t.Errorf("%s is removed: %v", e.Name, err)
			}
		}
	})
}
