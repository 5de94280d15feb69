package gravity

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

func name(i int) shoal.PeerID { return shoal.PeerID(fmt.Sprintf("site%02d", i)) }

// hindsight is the least that any plan pays for the requests, on a uniform network where a move costs d,
// beginning at site 0. It may move before each request.
func hindsight(sites int, d float64, requests []request) float64 {
	w := make([]float64, sites)
	for i := 1; i < sites; i++ {
		w[i] = d
	}
	for _, r := range requests {
		best := math.Inf(1)
		for i := range w {
			if i != r.site {
				w[i] += r.size
			}
			best = min(best, w[i])
		}
		for i := range w {
			w[i] = min(w[i], best+d)
		}
	}
	best := math.Inf(1)
	for _, v := range w {
		best = min(best, v)
	}
	return best
}

type request struct {
	site int
	size float64
}

// online serves requests as the ledger says, and returns what that took, with the moves.
type online struct {
	l     *Ledger
	fit   []Place
	price float64
	cost  float64
	moves int
	trail []shoal.PeerID
}

func begin(sites int, d float64) *online {
	o := &online{l: At(name(0)), price: d}
	for i := range sites {
		o.fit = append(o.fit, Place{name(i), d})
	}
	return o
}

func (o *online) serve(r request) {
	price := 0.0
	if r.site < len(o.fit) {
		price = o.price
	}
	if name(r.site) != o.l.Home {
		o.cost += r.size
	}
	o.l.Pay(name(r.site), r.size, price)
	if d := o.l.Decide(o.fit); d.Move {
		o.l.Moved(d.To, d.Price)
		o.cost += o.price
		o.moves++
		o.trail = append(o.trail, d.To)
	}
}

// adversaries draw the next request; they see where the thing is.
var adversaries = map[string]func(r *rand.Rand, o *online, sites int) int{
	"random": func(r *rand.Rand, _ *online, sites int) int { return r.IntN(sites) },
	"skewed": func(r *rand.Rand, _ *online, sites int) int { return min(int(r.ExpFloat64()), sites-1) },
	"never at home": func(r *rand.Rand, o *online, sites int) int { // each request is paid
		for {
			if i := r.IntN(sites); name(i) != o.l.Home {
				return i
			}
		}
	},
	"one elsewhere": func(_ *rand.Rand, o *online, sites int) int { // stay away from wherever it goes, as long as that helps
		for i := range sites {
			if name(i) != o.l.Home {
				return i
			}
		}
		return 0
	},
	"the strongest pull": func(r *rand.Rand, o *online, sites int) int { // lure it as fast as possible
		best, pull := r.IntN(sites), -1.0
		for _, s := range o.l.Sites {
			if s.Pull > pull {
				pull = s.Pull
				fmt.Sscanf(string(s.Peer), "site%d", &best)
			}
		}
		return best
	},
	"phases": func(r *rand.Rand, o *online, sites int) int { // long runs at one site, as programs read
		return int(o.cost/(3*o.price)+r.Float64()) % sites
	},
}

// TestThreeTimesTheBestPlan: with payments of one unit and a price of whole units the bound is 3, for any sequence.
func TestThreeTimesTheBestPlan(t *testing.T) {
	worst := map[string]float64{}
	for who, next := range adversaries {
		rapid.Check(t, func(t *rapid.T) {
			sites, d := rapid.IntRange(2, 9).Draw(t, "sites"), float64(rapid.IntRange(1, 30).Draw(t, "price"))
			extra := rapid.IntRange(0, 2).Draw(t, "unfit") // sites that read and cannot be moved to
			rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
			o := begin(sites, d)
			var seen []request
			for range rapid.IntRange(1, 1500).Draw(t, "requests") {
				r := request{next(rng, o, sites+extra), 1}
				seen = append(seen, r)
				o.serve(r)
			}
			best := hindsight(sites, d, seen)
			if o.cost > 3*best+d+1e-6 {
				t.Fatalf("%s: paid %v with %d moves of %v, the best plan %v", who, o.cost, o.moves, d, best)
			}
			if best > 30*d {
				worst[who] = max(worst[who], o.cost/best)
			}
		})
	}
	t.Logf("worst ratio to the best plan, in sequences that cost it 30 moves or more: %v", worst)
}

