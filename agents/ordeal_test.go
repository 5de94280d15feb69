package agents

import (
	"context"
	"flag"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/internal/nemesis"
	"github.com/shoal-fabric/shoal/sandbox"
)

var (
	ordealSeeds = flag.Int("ordeals", 3, "how many ordeals to run")
	ordealSeed  = flag.Uint64("seed", 1, "the first ordeal's seed")
	mutantSeeds = flag.Int("mutant-ordeals", 5, "how many ordeals a rule that is switched off has to be noticed in")
	ordealTrace = flag.Bool("trace", false, "with -v: print what happens")
)

// modules makes the examples that are put to the test ready; the first time with a folder takes seconds, in which time
// must not be virtual.
func modules(t testing.TB, folder string) (code map[string]shoal.Behaviour, done func()) {
	s, err := sandbox.New(sandbox.Config{CacheDir: folder})
	must(t, err)
	code = map[string]shoal.Behaviour{}
	for _, name := range []string{"kv", "lock", "counter"} {
		wasm, _ := examples.Module(name)
		c := shoal.BlockCID(wasm)
		_, err := s.Compile(context.Background(), c, wasm)
		must(t, err)
		code[name], err = s.Behaviour(context.Background(), c)
		must(t, err)
	}
	return code, func() { must(t, s.Close()) }
}

// compiled returns a folder with compiled modules, which all tests share.
func compiled(t testing.TB) string {
	compileOnce.Do(func() {
		var err error
		compileFolder, err = os.MkdirTemp("", "ordeal")
		must(t, err)
		_, done := modules(t, compileFolder)
		done()
	})
	return compileFolder
}

var (
	compileOnce   sync.Once
	compileFolder string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if compileFolder != "" {
		_ = os.RemoveAll(compileFolder)
	}
	os.Exit(code)
}

// run is one ordeal: clients call, faults come one after the other and at times two at once, then all is healed and
// everybody gets an answer.
func (o *ordeal) run(faults, clients []string) {
	c := &crowd{o: o, keys: map[string]shoal.Key{}}
	time.Sleep(2 * time.Second)
	for i, name := range slices.Sorted(maps.Keys(o.code)) { // agents are called as their code
		ctx, cancel := context.WithTimeout(o.ctx, 20*time.Second)
		made, err := o.machines[i%machines].living().agents.Create(ctx, CreateOptions{Name: name, Code: name, Replicas: 3})
		cancel()
		must(o.t, err)
		c.keys[name], _, _, err = parseAgent(made.Key)
		must(o.t, err)
	}
	var err error
	c.keys["directory"], err = o.machines[0].living().agents.Resolve(o.ctx, "directory")
	must(o.t, err)
	for n := range 30 {
		c.begin(n, clients[n%len(clients)])
	}
	time.Sleep(2 * time.Second)
	for i, name := range faults {
		over := o.h.Fault(name)
		o.trace("fault: %s", name)
		ended := make(chan struct{})
		go func() {
			nemeses[name](c)
			over()
			o.trace("over: %s", name)
			close(ended)
		}()
		if name == "mess" && i+1 < len(faults) { // goes on beside the next
			time.Sleep(2 * time.Second)
			defer func() { <-ended }()
			continue
		}
		<-ended
		time.Sleep(c.some(0, 2*time.Second))
	}
	time.Sleep(8 * time.Second)
	c.healed.Store(true)
	time.Sleep(2 * time.Second)
	c.over.Store(true)
	done := make(chan struct{})
	go func() { c.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		o.complain("clients still wait 30 s after all was healed")
		c.lost.Store(true) // nobody will answer: where a rule is off that may be
		<-done
	}
	for n := range o.machines { // it goes on, from everywhere
		for _, op := range nemesis.Reads(2000+n, nemesis.Epoch(c.made.Load())) {
			c.client(2000+n, op.Model).do(c, op, "", true)
		}
	}
	if o.last != nil {
		o.last(c)
	}
}

// ordealOf runs one seed and returns what was seen.
func ordealOf(t *testing.T, seed uint64, folder string, set func(*ordeal), faults ...string) *nemesis.History {
	var h *nemesis.History
	bubble.Test(t, func(t *testing.T) {
		code, done := modules(t, folder)
		defer done()
		o := newOrdeal(t, seed, code, set)
		h = o.h
		if len(faults) == 0 {
			faults = append(slices.Sorted(maps.Keys(nemeses)), "kill all", "pause", "pause")
			o.rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		}
		o.run(faults, []string{"kv", "lock", "kv", "counter", "kv"})
		o.close()
	})
	return h
}

// TestOrdeal has clients of kv, lock and counter see what they would see of one machine that never fails, while five
// machines do fail.
func TestOrdeal(t *testing.T) {
	folder := compiled(t)
	var all nemesis.Tally
	for i := range *ordealSeeds {
		seed := *ordealSeed + uint64(i)
		began := time.Now()
		h := ordealOf(t, seed, folder, nil)
		ran := time.Since(began)
		if err := h.Check(time.Minute); err != nil {
			t.Fatalf("seed %d (again: go test ./agents -run '^TestOrdeal$' -ordeals 1 -seed %d): %v", seed, seed, err)
		}
		tally := h.Tally()
		t.Logf("seed %d: %.1f s, checked in %.1f s: %v", seed, ran.Seconds(), (time.Since(began) - ran).Seconds(), tally)
		all.Add(tally)
	}
	t.Logf("in all: %v", all)
	if *ordealSeeds < 3 {
		return
	}
	if all.Definite < 10_000 {
		t.Errorf("%d operations whose outcome is known, want 10,000", all.Definite)
	}
	for fault, n := range all.Under {
		if n < 100 {
			t.Errorf("%d operations while there was a fault of kind %q, want 100", n, fault)
		}
	}
}

// TestOrdealsNotice switches rules off, one at a time, and wants the histories to show it.
func TestOrdealsNotice(t *testing.T) {
	folder := compiled(t)
	for _, c := range []struct {
		rule   string
		set    func(*ordeal)
		faults []string
	}{
		{"a read looks at the lease", func(o *ordeal) { o.off.noLease = true }, []string{"pause", "pause", "partition", "pause"}},
		{"a turn is committed before it is answered", func(o *ordeal) { o.off.noCommit = true }, []string{"kill", "partition", "kill all", "pause"}},
		{"a request happens once", func(o *ordeal) { o.off.noDedupe = true }, []string{"mess", "kill", "one way"}},
		{"a sync is waited for", func(o *ordeal) { time.AfterFunc(5*time.Second, func() { o.lies.Store(true) }) }, []string{"kill all", "torn write", "kill all"}},
		{"a clock counts pauses", func(o *ordeal) { o.stands = true }, []string{"pause", "pause", "pause", "pause"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			for seed := range uint64(*mutantSeeds) {
				if err := ordealOf(t, 1+seed, folder, c.set, c.faults...).Check(time.Minute); err != nil {
					t.Logf("seed %d: %v", 1+seed, err)
					return
				}
			}
			t.Errorf("nobody noticed in %d ordeals that it did not hold", *mutantSeeds)
		})
	}
}
