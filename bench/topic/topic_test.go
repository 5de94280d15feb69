package topic

import (
	"testing"
)

// TestKindsDeliver has each kind say some messages, in this process.
func TestKindsDeliver(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			w, err := worker(t.Context(), setup{Kind: name, Dir: t.TempDir(), Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.Close)
			for _, verb := range []string{"latency", "rate"} {
				got, err := w.Do[verb](t.Context(), []byte("100000000"))
				if err != nil {
					t.Fatal(err)
				}
				f := got.(figures)
				if f.Messages == 0 || verb == "rate" && f.Rate <= 0 || verb == "latency" && (f.P50 <= 0 || f.P99 < f.P50) || f.Lost > 0.5 {
					t.Errorf("%s: %+v", verb, f)
				}
				t.Logf("%s: %+v", verb, f)
			}
		})
	}
}
