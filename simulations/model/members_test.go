package model

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
)

// TestCopiesOfARumour plays room members' rounds: a node that has heard a rumour tells it to some peers, once a second, until two of those it told
// knew it (members/view: Settle). Nodes' seconds begin at different times.
func TestCopiesOfARumour(t *testing.T) {
	const enough = 2
	for _, x := range []struct{ n, round int }{{10, fanOut}, {100, fanOut}, {400, fanOut}, {5, fanOut}, {50, 4}} {
		n, round := x.n, x.round
		r, told, runs := rand.New(rand.NewPCG(1, uint64(n))), 0, 4000/n
		for range runs {
			loop := event.New(r.Uint64())
			heard := make([]bool, n)
			var hear func(i int)
			hear = func(i int) {
				heard[i] = true
				known := 0
				var again func()
				again = func() {
					for _, k := range r.Perm(n - 1)[:round] {
						told++
						if p := (i + 1 + k) % n; heard[p] {
							known++
						} else {
							hear(p)
						}
					}
					if known < enough {
						loop.After(gossipEvery, again)
					}
				}
				loop.After(1+time.Duration(r.Int64N(int64(gossipEvery))), again)
			}
			hear(0)
			for loop.Run(event.At(1000*gossipEvery), 1<<20) {
			}
		}
		if copies, want := float64(told)/float64(runs*n), rumourCopies(float64(round)); copies < 0.93*want || copies > 1.07*want {
			t.Errorf("among %d nodes a rumour is told %.2f times a node, %d in a round; the model says %.2f", n, copies, round, want)
		}
	}
}
