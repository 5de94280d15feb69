package plans

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

// partOf returns the name of the file that a mapper was given: "f7.txt" for partition 7.
func partOf(r shoal.Run) string {
	entries, err := fs.ReadDir(r.Data, "d")
	if err != nil || len(entries) != 1 {
		return fmt.Sprint(entries, err)
	}
	return entries[0].Name()
}

// talk is a mapper that prints three lines in pieces, the last one unended, and one to standard error.
func talk(ctx context.Context, r shoal.Run) (int, error) {
	name := partOf(r)
	for _, piece := range []string{"a ", name, "\nb ", name + "\n", "c " + name} {
		fmt.Fprint(r.Stdout, piece)
		select { // so that tasks are on their way at the same time
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return 1, ctx.Err()
		}
	}
	fmt.Fprintln(r.Stderr, "e "+name)
	return 0, nil
}

// wantTalk checks that n tasks were printed, each once and whole.
func wantTalk(t testing.TB, out, errs string, n int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	seen := map[string]int{}
	for chunk := range slices.Chunk(lines, 3) {
		_, name, _ := strings.Cut(chunk[0], " ")
		if seen[name]++; !slices.Equal(chunk, []string{"a " + name, "b " + name, "c " + name}) {
			t.Fatalf("lines of tasks mix: %q", chunk)
		}
	}
	for name, k := range seen {
		if k != 1 {
			t.Errorf("%s was printed %d times", name, k)
		}
	}
	if len(seen) != n || strings.Count(errs, "\n") != n || strings.Count(errs, "e f") != n {
		t.Errorf("%d of %d tasks were printed; errors:\n%.500s", len(seen), n, errs)
	}
}

// TestEachTaskIsPrintedOnce runs a job whose tasks print, on nodes of which one is killed after the first
// tenth has finished.
func TestEachTaskIsPrintedOnce(t *testing.T) {
	f := newFabric(t, 5, nil)
	root, _ := f.data(100, 0, 1, 2, 3, 4)
	mod := f.module("talk", talk, 0)
	f.nodes[0].seesDeath = true
	ctx := within(t, 60*time.Second)
	var out, errs bytes.Buffer
	h, err := f.nodes[0].p.Start(ctx, Job{Module: mod, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	killed := false
	for e := range h.Events() {
		if !killed && e.Done >= 10 {
			killed = true
			f.nodes[3].kill()
		}
	}
	if _, err := h.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	wantTalk(t, out.String(), errs.String(), 100)
	// Every node can read all of it from the job's log, with the names of the tasks.
	var log bytes.Buffer
	if err := f.nodes[2].s.Logs(ctx, h.ID(), false, &log, &log); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"task 42: a f42.txt\n", "task 42: c f42.txt\n", "task 0: e f0.txt\n"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("%q is %d times in the job's log", want, strings.Count(log.String(), want))
		}
	}
}

// TestCopiesArePrintedOnce slows one node, so that late tasks run twice.
func TestCopiesArePrintedOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFabricWith(t, 5, nil, Config{})
		f.nodes[3].slow = 20
		root, _ := f.data(60, 0, 1, 2, 3, 4)
		mod := f.module("talk", func(ctx context.Context, r shoal.Run) (int, error) {
			if code, err := talk(ctx, r); err != nil {
				return code, err
			}
			return aSecond(ctx, r)
		}, 0)
		var out, errs bytes.Buffer
		h, err := f.nodes[0].p.Start(t.Context(), Job{Module: mod, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Stdout: &out, Stderr: &errs})
		if err != nil {
			t.Fatal(err)
		}
		res, err := h.Wait(t.Context())
		if err != nil || res.Copies == 0 || res.CopiesWon == 0 {
			t.Fatalf("%+v %v", res.Counts, err)
		}
		wantTalk(t, out.String(), errs.String(), 60)
	})
}

