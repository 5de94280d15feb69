package scheduler

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

func TestATaskOnItsOwnNodeCrossesNoSocket(t *testing.T) {
	f := newFabric(t, 3, nil)
	a := f.nodes[0]
	mod, in := f.module("hello", hello, 0), f.data("text", 0)
	var out, errs bytes.Buffer
	res, explain, err := a.s.Run(within(t, 10*time.Second), shoal.Task{
		Module: mod, Args: []string{"x", "y"}, Inputs: []shoal.Input{{Name: "d", CID: in}},
	}, RunOptions{Stdout: &out, Stderr: &errs})
	if err != nil || out.String() != "hello x y\n" || errs.String() != "on stderr\n" {
		t.Fatalf("%q %q %v", out.String(), errs.String(), err)
	}
	if res.Peer != a.id || !res.Holder || res.CodeMoved != 0 || res.DataMoved != 0 {
		t.Errorf("%+v", res)
	}
	if n := f.net.Asked("task.run"); n != 0 {
		t.Errorf("%d streams were opened", n)
	}
	if c, ok := explain.Chosen(); !ok || c.Peer != a.id || !c.Holder {
		t.Errorf("%s", explain)
	}
	left, err := os.ReadDir(filepath.Join(a.dir, "scratch"))
	if err != nil || len(left) != 0 {
		t.Errorf("folders stay: %v %v", left, err)
	}
}

func TestATaskRunsWhereItsDataLies(t *testing.T) {
	f := newFabric(t, 4, nil)
	mod := f.module("cat", func(_ context.Context, r shoal.Run) (int, error) {
		b, err := fs.ReadFile(r.Data, "d/sub/file.txt")
		if err != nil {
			return 1, err
		}
		_, _ = r.Stdout.Write(b)
		return 7, os.WriteFile(filepath.Join(r.Out, "copy"), b, 0o600)
	}, 0)
	in := f.data(strings.Repeat("words ", 1e6), 2)
	var out bytes.Buffer
	ctx := within(t, 10*time.Second)
	res, explain, err := f.nodes[0].s.Run(ctx, shoal.Task{Module: mod, Inputs: []shoal.Input{{Name: "d", CID: in}}}, RunOptions{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if res.Peer != f.nodes[2].id || !res.Holder || res.DataMoved != 0 || res.CodeMoved == 0 || res.Exit != 7 || res.DataRead != 6e6 || out.Len() != 6e6 {
		t.Errorf("%+v\n%s", res, explain)
	}
	if f.nodes[2].moved["code"] != res.CodeMoved || f.nodes[2].moved["data"] != 0 {
		t.Errorf("moved %v", f.nodes[2].moved)
	}
	files, _ := f.files(mustCID(t, res.Output))
	if len(files["copy"].Data) != 6e6 || res.OutBytes != 6e6 {
		t.Errorf("output %v", files)
	}
	again, _, err := f.nodes[1].s.Run(ctx, shoal.Task{Module: mod, Inputs: []shoal.Input{{Name: "d", CID: in}}}, RunOptions{})
	if err != nil || again.CodeMoved != 0 || again.Compile != 0 {
		t.Errorf("the second run: %+v %v", again, err)
	}
	// Shipped elsewhere on demand, and said so.
	there, _, err := f.nodes[0].s.Run(ctx, shoal.Task{Module: mod, Inputs: []shoal.Input{{Name: "d", CID: in}}}, RunOptions{On: f.nodes[3].id})
	if err != nil || there.Peer != f.nodes[3].id || there.Holder || there.DataMoved != 6e6 {
		t.Errorf("on another node: %+v %v", there, err)
	}
}

func TestAThousandTasksAtOnce(t *testing.T) {
	f := newFabric(t, 3, func(_ int, c *Config) { c.Queue, c.OwnerQueue = 200, 200 })
	var mu sync.Mutex
	ran := map[string]int{}
	mod := f.module("count", func(_ context.Context, r shoal.Run) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		ran[r.Args[0]]++
		return 0, nil
	}, 0)
	ctx := within(t, 60*time.Second)
	job1 := f.nodes[0].s.NewID()
	by := map[shoal.PeerID]int{}
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			res, _, err := f.nodes[0].s.Run(ctx, shoal.Task{ID: job.Sub(job1, i), Job: job1, Module: mod, Args: []string{fmt.Sprint(i)}}, RunOptions{})
			if err != nil {
				t.Errorf("task %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			by[res.Peer]++
		})
	}
	wg.Wait()
	if len(ran) != 1000 {
		t.Fatalf("%d tasks ran", len(ran))
	}
	for i, n := range ran {
		if n != 1 {
			t.Errorf("task %s ran %d times", i, n)
		}
	}
	if len(by) != 3 {
		t.Errorf("ran on %v", by)
	}
	if asked := f.net.Asked("task.offer"); asked > 400 { // the queues are full: whoever is refused looks for another at once
		t.Errorf("%d offers were asked for", asked)
	}
	t.Logf("by node %v, offers asked %d", by, f.net.Asked("task.offer"))
	list, err := f.nodes[1].s.List(ctx, job1)
	if err != nil || len(list.Tasks) != 1000 || len(list.Silent) != 0 {
		t.Errorf("%d tasks listed, silent %v, %v", len(list.Tasks), list.Silent, err)
	}
}

