package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Sweep is one scenario with some of its values varied.
type Sweep struct {
	Scenario string   `json:"scenario"`
	About    string   `json:"about,omitempty"`
	Sum      string   `json:"scenario_sha256"`
	Version  string   `json:"version"`
	Axes     []Axis   `json:"axes"`
	Places   []Place  `json:"points"`
	Cut      bool     `json:"cut,omitempty"`
	Refused  []string `json:"refused,omitempty"` // places that could not be run, and why
}

// Axis is a value that is varied.
type Axis struct {
	Path   string   `json:"path"`
	Values []string `json:"values"`
}

// Place is what was found with one value of each axis.
type Place struct {
	At     []string `json:"at"` // in the order of the axes
	Result *Result  `json:"result"`
}

// growth are the figures that a sweep draws.
var growth = []struct {
	name, title, says string
	from              func(g *Group, r *Result) (Estimate, bool)
}{
	{name: "lookup_hops_mean", title: "Hops of a lookup", says: "Mean depth of the closest peer found."},
	{name: "lookup_messages_mean", title: "Messages of a lookup", says: "Requests sent in one."},
	{name: "lookup_ms_p50", title: "Time of a lookup", says: "Median."},
	{name: "announce_bytes_per_node_hour", title: "Announcing, per node and hour", says: "Bytes of telling the DHT what is held."},
	{name: "repair_bytes", title: "Repair, per node and hour", says: "Bytes of data that made new replicas.", from: repairPerNodeHour},
	{name: "bytes_per_node_hour", title: "All traffic, per node and hour", says: "Bytes that crossed links."},
	{name: "gpu_ms_p50", title: "Time to find a GPU", says: "Median, by the DHT's capability keys."},
	{name: "find_ms_p50", title: "Time to find a holder", says: "Median, of a partition."},
	{name: "task_ms_p50", title: "Time of a task", says: "Median."},
	{name: "locality", title: "Share of local bytes", says: "Of what tasks read."},
	{name: "call_ms_p50", title: "Time of a call", says: "Median, of agents."},
	{name: "availability", title: "Requests answered", says: "Part of all requests."},
	{name: "memory_per_node", title: "Memory of the simulator, per node", says: "Resident size over nodes."},
	{name: "events_per_s", title: "Events a second", says: "Of the simulator, wall time."},
}

// repairPerNodeHour is the repair traffic in the unit of the others.
func repairPerNodeHour(g *Group, r *Result) (Estimate, bool) {
	var x []float64
	for _, run := range g.Runs {
		if v, ok := run.Figures["repair_bytes"]; ok && run.Simulated > 0 {
			x = append(x, v/float64(run.Nodes)/(run.Simulated/3600))
		}
	}
	return estimate(x), len(x) > 0
}

// line is the places that differ in the first axis only.
type row struct {
	name   string
	places []Place
}

func (s *Sweep) lines() (list []row) {
	for _, p := range s.Places {
		var words []string
		for i, a := range s.Axes[1:] {
			words = append(words, a.Path+" "+p.At[i+1])
		}
		name := strings.Join(words, ", ")
		at := slices.IndexFunc(list, func(r row) bool { return r.name == name })
		if at < 0 {
			at = len(list)
			list = append(list, row{name: name})
		}
		list[at].places = append(list[at].places, p)
	}
	return list
}

