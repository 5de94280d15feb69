package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
)

//go:embed page.html
var pageText string

// colours is how many there are; what is more begins again.
const colours = 8

// page is what the template shows.
type page struct {
	Title, About, Line, Sum, Version, Leaves string
	Cut                                      bool
	Colours                                  []struct{}
	Expect                                   []expectation
	Broken                                   []string
	Checks                                   []checked
	Sections                                 []section
	Columns                                  []string
	Figures                                  []figureRow
	Runs                                     []runRow
}

type expectation struct {
	Text    string
	Unmet   []string
	Unknown bool
}

type checked struct {
	Figure, Policy, World, Model, Diff, Band, Verdict string
	Inside                                            bool
}

type section struct {
	Title, Says string
	Plots       []picture
}

type picture struct {
	Title, Says string
	SVG         template.HTML // drawn by this package, with every text escaped
}

type figureRow struct {
	Name, Says string
	Values     []string
}

type runRow struct{ Storey, Policy, Seed, Trace, Events, Wall, Memory string }

// draw makes a section's plots, numbered on from n, out of drawings; those that are nil are left out.
func (p *page) draw(title, says string, plots ...*drawing) {
	s := section{Title: title, Says: says}
	for _, d := range plots {
		if d != nil {
			id := fmt.Sprintf("p%d-%d", len(p.Sections), len(s.Plots))
			s.Plots = append(s.Plots, picture{Title: d.title, Says: d.says, SVG: template.HTML(d.svg(id))})
		}
	}
	if len(s.Plots) > 0 {
		p.Sections = append(p.Sections, s)
	}
}

// render fills the template.
func (p *page) render() ([]byte, error) {
	p.Colours = make([]struct{}, colours)
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, p)
	return b.Bytes(), err
}

// HTML is the report as one file that needs no other, and no network.
func (r *Result) HTML() ([]byte, error) {
	groups := r.Groups()
	p := &page{Title: r.Scenario, About: r.About, Cut: r.Cut, Sum: r.Sum, Version: r.Version, Broken: r.Broken()}
	seeds := map[uint64]bool{}
	for _, x := range r.Runs {
		seeds[x.Seed] = true
	}
	p.Line = fmt.Sprintf("%s nodes, %s simulated, %s over %s", thousands(uint64(r.Nodes)), seconds(r.Duration), many(len(r.Runs), "run"), many(len(seeds), "seed"))
	for _, e := range r.Expect {
		x := expectation{Text: e, Unknown: !slices.ContainsFunc(r.Runs, func(x Run) bool { return !x.Cut })}
		for _, u := range r.Unmet {
			if u.Expect == e {
				x.Unmet = append(x.Unmet, strings.TrimPrefix(u.String(), "not as expected: "+e+": "))
			}
		}
		x.Unmet = capped(x.Unmet, 10)
		p.Expect = append(p.Expect, x)
	}
	for _, c := range Storeys(r, Bands) {
		p.Checks = append(p.Checks, c.row())
	}
	r.plots(p, groups)
	for i := range groups {
		p.Columns = append(p.Columns, groups[i].Name(groups))
	}
	for _, f := range Names {
		row := figureRow{Name: f.Name, Says: f.Says}
		there := false
		for _, g := range groups {
			e := g.Figures[f.Name]
			there = there || e.N > 0
			row.Values = append(row.Values, e.text(f.Unit))
		}
		if there {
			p.Figures = append(p.Figures, row)
		}
	}
	for _, x := range r.Runs {
		p.Runs = append(p.Runs, runRow{
			x.Storey, PolicyName(x.Policy), fmt.Sprint(x.Seed), x.Trace, thousands(x.Events), seconds(x.Wall), bytesOf(float64(x.RSS)),
		})
		if x.Storey == Model && p.Leaves == "" {
			var words []string
			for _, name := range slices.Sorted(maps.Keys(x.Leaves)) {
				words = append(words, name+" "+thousands(x.Leaves[name]))
			}
			p.Leaves = strings.Join(words, ", ")
		}
	}
	return p.render()
}

func (c Check) row() checked {
	unit := unitOf(c.Figure)
	out := checked{
		Figure: c.Figure, Policy: c.Policy, World: c.World.text(unit), Model: c.Model.text(unit), Inside: c.Inside,
		Diff: fmt.Sprintf("%s ± %.1f %%", percent(c.Diff), 100*c.Half), Band: fmt.Sprintf("±%.0f %%", 100*c.Band), Verdict: "inside",
	}
	switch {
	case c.Why != "":
		out.Verdict, out.Diff = c.Why, percent(c.Diff)
	case !c.Inside:
		out.Verdict = "outside"
	}
	return out
}
