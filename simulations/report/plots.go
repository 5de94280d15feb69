package report

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
)

// plots draws what the runs tell.
func (r *Result) plots(p *page, groups []Group) {
	p.draw("Lookups", "", hops(groups), r.overTime(groups, "Hops over time", "Solid: median; dashed: 99th percentile. Shaded: faults.", false, "lookup_hops_p50", "lookup_hops_p99"),
		cdf(groups, "lookup_ms", "How long lookups took", "Part of the lookups that took no longer; the lines are the storeys and policies."))
	p.draw("Bytes that crossed links", "", byKind(groups), perFigure(groups, "locality", "Share of local bytes", "Part of the bytes that tasks read which were on their node when they were placed."))
	var times []*drawing
	used := map[string]bool{}
	for _, s := range []struct{ name, title string }{
		{"lookup_ms", "Lookups"},
		{"find_ms", "Finding holders of partitions"},
		{"gpu_ms", "Finding a GPU"},
		{"task_ms", "Tasks"},
		{"call_ms", "Calls of agents"},
		{"deliver_ms", "Messages of topics"},
	} {
		used[s.name+"_p50"], used[s.name+"_p99"] = true, true
		times = append(times, r.overTime(groups, s.title+": time, median and 99th percentile", "Solid: median; dashed: 99th percentile. Shaded: faults.", true, s.name+"_p50", s.name+"_p99"))
	}
	p.draw("Latency over time", "", times...)
	for _, name := range []string{"queue", "queue_mean", "gpu_use", "availability", "up", "locality", "lookup_hops"} {
		for _, suffix := range []string{"", "_p50", "_p99"} {
			used[name+suffix] = true
		}
	}
	p.draw("Queues and graphics processors", "",
		r.overTime(groups, "Tasks that wait on a node", "Mean over nodes, or median and 99th percentile.", false, "queue", "queue_mean", "queue_p50", "queue_p99"),
		r.overTime(groups, "GPUs taken", "Part of the graphics processors that a task has.", false, "gpu_use", "gpu_use_p50"))
	p.draw("While something was wrong", "",
		r.overTime(groups, "Requests answered", "Part of all requests, of whatever kind, that were answered. Shaded: faults.", false, "availability", "availability_p50"),
		r.overTime(groups, "Nodes that are up", "Part of the nodes. Shaded: faults.", false, "up", "up_p50"),
		r.overTime(groups, "Share of local bytes over time", "Of the bytes that tasks read.", false, "locality", "locality_p50"))
	if len(groups) > 1 {
		var plots []*drawing
		for _, name := range []string{"task_ms_p50", "task_ms_p99", "makespan_s", "moved_bytes", "lookup_ms_p50", "lookup_hops_mean", "call_ms_p50", "availability"} {
			plots = append(plots, perFigure(groups, name, name, says(name)))
		}
		p.draw("Side by side", "Means over seeds; the whiskers are 95 % intervals.", plots...)
	}
	p.draw("More over time", "", r.others(groups, used)...)
}

func says(figure string) string {
	for _, f := range Names {
		if f.Name == figure {
			return strings.ToUpper(f.Says[:1]) + f.Says[1:] + "."
		}
	}
	return ""
}

// hops draws how many lookups took how many hops.
func hops(groups []Group) *drawing {
	var curves []curve
	all, most := []float64{}, 0.0
	for i := range groups {
		count := map[int]float64{}
		total := 0.0
		for _, b := range merged(groups[i], "lookup_hops") {
			at := int(math.Round((b.From + b.To) / 2))
			if b.To-b.From >= 2 {
				at = int(math.Ceil(b.From))
			}
			count[at] += float64(b.Count)
			total += float64(b.Count)
		}
		if total == 0 {
			continue
		}
		c := curve{name: groups[i].Name(groups), class: i % colours, dots: true}
		for _, n := range slices.Sorted(maps.Keys(count)) {
			c.points = append(c.points, Point{float64(n), count[n] / total})
			all, most = append(all, count[n]/total), max(most, float64(n))
		}
		curves = append(curves, c)
	}
	if curves == nil {
		return nil
	}
	return lines("Hops of lookups", "Part of the lookups whose closest peer was found so deep in the tree of referrals: the peer asked first has depth 1.",
		over("", "hops", false, most, most+0.5), over("", "part of lookups", false, all...), curves, nil)
}

