package plans

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestADetachedJobOutlivesItsCoordinator stops the coordinator mid job and starts it again.
func TestADetachedJobOutlivesItsCoordinator(t *testing.T) {
	f := newFabricWith(t, 3, nil, Config{Copies: -1})
	root, words := f.data(40, 0, 1, 2)
	var mu sync.Mutex
	runs, gate := 0, make(chan struct{})
	wc := f.module("wc", func(ctx context.Context, r shoal.Run) (int, error) {
		mu.Lock()
		runs++
		wait := runs > 20
		mu.Unlock()
		if wait {
			select {
			case <-gate:
			case <-ctx.Done():
				return 1, ctx.Err()
			}
		}
		return countWords(ctx, r)
	}, 0, 1, 2)
	sum := f.module("sum", sumWords, 0)
	ctx := within(t, 30*time.Second)
	call, hangUp := context.WithCancel(ctx)
	a := f.nodes[0]
	h, err := a.p.Start(call, Job{Module: wc, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Reduce: &sum, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	hangUp()
	eventually(t, "half of the tasks", func() bool { return h.Progress().Done >= 15 })
	a.p.Close()
	if err := a.s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Wait(ctx); shoal.KindOf(err) != shoal.Unavailable {
		t.Errorf("interrupted: %v", err)
	}
	mu.Lock()
	before := runs
	mu.Unlock()
	close(gate)
	a.start()
	again, ok := a.p.Get(h.ID())
	if !ok {
		t.Fatal("the job is not taken up")
	}
	res, err := again.Wait(ctx)
	if err != nil || f.output(t, res) != render(words) || res.Done != 40 {
		t.Fatal(res, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if after := runs - before; after > 25 {
		t.Errorf("%d of 40 tasks ran after the restart; 15 had finished", after)
	}
	if r, err := f.nodes[1].s.Wait(ctx, h.ID()); err != nil || r.State != shoal.TaskDone {
		t.Errorf("%+v %v", r, err)
	}
	for k := range a.plansKV.Scan(jobKey) {
		t.Errorf("%s stays on disk", k)
	}
	for k := range a.plansKV.Scan(doneKey) {
		t.Errorf("%s stays on disk", k)
	}
}