// TestBoundWithAnySizes: a payment of up to x at once adds x/d to the factor.
func TestBoundWithAnySizes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sites, d := rapid.IntRange(2, 9).Draw(t, "sites"), rapid.Float64Range(0.01, 50).Draw(t, "price")
		x := rapid.Float64Range(0.001, 2).Draw(t, "most") * d
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		o := begin(sites, d)
		var seen []request
		for range rapid.IntRange(1, 800).Draw(t, "requests") {
			r := request{adversaries["never at home"](rng, o, sites), rng.Float64() * x}
			seen = append(seen, r)
			o.serve(r)
		}
		if best := hindsight(sites, d, seen); o.cost > (3+x/d)*best+d+x+1e-6 {
			t.Fatalf("paid %v with %d moves of %v, the best plan %v", o.cost, o.moves, d, best)
		}
	})
}

// TestAllShortSequences tries every sequence of three sites up to a length, so that none is missed by chance.
func TestAllShortSequences(t *testing.T) {
	const sites, length = 3, 9
	for _, d := range []float64{1, 2, 3} {
		for n := range int(math.Pow(sites, length)) {
			o := begin(sites, d)
			seen := make([]request, length)
			for i := range seen {
				seen[i] = request{n % sites, 1}
				n /= sites
				o.serve(seen[i])
			}
			if best := hindsight(sites, d, seen); o.cost > 3*best+d {
				t.Fatalf("price %v, %v: paid %v, the best plan %v", d, seen, o.cost, best)
			}
		}
	}
}

// TestHindsightIsTheLeast compares the dynamic programme with every plan there is.
func TestHindsightIsTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sites, d := rapid.IntRange(2, 3).Draw(t, "sites"), float64(rapid.IntRange(1, 4).Draw(t, "price"))
		seen := make([]request, rapid.IntRange(1, 6).Draw(t, "n"))
		for i := range seen {
			seen[i] = request{rapid.IntRange(0, sites-1).Draw(t, "site"), float64(rapid.IntRange(1, 3).Draw(t, "size"))}
		}
		best := math.Inf(1)
		for plan := range int(math.Pow(float64(sites), float64(len(seen)))) {
			at, cost := 0, 0.0
			for _, r := range seen {
				to := plan % sites
				plan /= sites
				if to != at {
					cost += d
				}
				if at = to; r.site != at {
					cost += r.size
				}
			}
			best = min(best, cost)
		}
		if got := hindsight(sites, d, seen); got != best {
			t.Fatalf("%v, want %v", got, best)
		}
	})
}

// TestGoesBackOnlyForTwiceThePrice is the hysteresis.
func TestGoesBackOnlyForTwiceThePrice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sites, d := rapid.IntRange(2, 6).Draw(t, "sites"), float64(rapid.IntRange(2, 20).Draw(t, "price"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		o := begin(sites, d)
		since := map[shoal.PeerID]float64{} // paid for a site since it was left
		for range 600 {
			r := request{adversaries["the strongest pull"](rng, o, sites), 1}
			if rng.IntN(3) == 0 {
				r.site = rng.IntN(sites)
			}
			home, was := o.l.Home, o.moves
			if p := name(r.site); p != home {
				since[p]++
			}
			o.serve(r)
			if o.moves == was {
				continue
			}
			if paid, left := since[o.l.Home]; left && was > 0 && contains(o.trail[:was], o.l.Home) && paid < d {
				t.Fatalf("back at %s for %v, the price is %v", o.l.Home, paid, d)
			}
			since[home] = 0
		}
	})
	// Two sites alone: to and fro takes twice the price each time.
	o := begin(2, 10)
	for i := range 200 {
		at := 0
		if o.l.Home == name(0) {
			at = 1
		}
		before := o.moves
		o.serve(request{at, 1})
		if o.moves != before && (i+1)%20 != 0 {
			t.Fatalf("moved at request %d", i+1)
		}
	}
	if o.moves != 10 {
		t.Fatalf("%d moves in 200 requests", o.moves)
	}
}

