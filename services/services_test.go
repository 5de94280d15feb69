package services

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

func TestFromZeroAndBack(t *testing.T) {
	inWorld(t, 3, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s"})
		if n, _ := w.instances(); n != 0 {
			t.Fatalf("%d instances before the first call", n)
		}
		for i := range 3 {
			if out, err := w.call(i, "s", fmt.Sprint("hello ", i)); err != nil || out != fmt.Sprint("hello ", i) {
				t.Fatalf("%q, %v", out, err)
			}
		}
		if n, on := w.instances(); n != 1 {
			t.Errorf("calls one after the other have %v", on)
		}
		time.Sleep(50 * time.Second)
		if n, _ := w.instances(); n != 1 {
			t.Errorf("%d instances before the idle time is over", n)
		}
		time.Sleep(12 * time.Second)
		if n, on := w.instances(); n != 0 {
			t.Errorf("after the idle time there are %v", on)
		}
		if s, err := w.nodes[2].Show(t.Context(), "s"); err != nil || s.Instances != 0 || s.Calls != 3 || s.Silent != 0 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// load has callers on nodes call without a pause, for a while; each payload is another. It returns how many were answered
// well.
func (w *world) load(name string, callers int, during time.Duration, on ...int) (good int) {
	w.t.Helper()
	var mu sync.Mutex
	var wait sync.WaitGroup
	end := time.Now().Add(during)
	for k := range callers {
		wait.Go(func() {
			for i := 0; time.Now().Before(end); i++ {
				p := fmt.Sprintf("call %d.%d", k, i)
				out, err := w.call(on[k%len(on)], name, p)
				mu.Lock()
				if err != nil || out != p {
					w.t.Errorf("%s: %q, %v", p, out, err)
				} else {
					good++
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return good
}

func TestGrowsAndSpreads(t *testing.T) {
	inWorld(t, 4, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s", Target: 5 * time.Millisecond})
		good := w.load("s", 24, 10*time.Second, 0)
		n, on := w.instances()
		if n < 6 || len(on) < 3 {
			t.Errorf("24 callers of one node have %v", on)
		}
		for p, k := range on {
			if k > 2 {
				t.Errorf("%d instances on %s, with slots for 2", k, p)
			}
		}
		if most := 10 * 8 * 100; good < most/2 { // eight slots, and 10 ms for a call
			t.Errorf("%d calls, and %d were possible", good, most)
		}
		for p, n := range w.code.ran {
			if n != 1 {
				t.Errorf("%q ran %d times", p, n)
			}
		}
		t.Logf("%d calls on %v", good, on)
		time.Sleep(75 * time.Second)
		if n, on := w.instances(); n != 0 {
			t.Errorf("after the idle time there are %v", on)
		}
	})
}

func TestMost(t *testing.T) {
	inWorld(t, 4, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s", Target: 2 * time.Millisecond, Max: 3})
		w.load("s", 24, 5*time.Second, 0, 1, 2, 3)
		if n, on := w.instances(); n > 3 || n == 0 {
			t.Errorf("at most three, and there are %v", on)
		}
		if w.code.most > 4 { // four nodes begin at once, each with one, before they know of one another
			t.Errorf("there were %d at once", w.code.most)
		}
	})
}

func TestLeast(t *testing.T) {
	inWorld(t, 4, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s", Min: 3})
		time.Sleep(12 * time.Second)
		n, on := w.instances()
		if n != 3 || len(on) != 3 {
			t.Fatalf("at least three, and there are %v", on)
		}
		time.Sleep(5 * time.Minute)
		if n, on := w.instances(); n != 3 {
			t.Errorf("after a while there are %v", on)
		}
		for _, nd := range w.nodes {
			if on[nd.id] > 0 {
				w.kill(nd)
				break
			}
		}
		time.Sleep(12 * time.Second)
		if n, on := w.instances(); n != 3 {
			t.Errorf("after a loss there are %v", on)
		}
	})
}

// ran is how often a payload was processed.
func (w *world) ran(payload string) int {
	w.code.mu.Lock()
	defer w.code.mu.Unlock()
	return w.code.ran[payload]
}

// hostOf is the node with instances.
func (w *world) hostOf() *peerNode {
	_, on := w.instances()
	for _, nd := range w.nodes {
		if on[nd.id] > 0 {
			return nd
		}
	}
	w.t.Fatal("nobody has instances")
	return nil
}

// other is a node without.
func (w *world) other() int {
	_, on := w.instances()
	return slices.IndexFunc(w.nodes, func(nd *peerNode) bool { return on[nd.id] == 0 && !nd.dead.Load() })
}

func TestHostLost(t *testing.T) {
	for _, idempotent := range []bool{false, true} {
		inWorld(t, 3, Config{}, func(t *testing.T, w *world) {
			w.code.cost = time.Second
			w.create(Spec{Name: "s", Idempotent: idempotent})
			if _, err := w.call(0, "s", "first"); err != nil {
				t.Fatal(err)
			}
			host, from := w.hostOf(), w.other()
			if _, err := w.call(from, "s", "second"); err != nil {
				t.Fatal(err)
			}
			if n := w.ran("second"); n != 1 {
				t.Fatalf("it ran %d times", n)
			}
			go func() {
				time.Sleep(500 * time.Millisecond)
				w.kill(host)
			}()
			out, err := w.call(from, "s", "third")
			switch {
			case idempotent && (err != nil || out != "third" || w.ran("third") != 2):
				t.Errorf("%q, %v; it ran %d times", out, err, w.ran("third"))
			case !idempotent && (shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "not known") || w.ran("third") != 1):
				t.Errorf("%q, %v; it ran %d times", out, err, w.ran("third"))
			}
			// The next one finds the dead host gone, and is not told of it.
			if out, err := w.call(from, "s", "fourth"); err != nil || out != "fourth" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}

// TestHostGoneBefore has a call whose host is known to be gone go elsewhere: it never left.
func TestHostGoneBefore(t *testing.T) {
	inWorld(t, 3, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s"})
		if _, err := w.call(0, "s", "first"); err != nil {
			t.Fatal(err)
		}
		host, from := w.hostOf(), w.other()
		if _, err := w.call(from, "s", "second"); err != nil {
			t.Fatal(err)
		}
		w.kill(host)
		if out, err := w.call(from, "s", "third"); err != nil || out != "third" || w.ran("third") != 1 {
			t.Errorf("%q, %v; it ran %d times", out, err, w.ran("third"))
		}
	})
}

func TestBatches(t *testing.T) {
	inWorld(t, 1, Config{Slots: 1}, func(t *testing.T, w *world) {
		w.code.batches, w.code.cost = true, 2*time.Millisecond
		w.create(Spec{Name: "s", Target: 4 * time.Millisecond}) // ten calls together take 4 ms
		good := w.load("s", 40, 5*time.Second, 0)
		late := w.code.sizes[len(w.code.sizes)/2:]
		sum := 0
		for _, n := range late {
			sum += n
			if n > 11 {
				t.Fatalf("a batch of %d, and 10 take as long as is wanted", n)
			}
		}
		if mean := float64(sum) / float64(len(late)); mean < 8 {
			t.Errorf("batches of %.1f on average, and 10 take as long as is wanted", mean)
		}
		t.Logf("%d calls in 5 s, one by one %d would have been", good, 5*1000/2)
	})
}

func TestDeadlines(t *testing.T) {
	inWorld(t, 2, Config{Slots: 1}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s", Needs: `labels.n == "1"`})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := w.nodes[0].Call(ctx, "s", []byte("hang"), CallOptions{})
		if shoal.KindOf(err) != shoal.Timeout || time.Since(begun) > 1100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		if out, err := w.call(0, "s", "after"); err != nil || out != "after" {
			t.Errorf("%q, %v", out, err)
		}
		// Without a deadline there is one all the same.
		begun = time.Now()
		if _, err := w.call(0, "s", "hang"); shoal.KindOf(err) != shoal.Timeout || time.Since(begun) > 31*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		ctx, cancel = context.WithCancel(t.Context())
		go func() {
			time.Sleep(100 * time.Millisecond)
			cancel()
		}()
		if _, err := w.nodes[0].Call(ctx, "s", []byte("hang"), CallOptions{}); shoal.KindOf(err) != shoal.Canceled {
			t.Errorf("%v", err)
		}
		if out, err := w.call(0, "s", "after all"); err != nil || out != "after all" {
			t.Errorf("%q, %v", out, err)
		}
	})
}

// TestSharedState: what a call changed counts once if it went well, also if it was handed over anew because another broke the instance.
func TestSharedState(t *testing.T) {
	for _, batches := range []bool{false, true} {
		inWorld(t, 1, Config{Slots: 1}, func(t *testing.T, w *world) {
			w.code.batches = batches
			w.create(Spec{Name: "s"})
			var wait sync.WaitGroup
			for i := range 60 {
				wait.Go(func() {
					payload := fmt.Sprint("share ", i)
					if i%10 == 9 {
						payload = "trap"
					}
					if _, err := w.call(0, "s", payload); (err == nil) != (i%10 != 9) {
						t.Errorf("%s: %v", payload, err)
					}
				})
			}
			wait.Wait()
			if got := w.shared.Dump(); got != "shared counter 54\n" {
				t.Errorf("batches %v: %q", batches, got)
			}
			w.shared.Fail = shoal.E(shoal.Full, "disk", "it is full", "")
			if _, err := w.call(0, "s", "share x"); err == nil || !strings.Contains(err.Error(), "it is full") {
				t.Errorf("%v", err)
			}
		})
	}
}

// breaks has the module fail to open on all nodes.
func (w *world) breaks(err error) {
	w.code.mu.Lock()
	defer w.code.mu.Unlock()
	w.code.broken = map[shoal.PeerID]error{}
	for _, nd := range w.nodes {
		w.code.broken[nd.id] = err
	}
}

// TestComesToTheCaller has a node that keeps calling another's instance get one of its own, unless there may be no more.
func TestComesToTheCaller(t *testing.T) {
	for _, most := range []int{0, 1} {
		inWorld(t, 3, Config{}, func(t *testing.T, w *world) {
			w.create(Spec{Name: "s", Max: most})
			if _, err := w.call(0, "s", "first"); err != nil {
				t.Fatal(err)
			}
			host, from := w.hostOf(), w.other()
			calls := func(n int) {
				for i := range n {
					if _, err := w.call(from, "s", fmt.Sprint("call ", i)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
			calls(30) // a millisecond each, and an instance is worth 50
			if _, on := w.instances(); len(on) != 1 || on[host.id] != 1 {
				t.Errorf("after a few calls there are %v", on)
			}
			calls(30)
			_, on := w.instances()
			if want := most == 0; (on[w.nodes[from].id] == 1) != want {
				t.Errorf("at most %d: after many calls there are %v", most, on)
			}
		})
	}
}

// TestOldNews has a host refuse what does not fit its machine, and the call go elsewhere.
func TestOldNews(t *testing.T) {
	inWorld(t, 3, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s", Needs: `labels.n != "1"`})
		c, err := w.nodes[0].caller(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		c.hosts["node-1"] = &seen{state: state{Instances: 1}, at: time.Now()}
		if out, err := w.call(0, "s", "x"); err != nil || out != "x" {
			t.Errorf("%q, %v", out, err)
		}
		if _, on := w.instances(); on["node-1"] > 0 {
			t.Errorf("instances are on %v", on)
		}
	})
}

// FuzzMessages gives a host's methods what peers may send.
func FuzzMessages(f *testing.F) {
	spec := Spec{Name: "s", Code: shoal.BlockCID([]byte("module")).String(), Method: "echo"}
	if err := spec.check(); err != nil {
		f.Fatal(err)
	}
	sealed, key := spec.seal()
	others := []told{{Peer: "p", State: state{Instances: -5, Each: -1}, Age: 1 << 62}}
	f.Add(wire.Marshal(callRequest{Key: []byte(key), Sealed: sealed, Others: others}))
	f.Add(wire.Marshal(askRequest{Key: []byte(key), Sealed: sealed, Host: true, State: state{Instances: 1 << 40}, Full: true}))
	f.Add(wire.Marshal(openRequest{Key: []byte(key), Sealed: sealed, Count: -1}))
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		inWorld(t, 1, Config{}, func(t *testing.T, w *world) {
			s := w.nodes[0].Services
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for _, h := range []shoal.Handler{s.onCall, s.onAsk, s.onOpen, s.onDrop} {
				_, _ = h(ctx, "peer", b)
			}
		})
	})
}

// TestTooLate has calls that would still wait when their time is over refused at once.
func TestTooLate(t *testing.T) {
	inWorld(t, 1, Config{Slots: 1}, func(t *testing.T, w *world) {
		w.code.cost = time.Second
		w.create(Spec{Name: "s"})
		if _, err := w.call(0, "s", "first"); err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		var mu sync.Mutex
		var good, refused int
		for i := range 30 {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				begun := time.Now()
				_, err := w.nodes[0].Call(ctx, "s", fmt.Append(nil, "call ", i), CallOptions{})
				mu.Lock()
				defer mu.Unlock()
				switch took := time.Since(begun); {
				case err == nil:
					good++
				case shoal.KindOf(err) == shoal.Overloaded && took < 2*time.Second:
					refused++
				case shoal.KindOf(err) != shoal.Timeout:
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		wait.Wait()
		if good < 9 || refused < 15 {
			t.Errorf("of 30 calls with time for ten %d are done, and %d refused at once", good, refused)
		}
	})
}
