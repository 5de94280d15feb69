package services

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

func TestTraps(t *testing.T) {
	inWorld(t, 1, Config{Slots: 1}, func(t *testing.T, w *world) {
		w.code.batches = true
		w.create(Spec{Name: "s"})
		if _, err := w.call(0, "s", "first"); err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		for i := range 30 {
			wait.Go(func() {
				p, want := fmt.Sprint("call ", i), ""
				switch i % 10 {
				case 3:
					p, want = fmt.Sprint("trap ", i), "trap: unreachable"
				case 5:
					p, want = fmt.Sprint("bad ", i), "as told"
				}
				out, err := w.call(0, "s", p)
				if want == "" && (err != nil || out != p) || want != "" && (shoal.KindOf(err) != shoal.Failed || !strings.Contains(err.Error(), want)) {
					t.Errorf("%s: %q, %v", p, out, err)
				}
			})
		}
		wait.Wait()
		if out, err := w.call(0, "s", "after"); err != nil || out != "after" {
			t.Errorf("%q, %v", out, err)
		}
	})
}

func TestLimits(t *testing.T) {
	inWorld(t, 2, Config{Slots: 1, Queue: 10}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s", Needs: `labels.n == "1"`})
		if _, err := w.nodes[0].Call(t.Context(), "s", make([]byte, MaxPayload+1), CallOptions{}); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%v", err)
		}
		if _, err := w.call(0, "s", "put"); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "keeps nothing between calls") {
			t.Errorf("%v", err)
		}
		w.code.cost = 5 * time.Second
		var wait sync.WaitGroup
		var mu sync.Mutex
		kinds := map[shoal.Kind]int{}
		for i := range 40 {
			wait.Go(func() {
				_, err := w.call(0, "s", fmt.Sprint("call ", i))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					kinds[0]++
				} else {
					kinds[shoal.KindOf(err)]++
				}
			})
		}
		wait.Wait()
		if kinds[shoal.Overloaded] < 20 || kinds[0] == 0 {
			t.Errorf("of 40 calls with room for eleven: %v", kinds)
		}
	})
}

func TestNobodyFits(t *testing.T) {
	inWorld(t, 2, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s", Needs: `labels.n == "7"`})
		if _, err := w.call(0, "s", "x"); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "labels") {
			t.Errorf("%v", err)
		}
		w.create(Spec{Name: "x", Exec: "model", Code: shoal.BlockCID([]byte("module")).String(), Needs: `labels.n == "1"`})
		if out, err := w.call(0, "x", "x"); err != nil || out != "x" { // the executor nobody has, the module does
			t.Errorf("%q, %v", out, err)
		}
	})
}

func TestCannotBeOpened(t *testing.T) {
	inWorld(t, 3, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s"})
		w.code.broken = map[shoal.PeerID]error{"node-0": shoal.E(shoal.Full, "compile", "no space left", "")}
		if out, err := w.call(0, "s", "x"); err != nil || out != "x" {
			t.Errorf("%q, %v", out, err)
		}
		w.create(Spec{Name: "t"})
		w.breaks(shoal.E(shoal.Full, "compile", "no space left", ""))
		if _, err := w.call(0, "t", "x"); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%v", err)
		}
		w.create(Spec{Name: "u"})
		w.breaks(shoal.E(shoal.Failed, "module", "it traps at its start", ""))
		if _, err := w.call(0, "u", "x"); shoal.KindOf(err) != shoal.Failed {
			t.Errorf("%v", err)
		}
	})
}

func TestRemoved(t *testing.T) {
	inWorld(t, 3, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s"})
		for i := range 3 {
			if _, err := w.call(i, "s", "x"); err != nil {
				t.Fatal(err)
			}
		}
		w.names.down.Store(true) // the directory cannot be asked: what is known goes on
		time.Sleep(40 * time.Second)
		if out, err := w.call(1, "s", "down"); err != nil || out != "down" {
			t.Errorf("%q, %v", out, err)
		}
		w.names.down.Store(false)
		if err := w.nodes[2].Remove(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if n, on := w.instances(); n != 0 {
			t.Errorf("after its removal there are %v", on)
		}
		for i := range 3 {
			if _, err := w.call(i, "s", "y"); shoal.KindOf(err) != shoal.NotFound || w.ran("y") > 0 {
				t.Errorf("%v", err)
			}
		}
		w.create(Spec{Name: "s", Max: 5}) // another of that name
		for i := range 3 {
			if out, err := w.call(i, "s", "z"); err != nil || out != "z" {
				t.Errorf("%q, %v", out, err)
			}
		}
	})
}

// TestClose ends a node while a call hangs.
func TestClose(t *testing.T) {
	inWorld(t, 2, Config{}, func(t *testing.T, w *world) {
		w.create(Spec{Name: "s", Needs: `labels.n == "1"`})
		got := make(chan error, 1)
		go func() {
			_, err := w.call(0, "s", "hang")
			got <- err
		}()
		time.Sleep(time.Second)
		begun := time.Now()
		if err := w.nodes[1].Close(); err != nil || time.Since(begun) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		if err := <-got; err == nil {
			t.Error("a call that hung has an answer")
		}
	})
}
