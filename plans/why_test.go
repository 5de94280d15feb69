package plans

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

// TestEveryTaskIsExplained: the chosen peer, the other holder, the caller, and who was refused.
func TestEveryTaskIsExplained(t *testing.T) {
	f := newFabric(t, 4, nil)
	root, _ := f.data(40, 1, 2, 3) // the caller holds nothing
	f.nodes[3].labels = map[string]string{"zone": "b"}
	for _, p := range f.nodes[:3] {
		p.labels = map[string]string{"zone": "a"}
	}
	wc := f.module("wc", countWords, 0)
	ctx := within(t, 30*time.Second)
	h, err := f.nodes[0].p.Start(ctx, Job{
		Module: wc, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Needs: "labels.zone == 'a'",
	})
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Explain) != 40 {
		t.Fatalf("%d of 40 tasks are explained", len(res.Explain))
	}
	full := false
	for i, e := range res.Explain {
		rows := map[shoal.PeerID]cost.Choice{}
		for _, c := range e.Choices {
			rows[c.Peer] = c
		}
		chosen, ok := e.Chosen()
		if !ok || e.Task != job.Sub(h.ID(), i) || !chosen.Holder {
			t.Fatalf("task %d: %s", i, e)
		}
		if c := rows[f.nodes[0].id]; !strings.Contains(c.Passed, "holds none") || c.Total <= 0 {
			t.Errorf("task %d: the caller: %+v", i, c)
		}
		for k, holds := range []bool{i%3 != 1, i%3 != 2} { // nodes 1 and 2
			c, told := rows[f.nodes[k+1].id]
			full = full || strings.Contains(c.Passed, "window is full")
			if !told || holds != c.Holder && c.Passed == "" || c.Refusal != "" {
				t.Errorf("task %d: node %d: %+v", i, k+1, c)
			}
		}
		if c := rows[f.nodes[3].id]; !strings.Contains(c.Refusal, "zone") || c.Retry {
			t.Errorf("task %d: node 3 does not fit: %+v", i, c)
		}
	}
	if !full {
		t.Error("40 tasks on two nodes, and no window was ever full")
	}
	// Every node can ask for it.
	r, err := f.nodes[2].s.Show(ctx, job.Sub(h.ID(), 7))
	if err != nil || r.Explain == nil || len(r.Explain.Choices) < 3 || len(r.Explain.Refused()) != 1 || r.Explain.Choices[0].Peer != r.Peer {
		t.Errorf("%+v %v", r.Explain, err)
	}
	list, err := f.nodes[2].s.List(ctx, h.ID())
	if err != nil || len(list.Tasks) != 40 || list.Tasks[0].Explain != nil {
		t.Errorf("%d tasks, %v", len(list.Tasks), err)
	}
}

// TestARefusedJobIsExplained names the reason of every peer.
func TestARefusedJobIsExplained(t *testing.T) {
	f := newFabric(t, 5, nil)
	root, _ := f.data(4, 0, 1)
	wc := f.module("wc", countWords, 0)
	ctx := within(t, 30*time.Second)
	h, err := f.nodes[0].p.Start(ctx, Job{Module: wc, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Needs: "cpus >= 64"})
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.Wait(ctx)
	if shoal.KindOf(err) != shoal.Refused || len(res.Explain) != 1 || len(res.Explain[0].Refused()) != 5 {
		t.Fatalf("%v: %+v", err, res.Explain)
	}
	for _, c := range res.Explain[0].Choices {
		if !strings.Contains(c.Refusal, "cpus") || c.Retry || c.Chosen {
			t.Errorf("%+v", c)
		}
	}
}

// TestExplanationsAreBounded: of a large job the first tasks are explained.
func TestExplanationsAreBounded(t *testing.T) {
	f := newFabric(t, 3, nil)
	root, _ := f.data(MaxExplained+50, 0, 1, 2)
	mod := f.module("nothing", func(context.Context, shoal.Run) (int, error) { return 0, nil }, 0)
	ctx := within(t, 60*time.Second)
	var out bytes.Buffer
	h, err := f.nodes[0].p.Start(ctx, Job{Module: mod, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.Wait(ctx)
	if err != nil || len(res.Explain) != MaxExplained || out.Len() > 0 {
		t.Fatalf("%d explained, %q printed, %v", len(res.Explain), out.String(), err)
	}
	for _, e := range res.Explain {
		if len(e.Choices) > 2*job.Explained {
			t.Fatalf("%d rows: %s", len(e.Choices), e)
		}
	}
	if kept, err := f.nodes[0].p.Result(h.ID()); err != nil || len(kept.Explain) > 0 {
		t.Errorf("%d explanations on disk, %v", len(kept.Explain), err)
	}
}
