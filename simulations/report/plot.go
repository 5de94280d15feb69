package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes of plots, in units of the drawing.
const (
	plotWidth, plotHeight = 560, 300
	left, right           = 74, 16
	top, bottom           = 14, 44
)

// axis maps values to a side of a plot.
type axis struct {
	lo, hi   float64
	from, to float64 // of the drawing
	log      bool
	unit     string
	label    string
}

// over makes an axis for values, from zero if it is not logarithmic.
func over(unit, label string, log bool, x ...float64) axis {
	a := axis{unit: unit, label: label, log: log, lo: math.Inf(1), hi: math.Inf(-1)}
	for _, v := range x {
		if math.IsNaN(v) || math.IsInf(v, 0) || log && v <= 0 {
			continue
		}
		a.lo, a.hi = min(a.lo, v), max(a.hi, v)
	}
	switch {
	case a.lo > a.hi && log:
		a.lo, a.hi = 1, 10
	case a.lo > a.hi:
		a.lo, a.hi = 0, 1
	}
	if log {
		if a.hi < a.lo*10 {
			mid := math.Sqrt(a.lo * a.hi)
			a.lo, a.hi = mid/3.3, mid*3.3
		}
		a.lo, a.hi = a.lo/1.08, a.hi*1.08
		return a
	}
	a.lo = min(a.lo, 0)
	if a.hi == a.lo {
		a.hi = a.lo + 1
	}
	a.hi += (a.hi - a.lo) * 0.05
	return a
}

func (a axis) at(v float64) float64 {
	if a.log {
		if v <= 0 {
			return a.from
		}
		return a.from + (a.to-a.from)*(math.Log(v)-math.Log(a.lo))/(math.Log(a.hi)-math.Log(a.lo))
	}
	return a.from + (a.to-a.from)*(v-a.lo)/(a.hi-a.lo)
}

// ticks are round values along the axis.
func (a axis) ticks() (list []float64) {
	if a.log {
		steps := []float64{1, 2, 5}
		if math.Log10(a.hi/a.lo) > 2.5 {
			steps = steps[:1]
		}
		for e := math.Floor(math.Log10(a.lo)); e <= math.Log10(a.hi); e++ {
			for _, s := range steps {
				if v := s * math.Pow(10, e); v >= a.lo && v <= a.hi {
					list = append(list, v)
				}
			}
		}
		for len(list) > 9 {
			var half []float64
			for i := 0; i < len(list); i += 2 {
				half = append(half, list[i])
			}
			list = half
		}
		return list
	}
	step := round((a.hi-a.lo)/5, a.unit)
	for v := math.Ceil(a.lo/step) * step; v <= a.hi+step*1e-9; v += step {
		list = append(list, v)
	}
	return list
}

// round makes a step between ticks one that people count in: of bytes in powers of two, of time in halves and sixths of
// minutes and hours.
func round(step float64, unit string) float64 {
	nice := []float64{1, 2, 2.5, 5, 10}
	scale := 1.0
	switch {
	case unit == "bytes" && step >= 512:
		scale = math.Pow(1024, math.Floor(math.Log(step*2)/math.Log(1024)))
		nice = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}
	case unit == "s" && step > 40 || unit == "ms" && step > 40000:
		scale = map[string]float64{"s": 60, "ms": 60000}[unit]
		nice = []float64{1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880, 7200, 14400}
	default:
		scale = math.Pow(10, math.Floor(math.Log10(step)))
	}
	for _, n := range nice {
		if n*scale >= step*0.999 {
			return n * scale
		}
	}
	return step
}

// curve is a line in a plot.
type curve struct {
	name   string
	class  int // of colour
	dashed bool
	dots   bool
	points []Point
	half   []float64 // of the intervals of points, if there are
}

// drawing gathers the parts of one SVG picture.
type drawing struct {
	b      strings.Builder
	w, h   float64
	title  string
	says   string
	legend []curve
}

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(&d.b, format+"\n", args...) }

func esc(s string) string { return html.EscapeString(s) }

