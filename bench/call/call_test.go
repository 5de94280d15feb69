package call

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

// TestKindsAnswer has each kind make some calls, with its processes' parts in this one.
func TestKindsAnswer(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			k, s := kinds[name], setup{Kind: name, Dir: t.TempDir()}
			if k.broker != nil {
				at, end, err := k.broker(s)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(end)
				s.At = at
			}
			at, end, err := k.answer(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(end)
			s.At = at
			w, err := ask(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.Close)
			for _, verb := range []string{"latency", "rate"} {
				got, err := w.Do[verb](t.Context(), []byte("50000000"))
				if err != nil {
					t.Fatal(err)
				}
				f := got.(rig.Figures)
				if f.Calls == 0 || f.P50 <= 0 || f.P99 < f.P50 || f.P50 > float64(time.Minute.Microseconds()) {
					t.Errorf("%s: %+v", verb, f)
				}
			}
		})
	}
}
