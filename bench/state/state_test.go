package state

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

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
	want, err := os.ReadFile(filepath.Join(dir, "add.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(guest, want) {
		t.Error("add.wasm is not what its source gives: run guest/build.sh")
	}
}

// do gives a worker in this process an order, as a line of JSON would.
func do[V any](t *testing.T, w *rig.Worker, verb string, arg any) V {
	t.Helper()
	b, err := json.Marshal(arg)
	if err != nil {
		t.Error(err)
	}
	got, err := w.Do[verb](t.Context(), b)
	if err != nil {
		t.Errorf("%s: %v", verb, err)
	}
	v, _ := got.(V)
	return v
}

// TestWorkers gives two nodes the orders that the benchmark gives.
func TestWorkers(t *testing.T) {
	var all []*rig.Worker
	var is ready
	for range 2 {
		w, err := serve(t.Context(), setup{Dir: t.TempDir(), Join: is.Invite})
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
		do[any](t, w, "met", 1)
	}
	agents := do[[]string](t, all[0], "create", 2)
	for _, l := range []load{{agents, "add", 10, 100 * time.Millisecond}, {agents, "same", 100, 100 * time.Millisecond}} {
		if f := do[rig.Figures](t, all[0], "ring", l); f.Calls == 0 || f.Rate <= 0 {
			t.Errorf("%s: %+v", l.Method, f)
		}
	}
	before := do[uint64](t, all[1], "traffic", 0)
	var done sync.WaitGroup
	for i, w := range all {
		done.Go(func() {
			begun := time.Now().UnixNano()
			if c := do[changed](t, w, "change", order{Name: "round", Node: i, Nodes: 2, Keys: 30, Callers: 3}); c.Last <= begun || c.All < c.Last {
				t.Errorf("%+v, begun at %d", c, begun)
			}
		})
	}
	done.Wait()
	if after := do[uint64](t, all[1], "traffic", 0); after < before+30*20 {
		t.Errorf("30 changes came with %d bytes", after-before)
	}

	if o := (order{Name: "x"}); o.op(0).Verb != "add" || o.op(1).Verb != "insert" || o.op(2).Verb != "set" || o.op(2).Field == (order{Node: 1}).op(2).Field {
		t.Error("the kinds of keys do not take turns")
	}
	// What was not acknowledged, and is there all the same, must be noticed.
	done.Go(func() {
		for range 50 {
			_, _ = all[0].Do["ring"](t.Context(), mustJSON(load{agents[1:], "add", 1, 10 * time.Millisecond}))
		}
	})
	if _, err := all[0].Do["ring"](t.Context(), mustJSON(load{agents[:1], "add", 10, 200 * time.Millisecond})); err == nil || !strings.Contains(err.Error(), "were acknowledged") {
		t.Errorf("counters that others add to are not noticed: %v", err)
	}
	done.Wait()
}

func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
