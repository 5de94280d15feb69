package cost

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func indexes(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

func TestDraw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		n := rapid.IntRange(0, 200).Draw(t, "n")
		got := Draw(indexes(n), func(int32) float64 { return r.Float64() * 10 }, r.Float64)
		few := drawPairs + drawRandom
		if n <= few && len(got) != n || n > few && (len(got) < drawBest || len(got) > drawBest+few) {
			t.Fatalf("%d of %d", len(got), n)
		}
		sorted := slices.Sorted(slices.Values(got))
		if len(slices.Compact(sorted)) != len(got) || n > 0 && int(sorted[len(sorted)-1]) >= n {
			t.Fatalf("%v of %d", got, n)
		}
	})
}

// TestDrawFindsTheFastAndSpreads: one of a thousand that is clearly faster is always drawn; of equals each has its turn, and
// of those that seem a little better nobody gets all.
func TestDrawFindsTheFastAndSpreads(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	all := indexes(1000)
	for range 200 {
		if !slices.Contains(Draw(all, func(i int32) float64 {
			if i == 777 {
				return 0.5
			}
			return 1
		}, r.Float64), 777) {
			t.Fatal("the fast one was not drawn")
		}
	}
	const draws, members = 4000, 50
	count := make([]int, members)
	for range draws {
		for _, i := range Draw(indexes(members), func(i int32) float64 { return 1 + float64(i)/members/4 }, r.Float64) {
			count[i]++
		}
	}
	if least, most := slices.Min(count), slices.Max(count); least < draws/20 || most > draws*6/10 {
		t.Errorf("from %d to %d times in %d draws", least, most, draws)
	}
}
