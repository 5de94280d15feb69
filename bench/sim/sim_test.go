package sim

import (
	"testing"

	"github.com/shoal-fabric/shoal/simulations/model"
)

// TestScene runs a small town: the mix is as it is said to be.
func TestScene(t *testing.T) {
	s, err := scene(2000)
	if err != nil {
		t.Fatal(err)
	}
	s.Duration /= 50
	r, err := model.Run(t.Context(), s, 1, model.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Events; n < 50_000 || r.Mix["churn"] < n*9/10 || r.Leaves["cost"] == 0 || r.Figures["lookups"] == 0 {
		t.Errorf("%d events, mix %v, leaves %v, %v", n, r.Mix, r.Leaves, r.Figures)
	}
}
