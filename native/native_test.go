//go:build unix

package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// TestMain is also the ward of the tests, and programs that they run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Verb:
			os.Exit(Main(os.Args[2:]))
		case "frames": // a warm process
			os.Exit(serveFrames(os.Args[2]))
		case "node": // runs a command until it is killed
			n, err := New(context.Background(), Config{Dir: os.Args[2], Helper: helper, Executors: []Executor{{Name: "x", Command: os.Args[3:]}}})
			if err == nil {
				_, err = n.Run(context.Background(), shoal.Run{Module: shoal.ExecCID("x")})
			}
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func helper(ctx context.Context, args ...string) *exec.Cmd {
	self, _ := os.Executable()
	return exec.CommandContext(ctx, self, append([]string{Verb}, args...)...)
}

// open returns a node's executors.
func open(t *testing.T, c Config, list ...Executor) *Native {
	t.Helper()
	c.Dir, c.Helper, c.Executors = filepath.Join(t.TempDir(), "native"), helper, list
	n, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	n.look(t.Context(), 0)
	t.Cleanup(func() {
		_ = n.Close()
		if left, _ := os.ReadDir(c.Dir); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	})
	return n
}

func shell(name, script string) Executor {
	return Executor{Name: name, Command: []string{"sh", "-c", script, name}}
}

// run runs an executor with a folder for its output.
func run(t *testing.T, n *Native, name string, change func(*shoal.Run)) (ran shoal.Ran, stdout, out string, err error) {
	t.Helper()
	var said bytes.Buffer
	r := shoal.Run{Module: shoal.ExecCID(name), Args: []string{name}, Stdout: &said, Out: t.TempDir()}
	if change != nil {
		change(&r)
	}
	ran, err = n.Run(t.Context(), r)
	return ran, said.String(), r.Out, err
}

// dead waits until a process is gone.
func dead(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); bytes.Contains(stat, []byte(") Z ")) {
			return // dead, and nobody has asked
		}
		if time.Now().After(end) {
			t.Fatalf("process %d goes on", pid)
		}
	}
}

// pids waits for files that hold the numbers of processes.
func pids(t *testing.T, dir string, names ...string) (out []int) {
	t.Helper()
	for _, name := range names {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			b, _ := os.ReadFile(filepath.Join(dir, name))
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && strings.HasSuffix(string(b), "\n") {
				out = append(out, pid)
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s was not written", name)
			}
		}
	}
	return out
}

func TestRunsACommand(t *testing.T) {
	t.Setenv("SECRET", "of the node")
	t.Setenv("LANG", "C.UTF-8")
	x := shell("copy", `cat data/in/a.txt data/in/sub/b.txt; cat; echo "$@" >$SHOAL_OUT/args; pwd >out/pwd; env | sort >out/env; ls -l data/in/l; exit 7`)
	x.Env = map[string]string{"MODEL": "/models/x"}
	n := open(t, Config{}, x)
	ran, said, out, err := run(t, n, "copy", func(r *shoal.Run) {
		r.Args = []string{"exec:copy", "one", "two words", "-e"}
		r.Stdin = strings.NewReader("typed\n")
		r.Data = fstest.MapFS{
			"in/a.txt": {Data: []byte("A\n")}, "in/sub/b.txt": {Data: []byte("B\n")}, "in/empty": {Mode: os.ModeDir | 0o755},
			"in/l": {Data: []byte("sub/b.txt"), Mode: os.ModeSymlink}, "in/bad": {Data: []byte("../../../etc/passwd"), Mode: os.ModeSymlink},
		}
	})
	if err != nil || ran.Exit != 7 || ran.Seconds <= 0 || !strings.HasPrefix(said, "A\nB\ntyped\n") || !strings.Contains(said, "l -> sub/b.txt") {
		t.Fatalf("%+v %q %v", ran, said, err)
	}
	b, _ := os.ReadFile(filepath.Join(out, "args"))
	if string(b) != "one two words -e\n" {
		t.Errorf("%q", b)
	}
	b, _ = os.ReadFile(filepath.Join(out, "env"))
	var names []string
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		names = append(names, name)
		if name == "HOME" && !strings.HasSuffix(value, "/home") || name == "SHOAL_OUT" && value != out {
			t.Error(line)
		}
	}
	// The last three are the shell's own.
	names = slices.DeleteFunc(names, func(s string) bool { return s == "PWD" || s == "SHLVL" || s == "_" || s == "OLDPWD" })
	want := "CUDA_DEVICE_ORDER CUDA_VISIBLE_DEVICES HOME LANG MODEL PATH ROCR_VISIBLE_DEVICES SHOAL_DATA SHOAL_OUT TMPDIR"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("it saw\n%s, not\n%s", got, want)
	}
}