// blocker is a guest that says that it runs and waits.
type blocker struct {
	started chan string
	release chan struct{}
}

func newBlocker() *blocker { return &blocker{make(chan string, 100), make(chan struct{})} }

func (b *blocker) guest(ctx context.Context, r shoal.Run) (int, error) {
	b.started <- strings.Join(r.Args, " ")
	select {
	case <-b.release:
		return 0, nil
	case <-ctx.Done():
		return 1, ctx.Err()
	}
}

func TestAPeerThatDiesIsReplaced(t *testing.T) {
	f := newFabric(t, 3, nil)
	b := newBlocker()
	mod, in := f.module("block", b.guest, 0), f.data(strings.Repeat("text", 1e6), 1, 2)
	done := make(chan shoal.Outcome, 1)
	id := f.nodes[0].s.NewID()
	go func() {
		res, _, err := f.nodes[0].s.Run(within(t, 20*time.Second), shoal.Task{ID: id, Module: mod, Inputs: []shoal.Input{{Name: "d", CID: in}}}, RunOptions{Stdout: io.Discard})
		if err != nil {
			t.Error(err)
		}
		done <- res
	}()
	<-b.started
	var rec job.Record
	eventually(t, "its home hears that it runs", func() (ok bool) {
		rec, _ = f.nodes[0].s.Show(within(t, time.Second), id)
		return rec.State == shoal.TaskRunning
	})
	victim := f.nodes[1]
	if rec.Peer == f.nodes[2].id {
		victim = f.nodes[2]
	}
	victim.kill()
	<-b.started // elsewhere
	close(b.release)
	if res := <-done; res.Peer == victim.id || !res.Holder {
		t.Errorf("%+v", res)
	}
	if rec, err := f.nodes[0].s.Show(within(t, time.Second), id); err != nil || rec.State != shoal.TaskDone || rec.Attempts != 2 {
		t.Errorf("%+v %v", rec, err)
	}
}

