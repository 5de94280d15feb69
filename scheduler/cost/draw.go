package cost

import "slices"

// How many are drawn, at most.
const (
	drawBest   = 2   // that seem the fastest of all
	drawPairs  = 6   // that seem faster than another one drawn with them
	drawRandom = 3   // whoever comes
	drawJitter = 0.5 // random part of what seems
)

// Draw picks the candidates worth asking from many that fit: all of them, if they are few. seems is how long one would
// take, as far as is known; roll draws from [0, 1).
//
// What is known is old, and the same for everybody who decides at this moment: whoever took only the best would meet
// everybody else there. So what seems counts only up to a random factor; some need only win against another one drawn
// with them (Mitzenmacher, The power of two choices in randomized load balancing, 2001); and some are drawn blindly.
func Draw(fit []int32, seems func(int32) float64, roll func() float64) []int32 {
	if len(fit) <= drawPairs+drawRandom {
		return fit
	}
	drawn := make([]int32, 0, drawBest+drawPairs+drawRandom)
	take := func(i int32) {
		if !slices.Contains(drawn, i) {
			drawn = append(drawn, i)
		}
	}
	for _, i := range best(fit, seems, roll) {
		take(i)
	}
	draw := func() int32 { return fit[min(int(roll()*float64(len(fit))), len(fit)-1)] }
	for range drawPairs {
		i, j := draw(), draw()
		if seems(j) < seems(i) {
			i = j
		}
		take(i)
	}
	for range drawRandom {
		take(draw())
	}
	return drawn
}

// best returns those that seem the fastest, up to a random factor.
func best(fit []int32, seems func(int32) float64, roll func() float64) [drawBest]int32 {
	var top [drawBest]int32
	var scores [drawBest]float64
	n := 0
	for _, i := range fit {
		s := seems(i) * (1 + drawJitter*roll())
		at := n
		for at > 0 && s < scores[at-1] {
			at--
		}
		if at == drawBest {
			continue
		}
		n = min(n+1, drawBest)
		copy(top[at+1:n], top[at:n])
		copy(scores[at+1:n], scores[at:n])
		top[at], scores[at] = i, s
	}
	return top
}

// Seems is how long a second of work on a usual core would take on p, its queue before it: what Draw compares.
func Seems(p Peer) float64 {
	p.Compiled, p.Self, p.Code, p.Data = true, true, 0, 0
	return Of(p, Facts{Work: DefaultHashMBs}).Total()
}