func contains(list []shoal.PeerID, p shoal.PeerID) bool {
	for _, q := range list {
		if q == p {
			return true
		}
	}
	return false
}

// TestCopyIsTwiceTheBestPlan: for reads of any size, rent and purchase together are at most twice the least of both.
func TestCopyIsTwiceTheBestPlan(t *testing.T) {
	worst := 0.0
	rapid.Check(t, func(t *rapid.T) {
		price := rapid.Float64Range(0.01, 100).Draw(t, "price")
		var c Copy
		paid, rent, bought := 0.0, 0.0, false
		for _, x := range rapid.SliceOfN(rapid.Float64Range(0, 40), 1, 200).Draw(t, "reads") {
			rent += x
			if bought {
				continue
			}
			if buy, why := c.Read(x, price); buy {
				bought = true
				paid += price
				if !strings.Contains(why, "a copy takes") {
					t.Fatal(why)
				}
			} else {
				paid += x
			}
		}
		best := min(rent, price)
		if paid > 2*best+1e-9 {
			t.Fatalf("paid %v, the best plan %v", paid, best)
		}
		if best > 0 {
			worst = max(worst, paid/best)
		}
	})
	t.Logf("worst ratio %.2f", worst)
}

// agent is one of several that call one another, with what it believes of the others' places.
type agent struct {
	key  string
	l    *Ledger
	sees []int // of each agent, where it believes it to be
}

// converse has agents call one another at random, with views that are brought up to date now and then, and
// returns how often each moved.
func converse(rng *rand.Rand, agents, sites, calls int, price float64, counts func(a, b string) bool) []int {
	moves := make([]int, agents)
	at := make([]int, agents)
	all := make([]*agent, agents)
	for i := range all {
		at[i] = rng.IntN(sites)
	}
	for i := range all {
		all[i] = &agent{key: fmt.Sprintf("k%d", i), l: At(name(at[i])), sees: append([]int{}, at...)}
	}
	fit := make([]Place, sites)
	for i := range fit {
		fit[i] = Place{name(i), price}
	}
	type step struct{ who, to int }
	together := rng.IntN(2) == 0
	var pending []step // moves decided, not done yet: both decide before either has gone
	for range calls {
		from := rng.IntN(agents)
		to := (from + 1 + rng.IntN(agents-1)) % agents
		for _, pair := range [][2]int{{from, to}, {to, from}} { // each side has its own view of the call's distance
			me, other := all[pair[0]], pair[1]
			if !counts(me.key, all[other].key) {
				continue
			}
			me.l.Pay(name(me.sees[other]), 1, price)
			if d := me.l.Decide(fit); d.Move {
				var site int
				fmt.Sscanf(string(d.To), "site%d", &site)
				pending = append(pending, step{pair[0], site})
				me.l.Moved(d.To, d.Price)
			}
		}
		if rng.IntN(4) == 0 { // what was decided is done
			for _, s := range pending {
				at[s.who] = s.to
				moves[s.who]++
			}
			pending = pending[:0]
		}
		switch i, j := rng.IntN(agents), rng.IntN(agents); { // and heard of
		case together && rng.IntN(10) == 0:
			for _, a := range all {
				copy(a.sees, at)
			}
		case !together && rng.IntN(10) == 0: // by one agent, of another
			all[i].sees[j] = at[j]
		}
	}
	return moves
}

// TestTwoNeverChaseEachOther: whatever the sequence of mutual calls, and however old the views are, one stays
// and the other comes once.
func TestTwoNeverChaseEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		sites, price := rapid.IntRange(2, 8).Draw(t, "sites"), float64(rapid.IntRange(1, 20).Draw(t, "price"))
		moves := converse(rng, 2, sites, 3000, price, Follows)
		if moves[0] > 1 || moves[1] > 0 {
			t.Fatalf("%v moves", moves)
		}
	})
	// Without the rule both come, and miss each other, again and again.
	most := 0
	for seed := range uint64(50) {
		moves := converse(rand.New(rand.NewPCG(seed, 1)), 2, 4, 3000, 5, func(a, b string) bool { return true })
		most = max(most, moves[0]+moves[1])
	}
	if most < 10 {
		t.Fatalf("without the rule there are at most %d moves: the simulation shows nothing", most)
	}
	t.Logf("without the rule: up to %d moves", most)
}