func TestWhatWasShownIsNotRepeated(t *testing.T) {
	f := newFabric(t, 2, nil)
	b := newBlocker()
	mod := f.module("talk", func(ctx context.Context, r shoal.Run) (int, error) {
		fmt.Fprintln(r.Stdout, "already shown")
		return b.guest(ctx, r)
	}, 0)
	done := make(chan error, 1)
	var out lockedBuffer
	go func() {
		_, _, err := f.nodes[0].s.Run(within(t, 20*time.Second), shoal.Task{Module: mod}, RunOptions{Stdout: &out, On: f.nodes[1].id})
		done <- err
	}()
	<-b.started
	eventually(t, "output arrives while the task runs", func() bool { return out.String() == "already shown\n" })
	f.nodes[1].kill()
	if err := <-done; shoal.KindOf(err) != shoal.Unavailable || out.String() != "already shown\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}

func TestErrorsThatEndATask(t *testing.T) {
	f := newFabric(t, 2, nil)
	runs := 0
	trap := f.module("trap", func(context.Context, shoal.Run) (int, error) { runs++; return 0, fmt.Errorf("unreachable") }, 0)
	reactor := f.module("reactor", nil, 0)
	slow := f.module("slow", func(ctx context.Context, _ shoal.Run) (int, error) { <-ctx.Done(); return 1, ctx.Err() }, 0)
	ctx := within(t, 20*time.Second)
	for _, on := range f.nodes {
		for _, c := range []struct {
			name string
			task shoal.Task
			kind shoal.Kind
			says string
		}{
			{"trap", shoal.Task{Module: trap}, shoal.Failed, "trap"},
			{"reactor", shoal.Task{Module: reactor}, shoal.Invalid, "_start"},
			{"time limit", shoal.Task{Module: slow, Limits: shoal.Limits{Time: 20 * time.Millisecond}}, shoal.Failed, "time limit"},
			{"no module", shoal.Task{Module: shoal.BlockCID([]byte("absent"))}, shoal.NotFound, "nobody has it"},
			{"no input", shoal.Task{Module: trap, Inputs: []shoal.Input{{Name: "d", CID: shoal.BlockCID([]byte("absent"))}}}, shoal.NotFound, "nobody has it"},
			{"bad needs", shoal.Task{Module: trap, Needs: "cpus >="}, shoal.Invalid, ""},
			{"nobody fits", shoal.Task{Module: trap, Needs: "cpus >= 64"}, shoal.Refused, "cpus"},
			{"two inputs of one name", shoal.Task{Module: trap, Inputs: []shoal.Input{{Name: "d", CID: trap}, {Name: "d", CID: trap}}}, shoal.Invalid, "two inputs"},
			{"a name that leads out", shoal.Task{Module: trap, Inputs: []shoal.Input{{Name: "..", CID: trap}}}, shoal.Invalid, "name of an input"},
			{"no module at all", shoal.Task{}, shoal.Invalid, "no module"},
		} {
			_, _, err := f.nodes[0].s.Run(ctx, c.task, RunOptions{On: on.id})
			if shoal.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s on %s: %v (%v)", c.name, on.id.Short(), err, shoal.KindOf(err))
			}
		}
	}
	if runs != 2 {
		t.Errorf("a trap was run %d times", runs)
	}
	// A broken runner answers; the node goes on.
	if _, _, err := f.nodes[0].s.Run(ctx, shoal.Task{Module: f.module("hello", hello, 0)}, RunOptions{On: f.nodes[1].id}); err != nil {
		t.Error(err)
	}
}

func TestInputAndOutputAreLive(t *testing.T) {
	f := newFabric(t, 2, nil)
	mod := f.module("echo", echo, 0)
	for _, on := range f.nodes {
		in, typed := io.Pipe()
		var out lockedBuffer
		done := make(chan error, 1)
		go func() {
			_, _, err := f.nodes[0].s.Run(within(t, 20*time.Second), shoal.Task{Module: mod}, RunOptions{Stdin: in, Stdout: &out, On: on.id})
			done <- err
		}()
		_, _ = typed.Write([]byte("first\n"))
		eventually(t, "the echo of the first line", func() bool { return out.String() == "first\n" })
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB, four windows
		_, _ = typed.Write(big)
		typed.Close()
		if err := <-done; err != nil || out.String() != "first\n"+string(big) {
			t.Errorf("on %s: %d bytes back, %v", on.id.Short(), len(out.String()), err)
		}
	}
}

