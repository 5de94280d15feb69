package topicask

import "testing"

// TestKindsAnswer has each kind answer, in this process.
func TestKindsAnswer(t *testing.T) {
	for _, name := range []string{"shoal", "nats", "nats-room"} {
		t.Run(name, func(t *testing.T) {
			w, err := worker(t.Context(), setup{Kind: name, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.Close)
			for verb, do := range w.Do {
				got, err := do(t.Context(), []byte("100000000"))
				if err != nil {
					t.Fatal(err)
				}
				if f := got.(figures); f.Asked == 0 || f.P50 <= 0 || f.P99 < f.P50 {
					t.Errorf("%s: %+v", verb, f)
				}
				t.Logf("%s: %+v", verb, got)
			}
		})
	}
}
