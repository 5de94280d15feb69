package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/bench/hostile"
	"github.com/shoal-fabric/shoal/bench/rig"
)

// TestMain lets nodes of these tests compile in a child, which is this program again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == hostile.CompileArg {
		_ = hostile.Compile(os.Args[2:]) // it exits
	}
	os.Exit(m.Run())
}

// TestGuestIsBuiltFromSource rebuilds the committed module.
func TestGuestIsBuiltFromSource(t *testing.T) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil || !strings.Contains(string(version), "version 14.") {
		t.Skip("needs Debian 12's clang, version 14: other versions make other bytes")
	}
	dir := t.TempDir()
	if out, err := exec.Command("guest/build.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, err := os.ReadFile(filepath.Join(dir, "echo.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(echoInC, want) {
		t.Error("echo.wasm is not what its source gives: run guest/build.sh")
	}
}

func TestOutage(t *testing.T) {
	ms := func(n int64) int64 { return n * int64(time.Millisecond) }
	a := acks{At: []int64{ms(10), ms(20), ms(23), ms(1800), ms(1810)}}
	for _, c := range []struct {
		at   int64
		want time.Duration
		ok   bool
	}{
		{ms(20), 1780 * time.Millisecond, true}, // what came 3 ms later was on its way
		{ms(12), 8 * time.Millisecond, true},
		{ms(1805), 5 * time.Millisecond, true},
		{ms(1806), 0, false},
	} {
		if got, ok := a.outage(c.at); got != c.want || ok != c.ok {
			t.Errorf("after a blow at %v: %v, %v, want %v, %v", time.Duration(c.at), got, ok, c.want, c.ok)
		}
	}
}

// do gives a worker in this process an order, as a line of JSON would.
func do[V any](t *testing.T, w *rig.Worker, verb string, arg any) V {
	t.Helper()
	b, err := json.Marshal(arg)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Do[verb](t.Context(), b)
	if err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	v, _ := got.(V)
	return v
}

// TestWorkers gives four nodes the orders that the benchmarks give.
func TestWorkers(t *testing.T) {
	var all []*rig.Worker
	var is ready
	for range keepers + 1 {
		w, err := serve(t.Context(), setup{Dir: t.TempDir(), Join: is.Invite, Listen: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		if len(all) == 0 {
			is = w.Ready.(ready)
		}
		all = append(all, w)
	}
	for _, w := range all {
		do[any](t, w, "met", keepers)
	}
	keys := do[born](t, all[0], "create", birth{Code: codes["shoal-c"], Name: "a", N: 2, Parallel: 2}).Keys
	add := request{Method: "add", Count: true}
	if f := do[rig.Figures](t, all[3], "ring", load{Agents: keys, Time: 100 * time.Millisecond, request: add}); f.Calls == 0 || f.P50 <= 0 {
		t.Errorf("ring: %+v", f)
	}
	if times := do[[][]float64](t, all[3], "each", tour{Agents: keys, Times: 3, request: add}); len(times) != 3 || times[2][1] <= 0 {
		t.Errorf("each: %v", times)
	}
	for _, l := range do[[]string](t, all[3], "led", keys) {
		if l == "" {
			t.Error("an agent that was just called is led by nobody")
		}
	}
	do[any](t, all[3], "begin", blows{Agents: keys})
	do[any](t, all[3], "acked", time.Now().UnixNano())
	for _, a := range do[[]acks](t, all[3], "end", nil) {
		if len(a.At) == 0 || a.Wrong != "" {
			t.Errorf("hammer: %d turns, %s", len(a.At), a.Wrong)
		}
	}
	// Somebody else's turn must be noticed.
	do[any](t, all[2], "each", tour{Agents: keys[:1], request: request{Method: "add"}})
	b, _ := json.Marshal(tour{Agents: keys[:1], request: add})
	if _, err := all[3].Do["each"](t.Context(), b); err == nil {
		t.Error("a counter that was added to by another is not noticed")
	}
	if m := do[memory](t, all[0], "memory", nil); m.Heap < 1<<20 {
		t.Errorf("memory: %+v", m)
	}
}

// TestPeers has etcd and JetStream acknowledge some writes, with their processes' parts in this one.
func TestPeers(t *testing.T) {
	inThis := func(roles map[string]rig.Role) func(role string, arg, ready any) *rig.Worker {
		return func(role string, arg, ready any) *rig.Worker {
			b, err := json.Marshal(arg)
			if err != nil {
				t.Fatal(err)
			}
			w, err := roles[role](context.Background(), b)
			if err != nil {
				t.Fatalf("%s: %v", role, err)
			}
			t.Cleanup(w.Close)
			if b, err = json.Marshal(w.Ready); err == nil && ready != nil {
				err = json.Unmarshal(b, ready)
			}
			if err != nil {
				t.Fatal(err)
			}
			return w
		}
	}(Write().Roles)
	var members []*rig.Worker
	all, err := etcdMembers(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		members = append(members, inThis("etcd", m, nil))
	}
	leader := -1
	for i, w := range members {
		if do[bool](t, w, "wait", nil) {
			leader = i
		}
	}
	if leader < 0 {
		t.Fatal("no member of etcd leads")
	}
	for _, at := range []string{all[leader].Plain, all[leader].Safe} {
		c := inThis("etcd-client", at, nil)
		if f := do[rig.Figures](t, c, "ring", calling{4, 50 * time.Millisecond}); f.Calls == 0 {
			t.Errorf("etcd at %s: %+v", at, f)
		}
	}
	nodes, err := StreamNodes(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]string{}
	for _, n := range nodes {
		var is string
		inThis("jetstream", n, &is)
		at[n.Name] = is
	}
	c := inThis("jetstream-client", at, nil)
	if f := do[rig.Figures](t, c, "ring", calling{4, 50 * time.Millisecond}); f.Calls == 0 {
		t.Errorf("jetstream: %+v", f)
	}
}
