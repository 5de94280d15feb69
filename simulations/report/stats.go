package report

import (
	"math"
	"slices"

	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// Estimate is a figure over seeds: the mean, and by how much it may be off, with 95 % confidence (Student's t).
type Estimate struct {
	N    int     `json:"n"` // seeds that have the figure
	Mean float64 `json:"mean"`
	Half float64 `json:"half"` // of the interval's width; 0 if N is 1: then it is not known
	Dev  float64 `json:"dev"`  // standard deviation
}

// estimate sums values up.
func estimate(x []float64) (e Estimate) {
	if e.N = len(x); e.N == 0 {
		return e
	}
	for _, v := range x {
		e.Mean += v / float64(e.N)
	}
	if e.N < 2 {
		return e
	}
	for _, v := range x {
		e.Dev += (v - e.Mean) * (v - e.Mean)
	}
	e.Dev = math.Sqrt(e.Dev / float64(e.N-1))
	e.Half = student(float64(e.N-1)) * e.Dev / math.Sqrt(float64(e.N))
	return e
}

// Group is the runs of one storey and policy.
type Group struct {
	Storey  string
	Policy  cost.Policy
	Runs    []*Run
	Figures map[string]Estimate
	Bytes   map[string]Estimate
}

// Name is how a group is called beside others: its storey, its policy, or both, as far as groups differ.
func (g *Group) Name(all []Group) string {
	storeys, policies := false, false
	for _, o := range all {
		storeys, policies = storeys || o.Storey != all[0].Storey, policies || o.Policy != all[0].Policy
	}
	switch {
	case storeys && policies:
		return g.Storey + ", " + PolicyName(g.Policy)
	case policies:
		return PolicyName(g.Policy)
	}
	return g.Storey
}

// PolicyName is how people write a policy.
func PolicyName(p cost.Policy) string {
	if p == cost.Fluid {
		return "fluid"
	}
	return string(p)
}

// Groups sums runs up over seeds. A run that was cut short counts only if there is no other.
func (r *Result) Groups() (list []Group) {
	whole := slices.ContainsFunc(r.Runs, func(x Run) bool { return !x.Cut })
	for i := range r.Runs {
		run := &r.Runs[i]
		if whole && run.Cut {
			continue
		}
		at := slices.IndexFunc(list, func(g Group) bool { return g.Storey == run.Storey && g.Policy == run.Policy })
		if at < 0 {
			at = len(list)
			list = append(list, Group{Storey: run.Storey, Policy: run.Policy, Figures: map[string]Estimate{}, Bytes: map[string]Estimate{}})
		}
		list[at].Runs = append(list[at].Runs, run)
	}
	for i := range list {
		g := &list[i]
		for _, f := range Names {
			var x []float64
			for _, run := range g.Runs {
				if v, ok := run.Figures[f.Name]; ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
					x = append(x, v)
				}
			}
			if len(x) > 0 {
				g.Figures[f.Name] = estimate(x)
			}
		}
		for _, k := range Kinds {
			var x []float64
			for _, run := range g.Runs {
				x = append(x, float64(run.Bytes[k]))
			}
			g.Bytes[k] = estimate(x)
		}
	}
	return list
}

// difference returns b-a, and half the width of its 95 % interval (Welch's t). known is false if neither has two values, or one has
// one only, as then nothing is known of its scatter.
func difference(a, b Estimate) (d, half float64, known bool) {
	d = b.Mean - a.Mean
	if a.N < 2 || b.N < 2 {
		return d, 0, false
	}
	va, vb := a.Dev*a.Dev/float64(a.N), b.Dev*b.Dev/float64(b.N)
	if va+vb == 0 {
		return d, 0, true
	}
	freedom := (va + vb) * (va + vb) / (va*va/float64(a.N-1) + vb*vb/float64(b.N-1))
	return d, student(freedom) * math.Sqrt(va+vb), true
}

// student returns the 97.5 % quantile of Student's t distribution: by halving, as its distribution is known.
func student(freedom float64) float64 {
	lo, hi := 0.0, 700.0
	for range 60 {
		mid := (lo + hi) / 2
		if 0.5*beta(freedom/2, 0.5, freedom/(freedom+mid*mid)) > 0.025 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// beta is the regularised incomplete beta function, by its continued fraction (Lentz).
func beta(a, b, x float64) float64 {
	if x <= 0 || x >= 1 {
		return min(max(x, 0), 1)
	}
	if x > (a+1)/(a+b+2) {
		return 1 - beta(b, a, 1-x)
	}
	ga, _ := math.Lgamma(a)
	gb, _ := math.Lgamma(b)
	gab, _ := math.Lgamma(a + b)
	front := math.Exp(gab - ga - gb + a*math.Log(x) + b*math.Log(1-x))
	tiny := func(v float64) float64 {
		if math.Abs(v) < 1e-300 {
			return 1e-300
		}
		return v
	}
	c, d := 1.0, 1/tiny(1-(a+b)*x/(a+1))
	f := d
	for m := 1.0; m < 300; m++ {
		up := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d, c = 1/tiny(1+up*d), tiny(1+up/c)
		f *= c * d
		down := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d, c = 1/tiny(1+down*d), tiny(1+down/c)
		f *= c * d
		if math.Abs(c*d-1) < 1e-14 {
			break
		}
	}
	return front * f / a
}
