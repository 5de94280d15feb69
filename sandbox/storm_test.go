package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/shoaltest/hostile"
)

// watch is how the rest of the process fares.
type watch struct {
	late, collect time.Duration // the worst ticker and collection
	collections   int
}

// watched runs f while a ticker ticks and collections go on.
func watched(f func()) (w watch) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			at := time.Now()
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				w.late = max(w.late, time.Since(at)-time.Millisecond)
			}
		}
	})
	wg.Go(func() {
		for {
			at := time.Now()
			runtime.GC()
			w.collect = max(w.collect, time.Since(at))
			w.collections++
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	f()
	close(done)
	wg.Wait()
	return w
}

// spinning is what a process full of Go's own loops is like, which can be interrupted: what this machine
// and its other work have to do with a measurement.
func spinning(guests int) watch {
	return watched(func() {
		var wg sync.WaitGroup
		for range guests {
			wg.Go(func() {
				for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
				}
			})
		}
		wg.Wait()
	})
}

// TestHostileModules has one guest for each processor run wild, and wants all stopped in time while the
// process goes on. What the machine's other work disturbs is tried again.
func TestHostileModules(t *testing.T) {
	const stopWithin, lateAtMost, tries = 100 * time.Millisecond, 50 * time.Millisecond, 5
	s := fresh(t, Config{NodeMemory: 64 << 30, Compiler: child, CompileTime: time.Minute})
	guests := runtime.GOMAXPROCS(0)
	t.Logf("%-32s %10s %10s %10s %10s  %s", "guest", "stopped", "ticker", "gc", "gas", "why")
	idle := spinning(guests)
	t.Logf("%-32s %10s %10v %10v", "Go's own loops, for comparison", "", idle.late.Round(time.Microsecond*100), idle.collect.Round(time.Microsecond*100))
	for _, c := range hostile.Running() {
		module := shoal.BlockCID(c.Wasm)
		if _, err := s.Compile(t.Context(), module, c.Wasm); err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		var stopped time.Duration
		var w watch
		var ran shoal.Ran
		var err error
		for try := 1; ; try++ {
			var mu sync.Mutex
			stopped = 0
			w = watched(func() {
				var wg sync.WaitGroup
				for range guests {
					wg.Go(func() {
						r := shoal.Run{Module: module, Limits: c.Limits, Stdout: io.Discard, Stderr: io.Discard, Out: t.TempDir()}
						began := time.Now()
						one, e := s.Run(t.Context(), r)
						took := time.Since(began)
						over := time.Duration(one.Over * float64(time.Second))
						mu.Lock()
						defer mu.Unlock()
						ran, err = one, e
						stopped = max(stopped, over)
						if e == nil || !strings.Contains(e.Error(), c.Want) {
							t.Errorf("%s: got %v, want %s", c.Name, e, c.Want)
						}
						// What the sandbox says is held against a clock outside it.
						if took -= r.Limits.Time; over > took+time.Microsecond || (over > 0) != (c.Limit != "none") {
							t.Errorf("%s: it says that it ended %v after its limit, the clock %v", c.Name, over, took)
						}
					})
				}
				wg.Wait()
			})
			noise := spinning(guests)
			fine := w.late < lateAtMost+noise.late && stopped < stopWithin+noise.late
			if fine || try == tries {
				if !fine {
					t.Errorf("%s: stopped after %v, ticker late by %v", c.Name, stopped, w.late)
				}
				break
			}
		}
		t.Logf("%-32s %10v %10v %10v %10d  %s", c.Name, stopped.Round(time.Microsecond*100), w.late.Round(time.Microsecond*100),
			w.collect.Round(time.Microsecond*100), ran.Gas, why(err))
	}
}

func why(err error) string {
	_, s, _ := strings.Cut(fmt.Sprint(err), ": ")
	s, _, _ = strings.Cut(s, ": raise")
	return s
}

// TestRefusedBeforeCompiling has modules that no bound on time or memory needs to stop.
func TestRefusedBeforeCompiling(t *testing.T) {
	s := fresh(t, Config{})
	for _, c := range hostile.Refused() {
		began := time.Now()
		_, err := s.Compile(t.Context(), shoal.BlockCID(c.Wasm), c.Wasm)
		if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), c.Want) {
			t.Errorf("%s: got %v, want %s", c.Name, err, c.Want)
		}
		t.Logf("%-32s %v", c.Name, time.Since(began))
	}
}

// TestGasIsTheSameEverywhere runs guests with slices of all sizes, twice each.
func TestGasIsTheSameEverywhere(t *testing.T) {
	s := fresh(t, Config{})
	text := strings.Repeat("It is a long way to the bottom of the sea. ", 2000)
	for _, c := range []struct {
		name string
		wasm []byte
		args []string
		exit int
	}{
		{"hello", example0(t, "hello"), nil, 0},
		{"fail", example0(t, "fail"), nil, 1},
		{"cat", example0(t, "cat"), nil, 0},
		{"calls", hostile.Doubling(18), nil, 0},
		{"random", probe, []string{"random"}, 0},
		{"clock", probe, []string{"clock"}, 0},
	} {
		module := shoal.BlockCID(c.wasm)
		if _, err := s.Compile(t.Context(), module, c.wasm); err != nil {
			t.Fatal(err)
		}
		var first shoal.Ran
		var said string
		for i, slice := range []int64{0, 1, 77, 1000, 123_456, 1 << 40, 0} {
			var out bytes.Buffer
			ran, err := s.run(t.Context(), shoal.Run{
				Module: module, Args: append([]string{c.name}, c.args...), Stdin: strings.NewReader(text), Stdout: &out,
			}, slice)
			if err != nil || ran.Exit != c.exit || ran.Gas == 0 {
				t.Fatalf("%s: %+v, %v", c.name, ran, err)
			}
			if i == 0 {
				first, said = ran, out.String()
			}
			if ran.Gas != first.Gas || out.String() != said {
				t.Errorf("%s, slice %d: %d gas, was %d", c.name, slice, ran.Gas, first.Gas)
			}
		}
		t.Logf("%-10s %12d gas", c.name, first.Gas)

		// A limit of exactly that is enough, and where a smaller one ends it is the same each time.
		ran, err := s.Run(t.Context(), shoal.Run{
			Module: module, Args: append([]string{c.name}, c.args...), Stdin: strings.NewReader(text), Limits: shoal.Limits{Gas: first.Gas},
		})
		if err != nil || ran.Gas != first.Gas {
			t.Errorf("%s with exactly enough: %+v, %v", c.name, ran, err)
		}
		var short [2]uint64
		for i := range short {
			ran, err := s.run(t.Context(), shoal.Run{
				Module: module, Args: append([]string{c.name}, c.args...), Stdin: strings.NewReader(text),
				Limits: shoal.Limits{Gas: first.Gas / 2},
			}, int64(1+i*997))
			if err == nil || !strings.Contains(err.Error(), "gas limit") {
				t.Errorf("%s with too little: %+v, %v", c.name, ran, err)
			}
			short[i] = ran.Gas
		}
		if short[0] != short[1] || short[0] < first.Gas/2 {
			t.Errorf("%s with too little used %d and %d of %d gas", c.name, short[0], short[1], first.Gas/2)
		}
	}
}

func example0(t *testing.T, name string) []byte {
	wasm, ok := examples.Module(name)
	if !ok {
		t.Fatalf("no example %s", name)
	}
	return wasm
}
