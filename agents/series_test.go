package agents

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// journal is an agent that keeps what it was told, in order; "no" fails as long as the journal does not hold "yes".
func journal(wide func(string)) agenttest.Behaviour {
	return agenttest.Behaviour{
		"note": func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
			wide(string(t.Payload))
			b, _, err := t.State.Get([]byte("all"))
			if err == nil && string(t.Payload) == "no" {
				return nil, shoal.E(shoal.Failed, "note", "no", "")
			}
			if err == nil {
				err = t.State.Put([]byte("all"), append(slices.Clone(b), append(t.Payload, ' ')...))
			}
			return nil, err
		},
		"all": func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
			b, _, err := t.State.Get([]byte("all"))
			return b, err
		},
	}
}

func ones(from, to int) (list []One) {
	for i := from; i < to; i++ {
		list = append(list, One{Payload: fmt.Append(nil, i), Request: fmt.Sprint("r", i), Begun: 1})
	}
	return list
}

func TestSeries(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, Config{})
		var mu sync.Mutex
		begun := map[string]int{}
		w.natives = map[string]Native{"native:journal": {Behaviour: journal(func(s string) {
			mu.Lock()
			defer mu.Unlock()
			begun[s]++
		})}}
		for range 3 {
			w.add()
		}
		p := w.nodes[1]
		_, err := p.Create(t.Context(), CreateOptions{Name: "j", Code: "native:journal", Near: []shoal.PeerID{w.nodes[2].id, w.nodes[3].id, p.id}})
		must(t, err)
		n, err := p.Series(t.Context(), "j", "note", ones(0, 20))
		if n != 20 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		// The same again changes nothing; what is new after it does.
		n, err = w.nodes[3].Series(t.Context(), "j", "note", ones(10, 30))
		if n != 20 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		// One that fails stops those behind it, which were not begun.
		list := ones(30, 40)
		list[4] = One{Payload: []byte("no"), Request: "no", Begun: 1}
		n, err = p.Series(t.Context(), "j", "note", list)
		if n != 4 || shoal.KindOf(err) != shoal.Failed {
			t.Fatalf("%d, %v", n, err)
		}
		mu.Lock()
		if begun["no"] != 1 || begun["35"] != 0 {
			t.Errorf("begun: %v", begun)
		}
		mu.Unlock()
		n, err = p.Series(t.Context(), "j", "note", ones(34, 40))
		if n != 6 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		// The leader's machine is lost in the middle of many.
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				w.net.Delay(a.id, b.id, time.Millisecond)
			}
		}
		var lost sync.WaitGroup
		lost.Go(func() {
			time.Sleep(7 * time.Millisecond)
			w.nodes[2].kill()
		})
		for i := 40; i < 400; i += 40 {
			for n := 0; n < 40; {
				done, err := p.Series(t.Context(), "j", "note", ones(i+n, i+40))
				if n += done; err != nil {
					t.Logf("%d: %v", i+n, err)
				}
			}
		}
		b, err := p.Call(t.Context(), "j", shoal.CallRequest{Method: "all", Read: true})
		must(t, err)
		want := ""
		for i := range 400 {
			want += fmt.Sprint(i) + " "
		}
		if string(b) != want {
			t.Errorf("the journal has %s", b)
		}
		lost.Wait()
		w.nodes[2].restart()
	})
}

func TestSeriesLimits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, Config{})
		for name, list := range map[string][]One{
			"none": nil, "too many": ones(0, MaxSeries+1), "too large": {{Payload: make([]byte, seriesBytes+1), Request: "r", Begun: 1}},
			"without a name": {{Payload: []byte("x")}},
		} {
			if _, err := w.nodes[0].Series(t.Context(), "directory", "find", list); shoal.KindOf(err) != shoal.Invalid {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
