package scenario

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal/scheduler/cost"
)

type policyName = cost.Policy

func (c *checker) loads() {
	s := c.s
	names := map[string]int{}
	for i := range s.Load {
		l := &s.Load[i]
		path := fmt.Sprintf("load[%d]", i)
		explicit := l.Name != ""
		if !explicit {
			l.Name = l.Ask
			if n := names[l.Ask]; n > 0 {
				l.Name = fmt.Sprint(l.Ask, "-", n+1)
			}
			names[l.Ask]++
		}
		if explicit && !nameForm.MatchString(l.Name) {
			c.fail(path+".name", "'"+shorten(l.Name)+"' is no short name", "write letters, digits and dashes")
		}
		if slices.ContainsFunc(s.Load[:i], func(o Load) bool { return o.Name == l.Name }) {
			c.fail(path+".name", "another load is called '"+l.Name+"'", "give each a name of its own")
		}
		c.about(path, l)
		c.of(path+".from", l.From)
		c.when(path, l)
		if l.Ask == Task {
			c.place(path+".task", &l.Work)
		} else if c.has(path + ".task") {
			c.fail(path+".task", "it asks for "+l.Ask+", not for a task", "leave it out")
		}
	}
}

// about resolves what the load is on.
func (c *checker) about(path string, l *Load) {
	known := c.family(l.Ask)
	switch l.Ask {
	case Find, Task, Call, Read, Publish:
		word := map[string]string{Call: "agents", Read: "agents", Publish: "topics"}[l.Ask]
		if word == "" {
			word = "data"
		}
		switch {
		case len(known) == 0:
			c.fail(path+".ask", "it asks for "+l.Ask+", and the scenario has no "+word, "add "+word)
		case l.On == "":
			l.On = known[0]
		case !slices.Contains(known, l.On):
			c.fail(path+".on", "nothing in "+word+" is called '"+shorten(l.On)+"'", nearest(l.On, known))
		}
	default:
		if l.On != "" {
			c.fail(path+".on", "asking for "+l.Ask+" is about nothing else", "leave it out")
		}
	}
	if l.Ask == FindGPU && !slices.ContainsFunc(c.s.Classes, func(cl Class) bool { return len(cl.GPUs) > 0 && cl.Count > 0 }) {
		c.fail(path+".ask", "it asks for a GPU, and no class has one", "add gpus to a class")
	}
}

// when looks at how often the load asks.
func (c *checker) when(path string, l *Load) {
	var ways []string
	for _, w := range []string{"rate", "burst", "trace"} {
		if c.has(path + "." + w) {
			ways = append(ways, w)
		}
	}
	switch {
	case len(ways) == 0:
		c.fail(path, "it does not say how often", "add rate, burst or trace")
	case len(ways) > 1:
		c.fail(path+"."+ways[1], "it has "+strings.Join(ways, " and "), "leave one of them")
	case ways[0] == "rate" && l.Rate == 0:
		c.fail(path+".rate", "it is 0", "write how many a second, or leave the load out")
	}
	if l.Daily != nil && len(ways) == 1 && ways[0] != "rate" {
		c.fail(path+".daily", "it is for a rate", "write rate in place of "+ways[0])
	}
	if !c.has(path + ".end") {
		l.End = c.s.Duration
	}
	switch {
	case l.End > c.s.Duration:
		c.fail(path+".end", fmt.Sprintf("it is later than the scenario's duration, %v", c.s.Duration), "write an earlier one, or leave it out")
	case l.Begin >= l.End:
		c.fail(path+".begin", fmt.Sprintf("it is not before the end, %v", l.End), "write an earlier one")
	}
	if l.Trace != "" {
		c.trace(path+".trace", l)
	}
}

func (c *checker) faults() {
	s := c.s
	for i := range s.Faults {
		f := &s.Faults[i]
		path := fmt.Sprintf("faults[%d]", i)
		total := s.Duration + s.Settle
		if !c.has(path + ".for") {
			f.For = max(s.Duration-f.At, 0)
		}
		switch {
		case f.At >= s.Duration:
			c.fail(path+".at", fmt.Sprintf("it begins after the scenario's duration, %v", s.Duration), "write an earlier one")
		case f.At+f.For > total:
			c.fail(path+".for", fmt.Sprintf("it ends at %v, after the scenario does, at %v", f.At+f.For, total), "write a shorter one, or leave it out")
		case f.For <= 0 && f.Kind != ClockStep:
			c.fail(path+".for", "it lasts for no time", "write how long, or leave it out")
		}
		n, ok := c.of(path+".class", f.Class)
		if f.Region != "" && !slices.Contains(c.regionNames(), f.Region) {
			c.fail(path+".region", "no region is called '"+shorten(f.Region)+"'", nearest(f.Region, c.regionNames()))
		}
		switch {
		case c.has(path+".nodes") && c.has(path+".share"):
			c.fail(path+".share", "it has nodes as well", "leave one of them")
		case c.has(path+".nodes") && f.Nodes == 0, c.has(path+".share") && f.Share == 0:
			c.fail(path, "it concerns no node", "write share or nodes, or leave both out for all")
		case ok && f.Nodes > n:
			c.fail(path+".nodes", fmt.Sprintf("there are only %s", many(n, "node")), "write fewer")
		case f.Nodes == 0 && !c.has(path+".share"):
			f.Share = 1
		}
		c.belongs(path, "session", f.Kind == Churn, f.Session != 0)
		c.belongs(path, "step", f.Kind == ClockStep, f.Step != 0)
		if c.has(path+".downtime") && f.Kind != Churn {
			c.fail(path+".downtime", "it is of churn", "leave it out of "+f.Kind)
		}
		if c.has(path+".factor") && !strings.HasPrefix(f.Kind, "slow-") {
			c.fail(path+".factor", "it is of what is slow", "leave it out of "+f.Kind)
		}
	}
}

// belongs wants a field in faults of one kind, and not in others.
func (c *checker) belongs(path, name string, wanted, there bool) {
	switch {
	case wanted && !there:
		c.fail(path+"."+name, "it is missing", "write how long, such as 30m")
	case !wanted && c.has(path+"."+name):
		c.fail(path+"."+name, "it is of another kind of fault", "leave it out")
	}
}