// merged adds up the histograms of a group's runs.
func merged(g Group, name string) (list []Bucket) {
	at := map[[2]float64]int{}
	for _, run := range g.Runs {
		for _, b := range run.Hists[name] {
			k := [2]float64{b.From, b.To}
			if i, ok := at[k]; ok {
				list[i].Count += b.Count
				continue
			}
			at[k] = len(list)
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b Bucket) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return list
}

// cdf draws which part of values is no greater than what.
func cdf(groups []Group, name, title, says string) *drawing {
	var curves []curve
	var x []float64
	for i := range groups {
		list := merged(groups[i], name)
		total, sum := 0.0, 0.0
		for _, b := range list {
			total += float64(b.Count)
		}
		if total == 0 {
			continue
		}
		c := curve{name: groups[i].Name(groups), class: i % colours, dots: true}
		for _, b := range list {
			if sum += float64(b.Count); b.To > 0 {
				c.points = append(c.points, Point{b.To, sum / total})
				x = append(x, b.To)
			}
		}
		curves = append(curves, c)
	}
	if curves == nil {
		return nil
	}
	return lines(title, says, over(unitOf(name), "time", true, x...), over("", "part no longer", false, 0, 1), curves, nil)
}

// byKind draws what crossed links, by kind, one bar a group.
func byKind(groups []Group) *drawing {
	var bars []bar
	sum := 0.0
	for i := range groups {
		for k, kind := range Kinds {
			if v := groups[i].Bytes[kind].Mean; v > 0 {
				bars = append(bars, bar{row: groups[i].Name(groups), name: kind, class: k % colours, value: v})
				sum += v
			}
		}
	}
	if sum == 0 {
		return nil
	}
	return rows("Bytes by kind", "Mean over seeds, of the whole cluster and time.", "bytes", "bytes that crossed links", bars, true)
}

// perFigure draws one figure of all groups, with intervals.
func perFigure(groups []Group, name, title, says string) *drawing {
	var bars []bar
	for i := range groups {
		if e := groups[i].Figures[name]; e.N > 0 {
			bars = append(bars, bar{row: groups[i].Name(groups), class: i % colours, value: e.Mean, half: e.Half})
		}
	}
	if bars == nil {
		return nil
	}
	return rows(title, says, unitOf(name), title, bars, false)
}

// overTime draws series, the first solid, the others dashed; of each the mean over seeds.
func (r *Result) overTime(groups []Group, title, says string, log bool, names ...string) *drawing {
	var curves []curve
	var y []float64
	end := r.Duration
	unit := unitOf(names[0])
	for i := range groups {
		for n, name := range names {
			c := curve{name: groups[i].Name(groups), class: i % colours, dashed: n > 0, points: mean(groups[i], name)}
			if len(c.points) == 0 {
				continue
			}
			if n > 0 {
				c.name += ", " + strings.TrimPrefix(name[strings.LastIndex(name, "_"):], "_")
			}
			for _, p := range c.points {
				y, end = append(y, p.Value), max(end, p.At)
			}
			curves = append(curves, c)
		}
	}
	if curves == nil {
		return nil
	}
	ys := over(unit, map[bool]string{true: "time", false: strings.ToLower(title)}[unit == "ms" || unit == "s"], log, y...)
	if names[0] == "availability" || names[0] == "up" || names[0] == "locality" {
		ys = over("", "part", false, 0, 1)
		if low := slices.Min(y); low > 0.2 && low <= 1 { // what is near 1 is seen
			ys.lo, ys.hi = math.Floor((low-0.02)*10)/10, 1.02
		}
	}
	return lines(title, says, over("s", "simulated time", false, end), ys, curves, r.Faults)
}

// mean is a series over a group's seeds, time by time.
func mean(g Group, name string) (list []Point) {
	sum, n := map[float64]float64{}, map[float64]float64{}
	for _, run := range g.Runs {
		for _, p := range run.Series[name] {
			sum[p.At] += p.Value
			n[p.At]++
		}
	}
	for _, at := range slices.Sorted(maps.Keys(sum)) {
		list = append(list, Point{at, sum[at] / n[at]})
	}
	return list
}

// others draws the series that have no place above.
func (r *Result) others(groups []Group, used map[string]bool) (plots []*drawing) {
	var names []string
	for _, x := range r.Runs {
		for name := range x.Series {
			if !used[name] {
				used[name] = true
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if base, ok := strings.CutSuffix(name, "_p99"); ok && used[base+"_p50"] {
			continue
		}
		list := []string{name}
		if base, ok := strings.CutSuffix(name, "_p50"); ok {
			list = append(list, base+"_p99")
		}
		plots = append(plots, r.overTime(groups, name, "", false, list...))
	}
	return plots
}