// TestWhatAReducerLeavesToPrint: with a reducer standard output is its own, errors are everybody's.
func TestWhatAReducerLeavesToPrint(t *testing.T) {
	f := newFabric(t, 3, nil)
	root, _ := f.data(6, 0, 1, 2)
	mod := f.module("talk", func(ctx context.Context, r shoal.Run) (int, error) {
		if code, err := talk(ctx, r); err != nil {
			return code, err
		}
		return countWords(ctx, r)
	}, 0)
	var once sync.Once
	sum := f.module("sum", func(ctx context.Context, r shoal.Run) (int, error) {
		var err error
		once.Do(func() { // its first attempt is lost after it has printed
			fmt.Fprintln(r.Stdout, "half a result")
			err = shoal.E(shoal.Corrupt, "read /data", "a block is gone", "")
		})
		if err != nil {
			return 0, err
		}
		return sumWords(ctx, r)
	}, 0)
	ctx := within(t, 30*time.Second)
	var out, errs bytes.Buffer
	h, err := f.nodes[0].p.Start(ctx, Job{Module: mod, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Reduce: &sum, Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := h.Wait(ctx); err != nil || res.Retries != 1 {
		t.Fatalf("%+v %v", res.Counts, err)
	}
	if out.String() != "6 parts\n" || strings.Count(errs.String(), "e f") != 6 || strings.Contains(errs.String(), "a f") {
		t.Errorf("output %q, errors %q", out.String(), errs.String())
	}
	var log bytes.Buffer
	if err := f.nodes[1].s.Logs(ctx, h.ID(), false, &log, io.Discard); err != nil || !strings.Contains(log.String(), "task 5: b f5.txt\n") ||
		!strings.Contains(log.String(), "6 parts\n") || strings.Contains(log.String(), "half") {
		t.Errorf("%q %v", log.String(), err)
	}
}

// TestWhatATrapPrints: what a task printed before it broke the job is shown; before it was tried again, not.
func TestWhatATrapPrints(t *testing.T) {
	f := newFabric(t, 2, nil)
	root, _ := f.data(1, 0, 1)
	var mu sync.Mutex
	runs := 0
	mod := f.module("trap", func(_ context.Context, r shoal.Run) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		runs++
		fmt.Fprintln(r.Stderr, "run", runs)
		if runs == 1 {
			return 0, shoal.E(shoal.Unavailable, "run", "the machine goes away", "")
		}
		return 0, errors.New("unreachable")
	}, 0)
	ctx := within(t, 30*time.Second)
	var errs bytes.Buffer
	h, err := f.nodes[0].p.Start(ctx, Job{Module: mod, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Wait(ctx); shoal.KindOf(err) != shoal.Failed {
		t.Fatal(err)
	}
	if !strings.HasPrefix(errs.String(), "run 2\n") || strings.Contains(errs.String(), "run 1") {
		t.Errorf("%q", errs.String())
	}
}

// nolog is a job's log that nobody keeps.
type nolog struct{}

func (nolog) Update(func(*job.Record)) {}
func (nolog) Log(bool, []byte)         {}

// TestSpools keeps what many tasks print at once: all of it comes back, and little of it is in memory.
func TestSpools(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		var out, errs bytes.Buffer
		p := newPrinter(context.Background(), &out, &errs, nolog{}, dir)
		var wantOut, wantErr bytes.Buffer
		var spools []*spool
		for range rapid.IntRange(1, 4).Draw(t, "tasks") {
			s := p.spool()
			for range rapid.IntRange(0, 20).Draw(t, "writes") {
				n := rapid.SampledFrom([]int{0, 1, 100, 1000, 30 << 10, 70 << 10}).Draw(t, "bytes")
				b := bytes.Repeat([]byte{byte(rapid.IntRange('a', 'z').Draw(t, "letter"))}, n)
				w, want := s.writer(stdout), &wantOut
				if rapid.Bool().Draw(t, "stderr") {
					w, want = s.writer(stderr), &wantErr
				}
				w.Write(b)
				want.Write(b)
			}
			spools = append(spools, s)
		}
		if p.memory > len(spools)*spoolMemory {
			t.Fatalf("%d bytes in memory for %d tasks", p.memory, len(spools))
		}
		for _, s := range spools {
			p.print(printout{s: s, exact: true})
		}
		p.close()
		if !bytes.Equal(out.Bytes(), wantOut.Bytes()) || !bytes.Equal(errs.Bytes(), wantErr.Bytes()) {
			t.Fatalf("%d and %d bytes came back of %d and %d", out.Len(), errs.Len(), wantOut.Len(), wantErr.Len())
		}
		if p.memory != 0 || p.behind != 0 {
			t.Fatalf("%d bytes in memory and %d waiting after the end", p.memory, p.behind)
		}
	})
	if left, err := fs.Glob(os.DirFS(dir), "*"); err != nil || len(left) > 0 {
		t.Errorf("files stay: %v %v", left, err)
	}
}

// TestSpoolsShareTheirMemory: a thousand tasks that all print have a bound together, and one that prints
// without end is cut, with a word about it.
func TestSpoolsShareTheirMemory(t *testing.T) {
	var out, errs bytes.Buffer
	p := newPrinter(context.Background(), io.Discard, &errs, nolog{}, t.TempDir())
	defer p.close()
	var all []*spool
	for range 200 {
		s := p.spool()
		s.writer(stdout).Write(make([]byte, 60<<10))
		all = append(all, s)
	}
	if p.memory > spoolsInAll {
		t.Errorf("%d bytes in memory", p.memory)
	}
	for _, s := range all {
		s.drop()
	}
	if p.memory != 0 {
		t.Errorf("%d bytes in memory after all are dropped", p.memory)
	}
	endless := newPrinter(context.Background(), &out, &errs, nolog{}, t.TempDir())
	s := endless.spool()
	for range spoolFile>>20 + 2 {
		s.writer(stdout).Write(make([]byte, 1<<20))
	}
	endless.print(printout{s: s, prefix: "task 7: ", exact: true})
	endless.close()
	if out.Len() > spoolFile || out.Len() < spoolFile-2<<20 || !strings.Contains(errs.String(), "task 7: ") || !strings.Contains(errs.String(), "left out") {
		t.Errorf("%d bytes, %q", out.Len(), errs.String())
	}
}

// TestNoSpaceForWhatIsPrinted: a full or absent disk stops no task, and what is missing is told.
func TestNoSpaceForWhatIsPrinted(t *testing.T) {
	var out, errs bytes.Buffer
	p := newPrinter(context.Background(), &out, &errs, nolog{}, t.TempDir()+"/absent")
	s := p.spool()
	fmt.Fprintln(s.writer(stdout), "first")
	if n, err := s.writer(stdout).Write(make([]byte, 100<<10)); n != 100<<10 || err != nil {
		t.Fatal(n, err)
	}
	p.print(printout{s: s})
	p.close()
	if out.String() != "first\n" || !strings.Contains(errs.String(), "102400 bytes more were printed and left out") {
		t.Errorf("%q %q", out.String(), errs.String())
	}
}

// stuck is a caller that reads nothing until it hangs up.
type stuck struct{ gone chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.gone
	return len(p), nil
}

// TestACallerThatDoesNotRead holds up what is printed, not the tasks, nor the end of a job that is canceled.
func TestACallerThatDoesNotRead(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFabric(t, 3, nil)
		root, _ := f.data(30, 0, 1, 2)
		mod := f.module("talk", talk, 0)
		w := stuck{make(chan struct{})}
		defer close(w.gone)
		h, err := f.nodes[0].p.Start(t.Context(), Job{Module: mod, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Stdout: w, Stderr: w})
		if err != nil {
			t.Fatal(err)
		}
		done := 0
		for done < 30 {
			if e := <-h.Events(); e.State == "done" {
				done++
			}
		}
		time.Sleep(time.Minute)
		select {
		case <-h.Done():
			t.Fatal("it ended before its output was read")
		default:
		}
		h.Cancel()
		began := time.Now()
		if _, err := h.Wait(t.Context()); time.Since(began) > 2*printWait {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