// TestFollowersFormNoCircle: of several agents the first in order never moves for the others' calls, and each goes
// only where one before it is.
func TestFollowersFormNoCircle(t *testing.T) {
	for _, n := range []int{3, 5} {
		for i := range n {
			for j := range n {
				a, b := fmt.Sprint(i), fmt.Sprint(j)
				if i != j && Follows(a, b) == Follows(b, a) {
					t.Fatalf("%s and %s", a, b)
				}
			}
		}
	}
	for seed := range uint64(50) {
		if moves := converse(rand.New(rand.NewPCG(seed, 1)), 4, 4, 3000, 5, Follows); moves[3] > 0 {
			t.Fatalf("seed %d: %v moves", seed, moves)
		}
	}
}

// TestDecisionTellsBothCosts reads as a story.
func TestDecisionTellsBothCosts(t *testing.T) {
	l := At("home")
	fit := []Place{{"home", 4}, {"data", 4}, {"busy", 0}}
	if d := l.Decide(fit); d.Move || d.To != "" || !strings.Contains(d.String(), "no other place") {
		t.Fatal(d)
	}
	l.Pay("home", 1.5, 4)
	l.Pay("nobody", 2, 0)
	for range 7 {
		l.Pay("data", 1, 4)
	}
	d := l.Decide(fit)
	if d.Move || d.To != "data" || d.Here != 9 || d.There != 3.5 || d.Price != 4 {
		t.Fatalf("%+v: %s", d, d)
	}
	l.Pay("data", 1, 4)
	if d = l.Decide(fit); !d.Move || d.Here != 10 || d.There != 3.5 || d.String() !=
		"distance took 10 s since it came to home, it would have been 3.5 s at data; moving takes 4 s" {
		t.Fatalf("%+v: %s", d, d)
	}
	// It does not fit any more; then it does and the move fails.
	if d := l.Decide([]Place{{"elsewhere", 0.1}, {"data", 0}}); d.Move {
		t.Fatal(d)
	}
	l.Spoil("data")
	if d := l.Decide(fit); d.Move {
		t.Fatal(d)
	}
	for range 4 {
		l.Pay("data", 1, 4)
	}
	if d := l.Decide(fit); !d.Move {
		t.Fatal(d)
	}
	l.Moved("data", 4)
	if l.Home != "data" || l.Debt != 0 || len(l.Sites) != 0 || l.paid() != 0 {
		t.Fatalf("%+v", l)
	}
}

// TestBounded: a ledger stays small and sane whatever it is told.
func TestBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := At(name(0))
		odd := rapid.SampledFrom([]float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e-300, 1, 7, 1e300})
		for range 300 {
			p := name(rapid.IntRange(0, 99).Draw(t, "site"))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				l.Moved(p, odd.Draw(t, "price"))
			case 1:
				l.Spoil(p)
			case 2:
				if d := l.Decide([]Place{{p, odd.Draw(t, "price")}}); d.Move && (d.To != p || p == l.Home) {
					t.Fatalf("%+v", d)
				}
			default:
				l.Pay(p, odd.Draw(t, "seconds"), odd.Draw(t, "price"))
			}
			if len(l.Sites) > MaxSites || math.IsNaN(l.Debt) || l.Debt < 0 || math.IsNaN(l.paid()) {
				t.Fatalf("%+v", l)
			}
			for i, s := range l.Sites {
				if s.Peer == l.Home || i > 0 && l.Sites[i-1].Peer >= s.Peer || !(s.Pull >= 0) {
					t.Fatalf("%+v", l)
				}
			}
		}
	})
}