// svg returns the picture, with a title for those who do not see it.
func (d *drawing) svg(id string) string {
	extra := 0.0
	var legend strings.Builder
	x := float64(left)
	for _, c := range d.legend {
		wide := 40 + 6.9*float64(len([]rune(c.name)))
		if x+wide > d.w-right && x > left {
			x, extra = left, extra+18
		}
		y := d.h + 6 + extra
		dash := ""
		if c.dashed {
			dash = ` stroke-dasharray="5 3"`
		}
		fmt.Fprintf(&legend, `<line class="s%d line" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"%s/><text class="key" x="%.1f" y="%.1f">%s</text>`+"\n",
			c.class, x, x+18, y, y, dash, x+23, y+4, esc(c.name))
		x += wide
	}
	h := d.h
	if len(d.legend) > 0 {
		h += extra + 18
	}
	return fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-labelledby="%s-t %s-d"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>`+"\n%s%s</svg>\n",
		d.w, h, id, id, id, esc(d.title), id, esc(d.says), d.b.String(), legend.String())
}

// frame draws two axes.
func (d *drawing) frame(x, y *axis) {
	x.from, x.to = left, d.w-right
	y.from, y.to = d.h-bottom, top
	d.add(`<g class="grid">`)
	for _, v := range y.ticks() {
		d.add(`<line x1="%d" x2="%.1f" y1="%.1f" y2="%.1f"/>`, left, d.w-right, y.at(v), y.at(v))
	}
	d.add(`</g><g class="tick">`)
	for _, v := range y.ticks() {
		d.add(`<text x="%d" y="%.1f" text-anchor="end">%s</text>`, left-7, y.at(v)+4, esc(Value(v, y.unit)))
	}
	for _, v := range x.ticks() {
		d.add(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x.at(v), x.at(v), d.h-bottom, d.h-bottom+4)
		d.add(`<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, x.at(v), d.h-bottom+17, esc(Value(v, x.unit)))
	}
	d.add(`</g><line class="base" x1="%d" x2="%.1f" y1="%.1f" y2="%.1f"/>`, left, d.w-right, d.h-bottom, d.h-bottom)
	d.add(`<text class="label" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, (left+d.w-right)/2, d.h-8, esc(x.label))
	d.add(`<text class="label" transform="translate(14 %.1f) rotate(-90)" text-anchor="middle">%s</text>`, (top+d.h-bottom)/2, esc(y.label))
}

// lines draws curves over an axis, with times of faults shaded.
func lines(title, says string, x, y axis, curves []curve, shades []Shade) *drawing {
	d := &drawing{w: plotWidth, h: plotHeight, title: title, says: says, legend: curves}
	d.frame(&x, &y)
	for i, s := range shades {
		from, to := max(x.at(s.From), left), min(max(x.at(s.To), x.at(s.From)+1), d.w-right)
		if to > from {
			d.add(`<rect class="shade" x="%.1f" y="%d" width="%.1f" height="%.1f"><title>%s</title></rect>`, from, top, to-from, d.h-bottom-top,
				esc(fmt.Sprintf("%s, %s to %s", s.What, seconds(s.From), seconds(s.To))))
			if i < 3 {
				d.add(`<text class="fault" x="%.1f" y="%d">%s</text>`, from+3, top+11+12*i, esc(s.What))
			}
		}
	}
	for _, c := range curves {
		d.curve(c, x, y)
	}
	return d
}

func (d *drawing) curve(c curve, x, y axis) {
	var path strings.Builder
	gap := true
	last := math.Inf(-1)
	typical := spacing(c.points)
	for i, p := range c.points {
		if math.IsNaN(p.Value) || y.log && p.Value <= 0 {
			gap = true
			continue
		}
		if !c.dots && typical > 0 && p.At-last > 4*typical { // nothing was seen meanwhile
			gap = true
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[gap], x.at(p.At), y.at(p.Value))
		gap, last = false, p.At
		if i < len(c.half) && c.half[i] > 0 {
			d.add(`<line class="s%d line" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, c.class, x.at(p.At), x.at(p.At), y.at(p.Value-c.half[i]), y.at(p.Value+c.half[i]))
		}
		r := 1.6
		if c.dots {
			r = 3.2
		}
		d.add(`<circle class="s%d dot" cx="%.1f" cy="%.1f" r="%.1f"><title>%s</title></circle>`, c.class, x.at(p.At), y.at(p.Value), r,
			esc(fmt.Sprintf("%s: %s at %s", c.name, Value(p.Value, y.unit), Value(p.At, x.unit))))
	}
	dash := ""
	if c.dashed {
		dash = ` stroke-dasharray="5 3"`
	}
	d.add(`<path class="s%d line" d="%s"%s/>`, c.class, path.String(), dash)
}

