package plans

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

func (f *fabric) output(t testing.TB, res Result) string {
	t.Helper()
	c, err := shoal.ParseCID(res.Output)
	if err != nil {
		t.Fatal(err)
	}
	files, _ := f.files(c)
	if files["counts"] == nil {
		t.Fatalf("no counts in %v", files)
	}
	return string(files["counts"].Data)
}

func TestMapReduceWhereTheDataLies(t *testing.T) {
	bubble.Test(t, mapReduceWhereTheDataLies) // in virtual time, so that all nodes are equally fast
}

func mapReduceWhereTheDataLies(t *testing.T) {
	f := newFabric(t, 5, nil)
	root, words := f.data(60, 0, 1, 2, 3, 4)
	wc, sum := f.module("wc", aSecond, 0), f.module("sum", sumWords, 0)
	var out bytes.Buffer
	ctx := within(t, 30*time.Second)
	h, err := f.nodes[0].p.Start(ctx, Job{Module: wc, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Reduce: &sum, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	done := map[int]int{}
	for e := range h.Events() {
		if e.State == "done" {
			done[e.Index]++
		}
	}
	res, err := h.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.output(t, res); got != render(words) {
		t.Errorf("got\n%s\nwant\n%s", got, render(words))
	}
	if res.Tasks != 60 || res.Done != 60 || res.OnHolders != 60 || res.DataMoved != 0 || res.CodeMoved == 0 || res.ResultMoved == 0 ||
		res.DataRead == 0 || res.Retries != 0 || len(res.ByNode) != 5 {
		t.Errorf("%+v", res.Counts)
	}
	for id, n := range res.ByNode {
		if n < 6 || n > 20 {
			t.Errorf("%s ran %d of 60 tasks", id, n)
		}
	}
	if len(done) != 61 || out.String() != "60 parts\n" {
		t.Errorf("%d tasks told, output %q", len(done), out.String())
	}
	if c, ok := res.Explain[0].Chosen(); !ok || !c.Holder || len(res.Explain) != 60 {
		t.Errorf("%s", res.Explain)
	}
	// The job's record and log, from another node.
	r, err := f.nodes[3].s.Wait(ctx, h.ID())
	if err != nil || r.Kind != job.KindJob || r.State != shoal.TaskDone || r.Counts.Done != 60 || r.Outcome.Output != res.Output {
		t.Errorf("%+v %v", r, err)
	}
	var log bytes.Buffer
	if err := f.nodes[3].s.Logs(ctx, h.ID(), false, &log, &log); err != nil || log.String() != "60 parts\n" {
		t.Errorf("%q %v", log.String(), err)
	}
	if kept, err := f.nodes[0].p.Result(h.ID()); err != nil || kept.Output != res.Output {
		t.Errorf("%+v %v", kept, err)
	}
	list, err := f.nodes[3].s.List(ctx, "")
	if err != nil || len(list.Tasks) != 1 || list.Tasks[0].ID != h.ID() {
		t.Errorf("%+v %v", list, err)
	}
}

func TestDataShippedToOneNode(t *testing.T) {
	f := newFabric(t, 3, nil)
	root, words := f.data(20, 0, 1)
	wc, sum := f.module("wc", countWords, 0), f.module("sum", sumWords, 0)
	ctx := within(t, 30*time.Second)
	h, err := f.nodes[0].p.Start(ctx, Job{Module: wc, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Reduce: &sum, On: f.nodes[2].id})
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.Wait(ctx)
	if err != nil || f.output(t, res) != render(words) {
		t.Fatal(res, err)
	}
	if res.OnHolders != 0 || res.DataMoved == 0 || res.ByNode[string(f.nodes[2].id)] != 20 {
		t.Errorf("%+v", res.Counts)
	}
}

// TestANodeDiesMidJob kills the node with most tasks pending after the first tenth has finished.
func TestANodeDiesMidJob(t *testing.T) {
	for _, sees := range []bool{true, false} {
		f := newFabricWith(t, 5, nil, Config{Copies: -1})
		root, words := f.data(100, 0, 1, 2, 3, 4)
		var mu sync.Mutex
		wc := f.module("wc", func(ctx context.Context, r shoal.Run) (int, error) {
			select { // so that the job is still on its way when the node dies
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return 1, ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			return countWords(ctx, r)
		}, 0)
		sum := f.module("sum", sumWords, 0)
		f.nodes[0].seesDeath = sees
		ctx := within(t, 30*time.Second)
		h, err := f.nodes[0].p.Start(ctx, Job{Module: wc, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Reduce: &sum})
		if err != nil {
			t.Fatal(err)
		}
		var victim *peer
		for e := range h.Events() {
			if victim == nil && e.Done >= 10 {
				most := -1
				for _, n := range h.Progress().Nodes {
					if n.Node != f.nodes[0].id && n.Pending > most {
						most = n.Pending
						victim = f.nodes[slices.IndexFunc(f.nodes, func(p *peer) bool { return p.id == n.Node })]
					}
				}
				if most < 1 {
					t.Errorf("nothing pending anywhere: %+v", h.Progress())
				}
				victim.kill()
			}
		}
		res, err := h.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.output(t, res); got != render(words) {
			t.Errorf("got\n%s\nwant\n%s", got, render(words))
		}
		if res.Done != 100 || res.OnHolders != 100 {
			t.Errorf("%+v", res.Counts)
		}
		t.Logf("table sees it %v: by node %v, %d retries", sees, res.ByNode, res.Retries)
	}
}

// TestALostOutputIsMadeAgain has outputs vanish before the reducer reads them.
func TestALostOutputIsMadeAgain(t *testing.T) {
	f := newFabric(t, 3, nil)
	root, words := f.data(12, 0, 1, 2)
	wc := f.module("wc", countWords, 0)
	var once sync.Once
	sum := f.module("sum", func(ctx context.Context, r shoal.Run) (int, error) {
		var err error
		once.Do(func() {
			f.forgetOutputs(3)
			err = shoal.E(shoal.Corrupt, "read /data", "a block is gone", "")
		})
		if err != nil {
			return 0, err
		}
		return sumWords(ctx, r)
	}, 0)
	ctx := within(t, 30*time.Second)
	h, err := f.nodes[0].p.Start(ctx, Job{Module: wc, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Reduce: &sum})
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.Wait(ctx)
	if err != nil || f.output(t, res) != render(words) {
		t.Fatal(res, err)
	}
	if res.Retries < 4 { // three tasks and the reducer
		t.Errorf("%+v", res.Counts)
	}
}

// forgetOutputs drops some map outputs from all nodes.
func (f *fabric) forgetOutputs(n int) {
	f.mu.Lock()
	var outs []cid.Cid
	for c, files := range f.sets {
		if files["counts"] != nil {
			outs = append(outs, c)
		}
	}
	f.mu.Unlock()
	slices.SortFunc(outs, func(a, b cid.Cid) int { return strings.Compare(a.String(), b.String()) })
	for _, c := range outs[:n] {
		for _, p := range f.nodes {
			p.mu.Lock()
			delete(p.held, c)
			p.mu.Unlock()
		}
	}
}

func TestWithoutAReducer(t *testing.T) {
	f := newFabric(t, 3, nil)
	root, _ := f.data(6, 0, 1, 2)
	mod := f.module("some", func(ctx context.Context, r shoal.Run) (int, error) {
		if _, err := fs.Stat(r.Data, "d/f3.txt"); err == nil {
			return 3, nil // leaves nothing
		}
		return countWords(ctx, r)
	}, 0)
	ctx := within(t, 30*time.Second)
	h, err := f.nodes[1].p.Start(ctx, Job{Module: mod, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true})
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.Wait(ctx)
	if err != nil || len(res.Outputs) != 6 || res.Outputs[3] != "" || res.Outputs[2] == "" || res.Exit != 3 {
		t.Fatalf("%+v %v", res, err)
	}
	c, err := shoal.ParseCID(res.Output)
	if err != nil {
		t.Fatal(err)
	}
	if files, _ := f.files(c); len(files) != 5 || files["00004/counts"] == nil {
		t.Errorf("%v", files)
	}
}

func TestJobsThatFail(t *testing.T) {
	f := newFabric(t, 2, nil)
	root, _ := f.data(4, 0, 1)
	trap := f.module("trap", func(context.Context, shoal.Run) (int, error) { return 0, errors.New("unreachable") }, 0)
	exit := f.module("exit", func(context.Context, shoal.Run) (int, error) { return 3, nil }, 0)
	wc, sum := f.module("wc", countWords, 0), f.module("sum", sumWords, 0)
	in := []shoal.Input{{Name: "d", CID: root}}
	ctx := within(t, 30*time.Second)
	for _, c := range []struct {
		name string
		job  Job
		kind shoal.Kind
		says string
	}{
		{"a trap", Job{Module: trap, Data: in, Each: true}, shoal.Failed, "trap"},
		{"an exit code before the reducer", Job{Module: exit, Data: in, Each: true, Reduce: &sum}, shoal.Failed, "exit code 3"},
		{"a reducer that traps", Job{Module: wc, Data: in, Each: true, Reduce: &trap}, shoal.Failed, "trap"},
		{"nobody fits", Job{Module: wc, Data: in, Each: true, Needs: "cpus >= 64"}, shoal.Refused, "cpus"},
		{"bad needs", Job{Module: wc, Data: in, Each: true, Needs: "cpus >="}, shoal.Invalid, ""},
		{"unknown data", Job{Module: wc, Data: []shoal.Input{{Name: "d", CID: shoal.BlockCID([]byte("absent"))}}, Each: true}, shoal.NotFound, "nobody has it"},
		{"no data", Job{Module: wc, Each: true}, shoal.Invalid, "no dataset"},
		{"a reducer alone", Job{Module: wc, Reduce: &sum}, shoal.Invalid, "reducer"},
		{"no module", Job{}, shoal.Invalid, "no module"},
		{"one task, a trap", Job{Module: trap, Data: []shoal.Input{{Name: "d", CID: f.split[root][0]}}}, shoal.Failed, "trap"},
	} {
		h, err := f.nodes[0].p.Start(ctx, c.job)
		if err == nil {
			_, err = h.Wait(ctx)
		}
		if shoal.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (%v)", c.name, err, shoal.KindOf(err))
		}
	}
	for k := range f.nodes[0].plansKV.Scan(jobKey) {
		t.Errorf("%s stays on disk", k)
	}
}

func TestOneTask(t *testing.T) {
	f := newFabric(t, 3, nil)
	text := "a few words, and much between\n"
	words := map[string]int{}
	for _, w := range strings.Fields(text) {
		words[w]++
	}
	wc, part := f.module("wc", countWords, 0), shoal.BlockCID([]byte("large"))
	f.set(part, fstest.MapFS{"f.txt": {Data: []byte(text + strings.Repeat(" ", 4<<20))}}, 2) // more than the code
	ctx := within(t, 30*time.Second)
	h, err := f.nodes[0].p.Start(ctx, Job{Module: wc, Data: []shoal.Input{{Name: "d", CID: part}}, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.nodes[1].s.Wait(ctx, h.ID())
	if err != nil || r.State != shoal.TaskDone || r.Counts.Done != 1 || r.Counts.OnHolders != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	res, err := h.Wait(ctx)
	if err != nil || res.Peer != f.nodes[2].id || f.output(t, res) != render(words) {
		t.Fatal(res, err)
	}
}

func TestCancel(t *testing.T) {
	f := newFabric(t, 3, nil)
	root, _ := f.data(30, 0, 1, 2)
	started := make(chan struct{}, 100)
	mod := f.module("block", func(ctx context.Context, _ shoal.Run) (int, error) {
		started <- struct{}{}
		<-ctx.Done()
		return 1, ctx.Err()
	}, 0)
	ctx := within(t, 30*time.Second)
	in := []shoal.Input{{Name: "d", CID: root}}
	for _, how := range []string{"handle", "another node", "the caller's context"} {
		call, hangUp := context.WithCancel(ctx)
		h, err := f.nodes[0].p.Start(call, Job{Module: mod, Data: in, Each: true})
		if err != nil {
			t.Fatal(err)
		}
		<-started
		switch how {
		case "handle":
			h.Cancel()
		case "another node":
			if err := f.nodes[2].s.Cancel(ctx, h.ID()); err != nil {
				t.Fatal(err)
			}
		default:
			hangUp()
		}
		if _, err := h.Wait(ctx); shoal.KindOf(err) != shoal.Canceled {
			t.Errorf("by %s: %v", how, err)
		}
		if r, err := f.nodes[1].s.Show(ctx, h.ID()); err != nil || r.State != shoal.TaskCanceled {
			t.Errorf("by %s: %+v %v", how, r, err)
		}
		hangUp()
		for _, p := range f.nodes {
			eventually(t, "all guests end", func() bool { l := p.s.Load(); return l.Running+l.Queued == 0 })
		}
	}
}

func TestAThousandTasks(t *testing.T) {
	// without second copies, which a busy machine that runs the tests could call for
	f := newFabricWith(t, 3, nil, Config{Copies: -1})
	root, _ := f.data(1000, 0, 1, 2)
	var mu sync.Mutex
	ran := map[string]int{}
	mod := f.module("once", func(_ context.Context, r shoal.Run) (int, error) {
		entries, err := fs.ReadDir(r.Data, "d")
		mu.Lock()
		defer mu.Unlock()
		ran[entries[0].Name()]++
		return 0, err
	}, 0)
	ctx := within(t, 60*time.Second)
	began := time.Now()
	h, err := f.nodes[0].p.Start(ctx, Job{Module: mod, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true})
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.Wait(ctx)
	if err != nil || res.Done != 1000 || res.OnHolders != 1000 || res.Retries != 0 {
		t.Fatalf("%+v %v", res.Counts, err)
	}
	for name, n := range ran {
		if n != 1 {
			t.Errorf("%s ran %d times", name, n)
		}
	}
	t.Logf("1,000 tasks on doubles: %v, %v", time.Since(began).Round(time.Millisecond), res.ByNode)
}

func FuzzLoadJobs(f *testing.F) {
	f.Add([]byte("x"), []byte("y"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		kv := newKV()
		for k, v := range map[string][]byte{jobKey + "t1": a, doneKey + "t1/0": b} {
			if err := kv.Set(k, v); err != nil {
				t.Fatal(err)
			}
		}
		jobs, _, bad := loadJobs(kv)
		if len(jobs)+len(bad) < 1 {
			t.Fatal("a saved job vanished without a word")
		}
	})
}
