//go:build unix

package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// TestMain is also what stands between the nodes of these tests and their native executors.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == native.Verb {
		os.Exit(native.Main(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "frames" {
		os.Exit(serveFrames())
	}
	os.Exit(m.Run())
}

func warden(ctx context.Context, args ...string) *exec.Cmd {
	self, _ := os.Executable()
	return exec.CommandContext(ctx, self, append([]string{native.Verb}, args...)...)
}

// card is a machine with one graphics processor.
func card() ([]shoal.GPU, error) {
	return []shoal.GPU{{Vendor: "nvidia", Model: "Paper", Memory: 16 << 30}}, nil
}

func noCard() ([]shoal.GPU, error) { return nil, nil }

func script(name, text string, w reserve.Want) native.Executor {
	return native.Executor{Name: name, Command: []string{"sh", "-c", text, name}, Devices: w}
}

// code is what exec:NAME stands for.
func code(t *testing.T, n *Node, name string) RunSpec {
	t.Helper()
	c, err := n.Code(t.Context(), "exec:"+name)
	if err != nil {
		t.Fatal(err)
	}
	return RunSpec{Name: "exec:" + name, Module: c}
}

// announced waits until n knows as many peers with an executor, itself included.
func announced(t *testing.T, n *Node, name string, peers int) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("%d peers announce %s", peers, name), func() bool {
		have := 0
		for _, m := range n.everybody() {
			if strings.Contains(" "+strings.Join(m.Attributes.Executors, " ")+" ", " "+name+" ") {
				have++
			}
		}
		return have == peers
	})
}

func TestNativeExecutor(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, func(i int, c *Config) {
		c.Warden, c.gpus = warden, noCard
		switch i {
		case 1:
			c.gpus = card
			c.Executors = []native.Executor{script("train", `
cat data/*/f000.txt >out/copy; readlink data/*/f000.txt >out/where; echo "$2 on $CUDA_VISIBLE_DEVICES $SHOAL_DEVICES" >out/how; cat; echo said >&2; exit $1`, reserve.Want{Whole: 1})}
		case 2:
			c.Executors = []native.Executor{script("train", "exit 9", reserve.Want{Whole: 1}), script("other", "exit 9", reserve.Want{})}
		}
	})
	announced(t, ns[0], "train", 1) // the third has no device for it
	announced(t, ns[0], "other", 1)
	dir, _ := corpus(t, 3, 50)
	set := put(t, ns[1], dir, data.PutOptions{Replicas: 1, InPlace: true})
	var out, errs bytes.Buffer
	spec := code(t, ns[0], "train")
	spec.Inputs, spec.Args = []shoal.Input{{CID: set.Manifest.Root}}, []string{"5", "two words"}
	spec.Stdin, spec.Stdout, spec.Stderr = strings.NewReader("typed"), &out, &errs
	id, o, explain, err := ns[0].RunTask(t.Context(), spec)
	if err != nil || o.Peer != ns[1].ID() || o.Exit != 5 || out.String() != "typed" || errs.String() != "said\n" ||
		o.DataMoved+o.CodeMoved > 0 || !o.Holder || len(o.Devices) != 1 || o.Devices[0] != "nvidia:0" {
		t.Fatalf("%+v %q %q %v", o, out.String(), errs.String(), err)
	}
	root, err := shoal.ParseCID(o.Output)
	if err != nil {
		t.Fatal(err)
	}
	real, _ := filepath.EvalSymlinks(dir)
	copied, _ := os.ReadFile(filepath.Join(dir, "f000.txt"))
	for file, want := range map[string]string{
		"how": "two words on 0 nvidia:0\n", "where": filepath.Join(real, "f000.txt") + "\n", "copy": string(copied),
	} {
		if b, err := ns[0].ReadFile(t.Context(), root, file); err != nil || string(b) != want {
			t.Errorf("%s: %q, not %q, %v", file, b, want, err)
		}
	}
	if _, ok := explain.Chosen(); !ok || len(explain.Refused()) != 2 {
		t.Errorf("%+v", explain)
	}
	rec, err := ns[2].Task(t.Context(), id)
	if err != nil || rec.Module != "exec:train" || rec.Outcome == nil || rec.Outcome.Exit != 5 {
		t.Errorf("%+v %v", rec, err)
	}
	var logs bytes.Buffer
	if err := ns[2].TaskLogs(t.Context(), id, false, &logs); err != nil || !strings.Contains(logs.String(), "said") || !strings.Contains(logs.String(), "typed") {
		t.Errorf("%q %v", logs.String(), err)
	}
	// What nobody has, or would do.
	_, _, explain, err = ns[0].RunTask(t.Context(), code(t, ns[0], "absent"))
	if shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "exec:absent: no peer has an executor of this name that can run something: there are: other, train") ||
		len(explain.Refused()) != 3 {
		t.Errorf("%v %+v", err, explain)
	}
	spec = code(t, ns[0], "absent")
	spec.Each, spec.Inputs = true, []shoal.Input{{CID: set.Manifest.Root}}
	if _, err = ns[0].StartJob(t.Context(), spec); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "there are: other, train") {
		t.Error(err)
	}
	spec = code(t, ns[0], "train")
	spec.Needs = "cpus > 100000"
	_, _, explain, err = ns[0].RunTask(t.Context(), spec)
	if shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "cpus > 100000: cpus is") || len(explain.Refused()) != 3 {
		t.Errorf("%v %+v", err, explain)
	}
	spec.Needs = "cpus > 'a'"
	if _, _, _, err = ns[0].RunTask(t.Context(), spec); shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "column 6") {
		t.Error(err)
	}
	spec.Needs, spec.Limits.Gas = "", 5
	if _, _, _, err = ns[0].RunTask(t.Context(), spec); shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "gas") {
		t.Error(err)
	}
	if _, err := ns[0].Code(t.Context(), "exec:No such"); shoal.KindOf(err) != shoal.Invalid {
		t.Error(err)
	}
	if _, err := ns[0].Module(t.Context(), "exec:train"); shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "it is no module") {
		t.Error(err)
	}
}