// spacing is the least distance between points.
func spacing(p []Point) float64 {
	least := math.Inf(1)
	for i := 1; i < len(p); i++ {
		if d := p[i].At - p[i-1].At; d > 0 {
			least = min(least, d)
		}
	}
	if math.IsInf(least, 1) {
		return 0
	}
	return least
}

// bar is one bar of several side by side, or one piece of a stacked one.
type bar struct {
	row, name string
	class     int
	value     float64
	half      float64
}

// rows draws horizontal bars with names, each from zero, or one on the other if they share a row.
func rows(title, says, unit, label string, bars []bar, stacked bool) *drawing {
	var names []string
	total := map[string]float64{}
	for _, b := range bars {
		if _, ok := total[b.row]; !ok {
			names = append(names, b.row)
		}
		if stacked {
			total[b.row] += b.value
		} else {
			total[b.row] = max(total[b.row], b.value+b.half)
		}
	}
	var all []float64
	for _, v := range total {
		all = append(all, v)
	}
	d := &drawing{w: plotWidth, h: float64(top + bottom + 34*len(names)), title: title, says: says}
	x := over(unit, label, false, all...)
	margin := float64(left)
	for _, n := range names {
		margin = max(margin, 16+6.8*float64(len([]rune(n))))
	}
	x.from, x.to = margin, d.w-right-70
	for _, v := range x.ticks() {
		d.add(`<g class="grid"><line x1="%.1f" x2="%.1f" y1="%d" y2="%.1f"/></g><g class="tick"><text x="%.1f" y="%.1f" text-anchor="middle">%s</text></g>`,
			x.at(v), x.at(v), top, d.h-bottom, x.at(v), d.h-bottom+17, esc(Value(v, unit)))
	}
	d.add(`<text class="label" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, (x.from+x.to)/2, d.h-8, esc(label))
	begin := map[string]float64{}
	seen := map[string]bool{}
	for i, n := range names {
		y := float64(top + 34*i + 7)
		d.add(`<text class="key" x="%.1f" y="%.1f" text-anchor="end">%s</text>`, margin-8, y+14, esc(n))
		for _, b := range bars {
			if b.row != n {
				continue
			}
			from := 0.0
			if stacked {
				from = begin[n]
				begin[n] += b.value
			}
			d.add(`<rect class="s%d fill" x="%.1f" y="%.1f" width="%.1f" height="20"><title>%s</title></rect>`, b.class, x.at(from), y, max(x.at(from+b.value)-x.at(from), 0),
				esc(strings.TrimPrefix(b.name+": ", ": ")+n+": "+Value(b.value, unit)))
			if b.half > 0 {
				d.add(`<path class="whisker" d="M%.1f %.1fV%.1fM%.1f %.1fH%.1fM%.1f %.1fV%.1f"/>`, x.at(b.value-b.half), y+5, y+15, x.at(b.value-b.half), y+10,
					x.at(b.value+b.half), x.at(b.value+b.half), y+5, y+15)
			}
			if stacked && !seen[b.name] {
				seen[b.name] = true
				d.legend = append(d.legend, curve{name: b.name, class: b.class})
			}
		}
		d.add(`<text class="key" x="%.1f" y="%.1f">%s</text>`, x.at(total[n])+6, y+14, esc(Value(shown(bars, n, stacked, total[n]), unit)))
	}
	return d
}

// shown is the figure beside a row.
func shown(bars []bar, row string, stacked bool, total float64) float64 {
	for _, b := range bars {
		if b.row == row && !stacked {
			return b.value
		}
	}
	return total
}