// inPlace is a MapFS of which some files lie elsewhere.
type inPlace struct {
	fstest.MapFS
	at map[string]string
}

func (p inPlace) Place(name string) (string, bool) { f, ok := p.at[name]; return f, ok }

func TestFilesInPlaceAreLinked(t *testing.T) {
	n := open(t, Config{}, shell("read", `readlink data/in/big; readlink data/in/small || cat data/in/small data/in/big; test -z "$2" || echo more >>"$2"`))
	file := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(file, []byte("as it lies\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	data := inPlace{fstest.MapFS{"in/big": {Data: []byte("as it lies\n")}, "in/small": {Data: []byte("written out\n")}}, map[string]string{"in/big": file}}
	_, said, _, err := run(t, n, "read", func(r *shoal.Run) { r.Data = data })
	if err != nil || said != file+"\nwritten out\nas it lies\n" {
		t.Fatalf("%q %v", said, err)
	}
	_, _, _, err = run(t, n, "read", func(r *shoal.Run) { r.Data, r.Args = data, []string{"", "x", file} })
	if shoal.KindOf(err) != shoal.Corrupt || !strings.Contains(err.Error(), file+": it changed while a program read it") {
		t.Fatal(err)
	}
}

func TestAskedFirst(t *testing.T) {
	n := open(t, Config{Grace: 20 * time.Second}, shell("polite", `trap "echo bye; exit 0" TERM; echo $$ >out/self; while :; do sleep 0.05; done`))
	ctx, cancel := context.WithCancel(t.Context())
	var said bytes.Buffer
	out := t.TempDir()
	done := make(chan error, 1)
	go func() {
		_, err := n.Run(ctx, shoal.Run{Module: shoal.ExecCID("polite"), Out: out, Stdout: &said})
		done <- err
	}()
	pids(t, out, "self")
	cancel()
	if err := <-done; shoal.KindOf(err) != shoal.Canceled || said.String() != "bye\n" {
		t.Errorf("%v %q", err, said.String())
	}
}

func TestLimits(t *testing.T) {
	// tail keeps 256 MiB of what comes through a pipe.
	hog := `n=$(head -c 268435456 /dev/zero | tail -c 268435456 | wc -c); echo got $n; test $n -eq 268435456`
	poor, rich := shell("hog", hog), shell("fed", hog)
	poor.Memory, rich.Memory = 64<<20, 1<<30
	sleeper := shell("slow", "echo last words >&2; sleep 100")
	sleeper.Time = 2 * time.Second
	big := shell("big", "head -c 3000000 /dev/zero >out/x; sleep 100")
	big.Output = 1 << 20
	many := shell("many", "for i in 1 2 3; do head -c 500000 /dev/zero >out/$i; done; sleep 100")
	many.Output = 1 << 20
	quick := shell("quick", "for i in 1 2 3; do head -c 500000 /dev/zero >out/$i; done")
	quick.Output = 1 << 20
	files := shell("files", "for i in 1 2 3 4 5 6; do : >out/$i; done; sleep 100")
	n := open(t, Config{Files: 5}, sleeper, big, many, quick, files, poor, rich, shell("segv", "echo oh >&2; kill -SEGV $$"))
	for _, c := range []struct {
		name, want string
	}{
		{"slow", "exec:slow: time limit of 2s reached (standard error ends: \"last words\"): raise the limit"},
		{"big", "output limit of 1 MiB under /out reached"},
		{"many", "output limit of 1 MiB under /out reached"},
		{"quick", "output limit of 1 MiB under /out reached"},
		{"files", "limit of 5 files under /out reached"},
		{"segv", "exec:segv: it was killed: segmentation fault (standard error ends: \"oh\"): see what"},
	} {
		began := time.Now()
		ran, _, _, err := run(t, n, c.name, nil)
		if shoal.KindOf(err) != shoal.Failed || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.name == "slow" && (ran.Over <= 0 || ran.Over > 10) {
			t.Errorf("%s ended %v s late", c.name, ran.Over)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s took %v", c.name, took)
		}
	}
	ran, said, _, err := run(t, n, "hog", nil)
	if runtime.GOOS == "linux" && (err == nil && ran.Exit == 0 || strings.Contains(said, "got 268435456") || ran.Bounds == "") {
		t.Errorf("%+v %q %v", ran, said, err)
	}
	t.Logf("hog: %+v, %v", ran, err)
	if ran, said, _, err := run(t, n, "fed", nil); err != nil || ran.Exit != 0 || !strings.Contains(said, "got 268435456") {
		t.Errorf("%+v %q %v", ran, said, err)
	}
	// What a task asks for.
	if _, _, _, err := run(t, n, "hog", func(r *shoal.Run) { r.Limits.Memory = 1 << 30 }); shoal.KindOf(err) != shoal.Refused ||
		!strings.Contains(err.Error(), "it asks for 1 GiB of memory, this node gives 64 MiB at most") {
		t.Error(err)
	}
	if _, _, _, err := run(t, n, "hog", func(r *shoal.Run) { r.Limits.Gas = 1 }); shoal.KindOf(err) != shoal.Invalid {
		t.Error(err)
	}
	if _, _, _, err := run(t, n, "nobody", nil); shoal.KindOf(err) != shoal.Unavailable {
		t.Error(err)
	}
}

func TestExecutorsFaults(t *testing.T) {
	ok := Executor{Name: "a", Command: []string{"sh"}}
	with := func(change func(*Executor)) []Executor { x := ok; change(&x); return []Executor{ok, x} }
	for want, list := range map[string][]Executor{
		"executors[1].name: executor 'A b': it is not 1 to 64":                                 with(func(x *Executor) { x.Name = "A b" }),
		"executors[1] (a).name: there is another":                                              {ok, ok},
		"executors[1] (b).command: it is empty":                                                with(func(x *Executor) { x.Name, x.Command = "b", nil }),
		"executors[1] (b).command: there is no such program here: no-such-program: install it": with(func(x *Executor) { x.Name, x.Command = "b", []string{"no-such-program"} }),
		"executors[1] (b).devices: whole devices and a share":                                  with(func(x *Executor) { x.Name, x.Devices = "b", reserve.Want{Whole: 1, Memory: 1} }),
		"executors[1] (b).devices.gpus: -1":                                                    with(func(x *Executor) { x.Name, x.Devices = "b", reserve.Want{Whole: -1} }),
		"executors[1] (b).devices.vendor":                                                      with(func(x *Executor) { x.Name, x.Devices = "b", reserve.Want{Vendor: "amd"} }),
		"executors[1] (b).limits.processes: it is negative":                                    with(func(x *Executor) { x.Name, x.Processes = "b", -1 }),
		"executors[1] (b).limits.time: it is negative":                                         with(func(x *Executor) { x.Name, x.Time = "b", -1 }),
		"executors[1] (b).env: \"A=\" is no variable":                                          with(func(x *Executor) { x.Name, x.Env = "b", map[string]string{"A=": "b"} }),
		"executors[1] (b).measures: it measures one whole device":                              with(func(x *Executor) { x.Name, x.Measures = "b", true }),
		"executors: 65, more than the limit of 64":                                             make([]Executor, 65),
	} {
		if err := Check(list); shoal.KindOf(err) != shoal.Invalid || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	if err := Check([]Executor{ok}); err != nil {
		t.Error(err)
	}
}

// TestWaitsInOrder: what comes free goes to who waits longest, and one that gives up waits no more.
func TestWaitsInOrder(t *testing.T) {
	x := shell("x", `echo $1 >>$LOG; : >out/begun; while ! test -e out/end; do sleep 0.02; done`)
	log := filepath.Join(t.TempDir(), "log")
	x.Devices, x.Env = reserve.Want{Whole: 1}, map[string]string{"LOG": log}
	pair := x
	pair.Name, pair.Devices = "pair", reserve.Want{Whole: 2}
	n := open(t, Config{Look: cards(2)}, x, pair)
	var wg sync.WaitGroup
	waiting := func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.queue)
	}
	start := func(ctx context.Context, name, arg string, want shoal.Kind) (out string) {
		out = t.TempDir()
		wg.Go(func() {
			_, err := n.Run(ctx, shoal.Run{Module: shoal.ExecCID(name), Args: []string{"", arg}, Out: out})
			if (err != nil || want != 0) && shoal.KindOf(err) != want {
				t.Errorf("%s: %v", arg, err)
			}
		})
		return out
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	begun := func(out string) func() bool {
		return func() bool { _, err := os.Stat(filepath.Join(out, "begun")); return err == nil }
	}
	end := func(out string) { _ = os.WriteFile(filepath.Join(out, "end"), nil, 0o644) }
	first := start(t.Context(), "x", "first", 0)
	until("the first begins", begun(first))
	ctx, cancel := context.WithCancel(t.Context())
	start(ctx, "pair", "second", shoal.Canceled)
	until("the second waits", func() bool { return waiting() == 1 })
	third := start(t.Context(), "x", "third", 0) // for it there is one, but it came later
	until("the third waits", func() bool { return waiting() == 2 })
	if _, err := n.Room(shoal.ExecCID("x"), shoal.Limits{}); shoal.KindOf(err) != shoal.Overloaded || !strings.Contains(err.Error(), "2 tasks wait") {
		t.Error(err)
	}
	cancel()
	until("the third begins", begun(third))
	fourth := start(t.Context(), "pair", "fourth", 0)
	until("the fourth waits", func() bool { return waiting() == 1 })
	end(first)
	end(third)
	until("the fourth begins", begun(fourth))
	end(fourth)
	wg.Wait()
	if b, _ := os.ReadFile(log); string(b) != "first\nthird\nfourth\n" {
		t.Errorf("%q", b)
	}
	if waiting() > 0 || n.Devices()[0].Whole {
		t.Error("something is left")
	}
}

// slowly is a writer that takes its time, and breaks after so many bytes; 0: it does not.
type slowly struct {
	took  time.Duration
	most  int
	bytes atomic.Int64
}

func (s *slowly) Write(p []byte) (int, error) {
	time.Sleep(s.took)
	if n := s.bytes.Add(int64(len(p))); s.most > 0 && n > int64(s.most) {
		return 0, errors.New("it broke")
	}
	return len(p), nil
}

func TestStreamsOfTheCaller(t *testing.T) {
	n := open(t, Config{}, shell("much", "head -c 200000 /dev/zero"), shell("more", "cat /dev/zero"))
	slow := &slowly{took: 200 * time.Millisecond}
	if ran, _, _, err := run(t, n, "much", func(r *shoal.Run) { r.Stdout = slow }); err != nil || ran.Exit != 0 || slow.bytes.Load() != 200000 {
		t.Errorf("%+v, %d bytes, %v", ran, slow.bytes.Load(), err)
	}
	if _, _, _, err := run(t, n, "more", func(r *shoal.Run) { r.Stdout = &slowly{most: 100000} }); shoal.KindOf(err) != shoal.Unavailable ||
		!strings.Contains(err.Error(), "it broke") {
		t.Error(err)
	}
	// One that blocks does not hold up the end.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := n.Run(ctx, shoal.Run{Module: shoal.ExecCID("more"), Stdout: &slowly{took: 20 * time.Second}})
	if took := time.Since(began); shoal.KindOf(err) != shoal.Timeout || took > 10*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

// BenchmarkRun is what a run costs besides the command: two starts of this program, and its folders.
func BenchmarkRun(b *testing.B) {
	n, err := New(b.Context(), Config{Dir: filepath.Join(b.TempDir(), "native"), Helper: helper, Executors: []Executor{{Name: "x", Command: []string{"true"}}}})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	out := b.TempDir()
	for b.Loop() {
		if _, err := n.Run(b.Context(), shoal.Run{Module: shoal.ExecCID("x"), Out: out}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestGauge: the tool runs on the device that is meant, and only a number counts.
func TestGauge(t *testing.T) {
	tool := shell("flops", `echo warming up; case $SHOAL_DEVICES in gpu-1) echo "speed: 82.5";; gpu-2) echo fast;; gpu-3) echo 1; exit 3;; *) echo -1;; esac`)
	tool.Devices, tool.Measures = reserve.Want{Whole: 1}, true
	hold := shell("hold", "sleep 20")
	hold.Devices = reserve.Want{Whole: 1}
	n := open(t, Config{Patience: 50 * time.Millisecond}, tool, hold)
	if !n.Gauges() {
		t.Error("the tool is not known")
	}
	var list []reserve.Device
	for i := range 5 {
		list = append(list, reserve.Device{ID: fmt.Sprintf("gpu-%d", i), Vendor: "nvidia", Index: i})
	}
	n.SetDevices(list)
	ctx, end := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = n.Run(ctx, shoal.Run{Module: shoal.ExecCID("hold"), Args: []string{""}}) // takes the first
	}()
	for n.Devices()[0].Tasks == 0 {
		time.Sleep(time.Millisecond)
	}
	for i, want := range []struct {
		rate float64
		kind shoal.Kind
	}{{0, shoal.Overloaded}, {82.5, 0}, {0, shoal.Failed}, {0, shoal.Failed}, {0, shoal.Failed}} {
		rate, err := n.Gauge(t.Context(), fmt.Sprintf("gpu-%d", i))
		if rate != want.rate || err != nil && shoal.KindOf(err) != want.kind || (err == nil) != (want.rate > 0) {
			t.Errorf("device %d: %v, %v", i, rate, err)
		}
	}
	end()
	<-gone
	if _, err := open(t, Config{}, hold).Gauge(t.Context(), "gpu-0"); shoal.KindOf(err) != shoal.NotFound {
		t.Error(err)
	}
}