// TestNativeEach: one task per partition and a native reducer, on two nodes with one device each.
func TestNativeEach(t *testing.T) {
	t.Parallel()
	locks := t.TempDir()
	ns := nodes(t, 3, func(i int, c *Config) {
		c.Warden, c.gpus, c.Slots = warden, noCard, 4
		if i > 0 {
			c.gpus = card
			lock := fmt.Sprintf("%s/%d.$CUDA_VISIBLE_DEVICES", locks, i)
			c.Executors = []native.Executor{
				script("count", "mkdir "+lock+` && cat data/*/* data/*/*/* 2>/dev/null | grep -c alpha >out/n; sleep 0.1; rmdir `+lock, reserve.Want{Whole: 1}),
				script("sum", `cat data/*/n | awk '{n += $1} END {print n}' >out/sum`, reserve.Want{}),
			}
		}
	})
	announced(t, ns[0], "count", 2)
	announced(t, ns[0], "sum", 2)
	dir, alphas := corpus(t, 12, 100)
	set := put(t, ns[0], dir, data.PutOptions{Replicas: 2, PartitionBytes: 4 << 10})
	spec, sum := code(t, ns[0], "count"), code(t, ns[0], "sum")
	spec.Each, spec.Reduce, spec.Inputs = true, &sum.Module, []shoal.Input{{CID: set.Manifest.Root}}
	h, err := ns[0].StartJob(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	res, err := h.Wait(ctx)
	if err != nil || res.Exit != 0 {
		t.Fatalf("%+v %v", res, err)
	}
	root, err := shoal.ParseCID(res.Output)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ns[0].ReadFile(t.Context(), root, "sum")
	if err != nil || string(b) != fmt.Sprintln(alphas) {
		t.Errorf("%q, want %d, %v", b, alphas, err)
	}
	if res.Tasks < 6 || len(res.ByNode) != 2 || res.Gas != 0 {
		t.Errorf("%d tasks on %v, %d gas", res.Tasks, res.ByNode, res.Gas)
	}
}

// TestNativeBurst: many tasks at once for two devices.
func TestNativeBurst(t *testing.T) {
	t.Parallel()
	locks := t.TempDir()
	ns := nodes(t, 3, func(i int, c *Config) {
		c.Warden, c.gpus, c.Slots = warden, noCard, 8
		if i > 0 {
			c.gpus = card
			lock := fmt.Sprintf("%s/%d.$CUDA_VISIBLE_DEVICES", locks, i)
			c.Executors = []native.Executor{script("one", "mkdir "+lock+" && sleep 0.1 && rmdir "+lock, reserve.Want{Whole: 1})}
		}
	})
	announced(t, ns[0], "one", 2)
	var wg sync.WaitGroup
	var mu sync.Mutex
	by := map[shoal.PeerID]int{}
	for range 12 {
		wg.Go(func() {
			_, o, _, err := ns[0].RunTask(t.Context(), code(t, ns[0], "one"))
			if err != nil || o.Exit != 0 {
				t.Errorf("%+v %v", o, err)
			}
			mu.Lock()
			defer mu.Unlock()
			by[o.Peer]++
		})
	}
	wg.Wait()
	if len(by) != 2 {
		t.Errorf("%v", by)
	}
	for _, n := range ns[1:] {
		if d := n.Status().Devices; len(d) != 1 || d[0].Tasks != 0 || d[0].Whole {
			t.Errorf("%+v", d)
		}
	}
}

// TestNativeNodeLost: the node of a running task goes, then the device of the next one that has it.
func TestNativeNodeLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var gone [4]atomic.Bool
	ns := nodes(t, 4, func(i int, c *Config) {
		c.Warden, c.gpus = warden, noCard
		if i > 0 {
			c.gpus = func() ([]shoal.GPU, error) {
				if gone[i].Load() {
					return nil, nil
				}
				return card()
			}
			c.Executors = []native.Executor{script("slow",
				fmt.Sprintf("echo %d >>%s/began; while ! test -e %s/end%d; do sleep 0.05; done; echo %d >out/by", i, dir, dir, i, i), reserve.Want{Whole: 1})}
		}
	})
	announced(t, ns[0], "slow", 3)
	began := func(n int) (last int) {
		eventually(t, 60*time.Second, fmt.Sprintf("it began %d times", n), func() bool {
			b, _ := os.ReadFile(dir + "/began")
			f := strings.Fields(string(b))
			if len(f) == n {
				_, _ = fmt.Sscan(f[n-1], &last)
			}
			return last > 0
		})
		return last
	}
	type ended struct {
		o   shoal.Outcome
		err error
	}
	done := make(chan ended, 1)
	spec := code(t, ns[0], "slow")
	go func() {
		_, o, _, err := ns[0].RunTask(t.Context(), spec)
		done <- ended{o, err}
	}()
	first := began(1)
	ns[first].Kill()
	second := began(2)
	if second == first {
		t.Fatal("it ran again where it was lost")
	}
	gone[second].Store(true) // now its device goes: the last one remains
	ns[second].describe(t.Context())
	if third := began(3); third == second || third == first {
		t.Fatal("it ran again on a node without its device")
	}
	if names := ns[second].Status().Attributes.Executors; len(names) > 0 {
		t.Errorf("without its device it announces %v", names)
	}
	for i := range 4 {
		_ = os.WriteFile(fmt.Sprintf("%s/end%d", dir, i), nil, 0o644)
	}
	e := <-done
	if e.err != nil || e.o.Output == "" || e.o.Peer == ns[first].ID() {
		t.Errorf("%+v %v", e.o, e.err)
	}
}

// TestNativeWithoutATable: by the directory, where nobody knows all members.
func TestNativeWithoutATable(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, func(i int, c *Config) {
		c.Warden, c.gpus, c.NoTable, c.patient = warden, noCard, true, true
		if i == 2 {
			c.Executors = []native.Executor{script("echo", "echo here", reserve.Want{})}
		}
	})
	var err error
	eventually(t, 60*time.Second, "it is found", func() bool {
		var out bytes.Buffer
		spec := code(t, ns[1], "echo")
		spec.Stdout = &out
		_, o, _, e := ns[1].RunTask(t.Context(), spec)
		err = e
		return err == nil && o.Peer == ns[2].ID() && out.String() == "here\n"
	})
	if err != nil {
		t.Error(err)
	}
}