// TestUnreadInputDoesNotBlock gives more input than the window to a task that reads none of it.
func TestUnreadInputDoesNotBlock(t *testing.T) {
	f := newFabric(t, 2, nil)
	mod := f.module("hello", hello, 0)
	_, _, err := f.nodes[0].s.Run(within(t, 10*time.Second), shoal.Task{Module: mod}, RunOptions{
		Stdin: strings.NewReader(strings.Repeat("x", 2<<20)), On: f.nodes[1].id,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCancelFromAnywhere(t *testing.T) {
	f := newFabric(t, 3, nil)
	b := newBlocker()
	mod := f.module("block", b.guest, 0)
	for _, on := range f.nodes[:2] {
		id := f.nodes[0].s.NewID()
		done := make(chan error, 1)
		go func() {
			_, _, err := f.nodes[0].s.Run(within(t, 20*time.Second), shoal.Task{ID: id, Module: mod}, RunOptions{On: on.id})
			done <- err
		}()
		<-b.started
		if err := f.nodes[2].s.Cancel(within(t, 5*time.Second), id); err != nil {
			t.Fatal(err)
		}
		if err := <-done; shoal.KindOf(err) != shoal.Canceled {
			t.Errorf("on %s: %v", on.id.Short(), err)
		}
		r, err := f.nodes[2].s.Wait(within(t, 5*time.Second), id)
		if err != nil || r.State != shoal.TaskCanceled {
			t.Errorf("on %s: %+v %v", on.id.Short(), r, err)
		}
		eventually(t, "the guest ends", func() bool { return on.s.Load().Running == 0 })
	}
}

// TestARunnerLetsGo cuts the link from the task's home to its runner: the runner cancels.
func TestARunnerLetsGo(t *testing.T) {
	f := newFabric(t, 2, nil)
	b := newBlocker()
	mod := f.module("block", b.guest, 0)
	done := make(chan error, 1)
	go func() {
		_, _, err := f.nodes[0].s.Run(within(t, 20*time.Second), shoal.Task{Module: mod}, RunOptions{On: f.nodes[1].id, Attempts: 1})
		done <- err
	}()
	<-b.started
	f.net.Cut(f.nodes[0].id, f.nodes[1].id)
	if err := <-done; shoal.KindOf(err) != shoal.Unavailable {
		t.Error(err)
	}
	eventually(t, "the guest ends", func() bool { return f.nodes[1].s.Load().Running == 0 })
}

func TestExplainTellsRefusals(t *testing.T) {
	f := newFabric(t, 5, nil)
	f.nodes[1].labels = map[string]string{"zone": "a"}
	f.nodes[0].states[f.nodes[2].id] = shoal.Suspect
	f.nodes[3].labels = map[string]string{"zone": "a"}
	f.nodes[3].s.exec.drain()
	mod := f.module("hello", hello, 0)
	res, explain, err := f.nodes[0].s.Run(within(t, 10*time.Second), shoal.Task{Module: mod, Needs: `labels.zone == "a"`}, RunOptions{Exclude: []shoal.PeerID{f.nodes[4].id}})
	if err != nil || res.Peer != f.nodes[1].id {
		t.Fatalf("%+v %v\n%s", res, err, explain)
	}
	got := map[shoal.PeerID]string{}
	for _, r := range explain.Refused() {
		got[r.Peer] = fmt.Sprint(r.Refusal, " ", r.Retry)
	}
	for i, want := range map[int]string{0: "zone", 2: "suspect", 3: "about to stop", 4: "excluded"} {
		if !strings.Contains(got[f.nodes[i].id], want) {
			t.Errorf("node %d: %q lacks %q", i, got[f.nodes[i].id], want)
		}
	}
	if !strings.HasSuffix(got[f.nodes[2].id], "true") || !strings.HasSuffix(got[f.nodes[0].id], "false") {
		t.Errorf("%v", got)
	}
	t.Log("\n" + explain.String())
}

func mustCID(t testing.TB, s string) cidOf {
	t.Helper()
	c, err := shoal.ParseCID(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