// HTML draws the figures that grow, against the first axis; the others make lines.
func (s *Sweep) HTML() ([]byte, error) {
	p := &page{Title: s.Scenario + ", swept", About: s.About, Cut: s.Cut, Sum: s.Sum, Version: s.Version, Broken: s.Refused}
	var words []string
	for _, a := range s.Axes {
		words = append(words, a.Path+": "+strings.Join(a.Values, ", "))
	}
	p.Line = strings.Join(words, "; ")
	var plots []*drawing
	for _, f := range growth {
		var curves []curve
		var xs, ys []float64
		for i, l := range s.lines() {
			by := map[string]*curve{}
			var order []string
			for _, place := range l.places {
				x, err := strconv.ParseFloat(place.At[0], 64)
				if err != nil {
					x = float64(slices.Index(s.Axes[0].Values, place.At[0]) + 1)
				}
				groups := place.Result.Groups()
				for gi := range groups {
					g := &groups[gi]
					e, ok := g.Figures[f.name]
					if f.from != nil {
						e, ok = f.from(g, place.Result)
					}
					if !ok || e.N == 0 {
						continue
					}
					name := strings.TrimPrefix(l.name+", "+g.Name(groups), ", ")
					if len(groups) == 1 && l.name != "" {
						name = l.name
					}
					c := by[name]
					if c == nil {
						c = &curve{name: name, class: (i*len(groups) + gi) % colours, dots: true}
						by[name] = c
						order = append(order, name)
					}
					c.points, c.half = append(c.points, Point{x, e.Mean}), append(c.half, e.Half)
					xs, ys = append(xs, x), append(ys, e.Mean+e.Half)
				}
			}
			for _, name := range order {
				curves = append(curves, *by[name])
			}
		}
		if curves == nil {
			continue
		}
		log := len(xs) > 1 && slices.Min(xs) > 0 && slices.Max(xs)/slices.Min(xs) >= 8
		plots = append(plots, lines(f.title, f.says, over("", s.Axes[0].Path+map[bool]string{true: " (logarithmic)"}[log], log, xs...),
			over(unitOf(f.name), f.title, false, ys...), curves, nil))
	}
	p.draw("Against "+s.Axes[0].Path, "Means over seeds, with 95 % intervals where there are two seeds at least.", plots...)
	p.Columns, p.Figures = s.table()
	return p.render()
}

// table has a row for each figure and a column for each place.
func (s *Sweep) table() (cols []string, rows []figureRow) {
	byName := map[string]*figureRow{}
	for _, f := range Names {
		byName[f.Name] = &figureRow{Name: f.Name, Says: f.Says}
	}
	there := map[string]bool{}
	for _, p := range s.Places {
		groups := p.Result.Groups()
		for i := range groups {
			name := strings.Join(p.At, ", ")
			if len(groups) > 1 {
				name += ", " + groups[i].Name(groups)
			}
			cols = append(cols, name)
			for _, f := range Names {
				e := groups[i].Figures[f.Name]
				there[f.Name] = there[f.Name] || e.N > 0
				byName[f.Name].Values = append(byName[f.Name].Values, e.text(f.Unit))
			}
		}
	}
	for _, f := range Names {
		if there[f.Name] {
			rows = append(rows, *byName[f.Name])
		}
	}
	return cols, rows
}

// Text is the summary for a terminal: a row for each place.
func (s *Sweep) Text() (header []string, rows [][]string) {
	for _, a := range s.Axes {
		header = append(header, strings.ToUpper(a.Path))
	}
	var shown []int
	for i, f := range growth {
		if len(shown) < 6 && slices.ContainsFunc(s.Places, func(p Place) bool {
			return slices.ContainsFunc(p.Result.Runs, func(r Run) bool { _, ok := r.Figures[f.name]; return ok })
		}) {
			shown = append(shown, i)
			header = append(header, strings.ToUpper(f.name)+map[bool]string{true: "_PER_NODE_HOUR"}[f.from != nil])
		}
	}
	if len(s.Places) > 0 && len(s.Places[0].Result.Groups()) > 1 {
		header = append(header, "RUN")
	}
	for _, p := range s.Places {
		groups := p.Result.Groups()
		for gi := range groups {
			cells := slices.Clone(p.At)
			for _, i := range shown {
				e := groups[gi].Figures[growth[i].name]
				if growth[i].from != nil {
					e, _ = growth[i].from(&groups[gi], p.Result)
				}
				cells = append(cells, e.text(unitOf(growth[i].name)))
			}
			if len(groups) > 1 {
				cells = append(cells, groups[gi].Name(groups))
			}
			rows = append(rows, cells)
		}
	}
	return header, rows
}

// PerDecade says by how much a figure grows while the first axis grows tenfold, fitted to the logarithm of the axis by least
// squares, over all places; ok is false if fewer than two values of the axis have it.
func (s *Sweep) PerDecade(figure string) (slope float64, ok bool) {
	var n, sx, sy, sxx, sxy float64
	seen := map[float64]bool{}
	for _, p := range s.Places {
		x, err := strconv.ParseFloat(p.At[0], 64)
		if err != nil || x <= 0 {
			continue
		}
		for _, r := range p.Result.Runs {
			if y, has := r.Figures[figure]; has {
				lx := math.Log10(x)
				n, sx, sy, sxx, sxy = n+1, sx+lx, sy+y, sxx+lx*lx, sxy+lx*y
				seen[x] = true
			}
		}
	}
	if len(seen) < 2 {
		return 0, false
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx), true
}

// String names a place.
func (p Place) String() string { return fmt.Sprint(strings.Join(p.At, ", ")) }
