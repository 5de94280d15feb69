package scenario

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// checker looks at a Scenario whose values are each well formed, and fills in what depends on others.
type checker struct {
	*reader
	s *Scenario
	o Options
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*$`)

func (c *checker) all() {
	s := c.s
	if !nameForm.MatchString(s.Name) || len(s.Name) > 60 {
		c.fail("name", "'"+shorten(s.Name)+"' is no short name", "write letters, digits and dashes")
	}
	if c.o.Settle != nil {
		s.Settle = *c.o.Settle
	}
	c.seeds()
	c.regions()
	c.classes()
	if c.errs != nil {
		return // what follows speaks of nodes
	}
	c.data()
	c.crowds()
	if c.errs != nil {
		return
	}
	c.loads()
	c.faults()
	c.expectations()
}

func (c *checker) seeds() {
	if c.o.Seeds != nil {
		c.s.Seeds = c.o.Seeds
	}
	if c.o.Policies != nil {
		c.s.Policies = c.o.Policies
	}
	c.distinct("seeds", len(c.s.Seeds), func(i int) string { return fmt.Sprint(c.s.Seeds[i]) })
	c.distinct("policies", len(c.s.Policies), func(i int) string { return string(c.s.Policies[i]) })
}

// distinct wants some entries, no two alike.
func (c *checker) distinct(path string, n int, at func(int) string) {
	seen := map[string]bool{}
	for i := range n {
		if seen[at(i)] {
			c.fail(fmt.Sprintf("%s[%d]", path, i), "it is there twice", "leave one")
		}
		seen[at(i)] = true
	}
	if n == 0 {
		c.fail(path, "it is an empty list", "write one at least, or leave it out")
	}
}

// names wants names of their own.
func (c *checker) names(path string, n int, at func(int) string) {
	seen := map[string]bool{}
	for i := range n {
		name := at(i)
		switch p := fmt.Sprintf("%s[%d].name", path, i); {
		case !nameForm.MatchString(name) || len(name) > 60:
			c.fail(p, "'"+shorten(name)+"' is no short name", "write letters, digits and dashes")
		case seen[name]:
			c.fail(p, "another is called '"+name+"'", "give each a name of its own")
		}
		seen[name] = true
	}
}

func (c *checker) regions() {
	s := c.s
	if !c.has("regions") {
		s.Regions = []Region{{Name: "all", Share: 1}}
	}
	n := len(s.Regions)
	if n == 0 || n > 255 {
		c.fail("regions", fmt.Sprintf("there are %d", n), "write one to 255, or leave them out")
		return
	}
	c.names("regions", n, func(i int) string { return s.Regions[i].Name })
	c.shares()
	switch {
	case c.has("latency"):
		square(c, "latency", s.Latency, n)
	case n == 1:
		s.Latency = [][]Span{{time.Millisecond}}
	default:
		c.fail("latency", "it is missing", fmt.Sprintf("write a matrix of %d rows with %d durations each, one way", n, n))
	}
	if c.has("loss") {
		square(c, "loss", s.Loss, n)
		return
	}
	s.Loss = make([][]float64, n)
	for i := range s.Loss {
		s.Loss[i] = make([]float64, n)
	}
}

func square[T any](c *checker, path string, m [][]T, n int) {
	try := fmt.Sprintf("write %d rows with %d values each, as there are %s", n, n, many(n, "region"))
	if len(m) != n {
		c.fail(path, fmt.Sprintf("it has %s, not %d", many(len(m), "row"), n), try)
		return
	}
	for i, row := range m {
		if len(row) != n {
			c.fail(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("it has %s, not %d", many(len(row), "value"), n), try)
		}
	}
}

// shares gives each region a part of the nodes: those that name none have equal parts of what is left.
func (c *checker) shares() {
	left, silent := 1.0, 0
	for i, g := range c.s.Regions {
		if c.has(fmt.Sprintf("regions[%d].share", i)) {
			left -= g.Share
		} else {
			silent++
		}
	}
	if c.has("regions") && (left < -1e-3 || silent == 0 && left > 1e-3) {
		c.fail("regions", fmt.Sprintf("their shares add up to %.3g", 1-left), "make it 1, or leave some out for equal parts of the rest")
	}
	for i := range c.s.Regions {
		if c.has("regions") && !c.has(fmt.Sprintf("regions[%d].share", i)) {
			c.s.Regions[i].Share = max(left, 0) / float64(silent)
		}
	}
}

func (c *checker) classes() {
	s := c.s
	c.names("classes", len(s.Classes), func(i int) string { return s.Classes[i].Name })
	if len(s.Classes) > 255 {
		c.fail("classes", "there are more than 255", "join some")
		return
	}
	if s.Nodes() == 0 {
		c.fail("classes", "there are no nodes", "give a class a count of one at least")
		return
	}
	if c.o.Nodes > 0 {
		s.Scale(c.o.Nodes)
	}
	for i := range s.Classes {
		cl := &s.Classes[i]
		for j, name := range cl.Regions {
			if !slices.ContainsFunc(s.Regions, func(g Region) bool { return g.Name == name }) {
				c.fail(fmt.Sprintf("classes[%d].regions[%d]", i, j), "no region is called '"+shorten(name)+"'", nearest(name, c.regionNames()))
			}
		}
		for j := range cl.GPUs {
			if cl.GPUs[j].Rate == 0 {
				cl.GPUs[j].Rate = 100 * cl.Gas
			}
		}
	}
}

func (c *checker) regionNames() (list []string) {
	for _, g := range c.s.Regions {
		list = append(list, g.Name)
	}
	return list
}

// of returns how many nodes a class has, all for "", and whether there is such a class.
func (c *checker) of(path, class string) (n int, ok bool) {
	if class == "" {
		return c.s.Nodes(), true
	}
	var known []string
	for _, cl := range c.s.Classes {
		if cl.Name == class {
			return cl.Count, true
		}
		known = append(known, cl.Name)
	}
	c.fail(path, "no class is called '"+shorten(class)+"'", nearest(class, known))
	return 0, false
}

func (c *checker) data() {
	s := c.s
	c.names("data", len(s.Data), func(i int) string { return s.Data[i].Name })
	need, room := map[string]float64{}, map[string]float64{}
	parts := 0.0
	for _, cl := range s.Classes {
		room[cl.Name] = float64(cl.Disk) * float64(cl.Count)
		room[""] += room[cl.Name]
	}
	for i, d := range s.Data {
		path := fmt.Sprintf("data[%d]", i)
		if n, ok := c.of(path+".class", d.Class); ok && d.Replicas > n {
			c.fail(path+".replicas", fmt.Sprintf("%d copies cannot lie on %s", d.Replicas, many(n, "node")), fmt.Sprintf("write %d or less, or add nodes", n))
		}
		need[d.Class] += float64(d.Count) * float64(d.Bytes) * float64(d.Replicas)
		parts += float64(d.Count) * math.Ceil(float64(d.Bytes)/float64(d.Partition))
	}
	for _, class := range slices.Sorted(maps.Keys(need)) {
		if need[class] > room[class] {
			c.fail("data", fmt.Sprintf("all copies take %s, and the disks hold %s", shoal.Size(uint64(need[class])), shoal.Size(uint64(room[class]))),
				"write fewer bytes or replicas, or a larger disk for the class")
		}
	}
	if parts > 1e8 {
		c.fail("data", fmt.Sprintf("there are %.3g partitions", parts), "write a larger partition, or fewer bytes")
	}
}

func (c *checker) crowds() {
	s := c.s
	c.names("agents", len(s.Agents), func(i int) string { return s.Agents[i].Name })
	c.names("topics", len(s.Topics), func(i int) string { return s.Topics[i].Name })
	for i, a := range s.Agents {
		path := fmt.Sprintf("agents[%d]", i)
		if a.Replicas > s.Nodes() {
			c.fail(path+".replicas", fmt.Sprintf("%d keepers cannot be on %s", a.Replicas, many(s.Nodes(), "node")), fmt.Sprintf("write %d or less, or add nodes", s.Nodes()))
		}
		if a.Reads != "" && !slices.ContainsFunc(s.Data, func(d Dataset) bool { return d.Name == a.Reads }) {
			c.fail(path+".reads", "no dataset is called '"+shorten(a.Reads)+"'", nearest(a.Reads, c.family(Find)))
		}
		if a.Read > 0 && a.Reads == "" {
			c.fail(path+".read_bytes", "it does not say of which dataset", "add reads: the name of one")
		}
	}
	for i, t := range s.Topics {
		if t.Subscribers > s.Nodes() {
			c.fail(fmt.Sprintf("topics[%d].subscribers", i), fmt.Sprintf("%d cannot be on %s", t.Subscribers, many(s.Nodes(), "node")), fmt.Sprintf("write %d or less, or add nodes", s.Nodes()))
		}
	}
}

// family lists the names of what a load can be about.
func (c *checker) family(ask string) (list []string) {
	switch ask {
	case Find, Task:
		for _, d := range c.s.Data {
			list = append(list, d.Name)
		}
	case Call, Read:
		for _, a := range c.s.Agents {
			list = append(list, a.Name)
		}
	case Publish:
		for _, t := range c.s.Topics {
			list = append(list, t.Name)
		}
	}
	return list
}

func (c *checker) expectations() {
	for i := range c.s.Expect {
		e := &c.s.Expect[i]
		path := fmt.Sprintf("expect[%d]", i)
		figure, policy, _ := strings.Cut(e.Figure, " of ")
		if policy == "fluid" {
			policy = ""
		}
		if strings.Contains(e.Figure, " of ") && !slices.ContainsFunc(c.s.Policies, func(p policyName) bool { return string(p) == policy }) {
			c.fail(path, "the scenario does not run that policy", "add it to policies")
		}
		if c.o.Figures == nil {
			continue
		}
		unit, ok := c.o.Figures[figure]
		written := unitOf(e.Text)
		switch {
		case !ok:
			c.fail(path, "there is no figure '"+figure+"'", nearest(figure, slices.Sorted(maps.Keys(c.o.Figures))))
		case written == "s" && unit == "ms":
			e.Value *= 1000
		case written != "" && written != unit:
			c.fail(path, "its unit is not that of "+figure, "write a plain number"+map[bool]string{true: ", in " + unit}[unit != ""])
		}
	}
}

func many(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprint(n, " ", word)
}

// Attributes returns what a node of the class says of its machine, as requirements see it.
func (c *Class) Attributes() shoal.Attributes {
	a := shoal.Attributes{
		OS: "linux", Arch: "amd64", CPUs: c.Cores, Memory: uint64(c.Memory), Disk: uint64(c.Disk), Labels: c.Labels,
		CPU: shoal.CPU{Cores: c.Cores}, Rates: shoal.Rates{Gas: c.Gas, Disk: float64(c.DiskRate) / 1e9}, HashMBs: c.HashMBs(),
	}
	for _, g := range c.GPUs {
		for range g.Count {
			a.GPUs = append(a.GPUs, shoal.GPU{Vendor: g.Vendor, Model: g.Model, Memory: uint64(g.Memory), ID: fmt.Sprint("gpu-", len(a.GPUs))})
		}
	}
	return a
}

// HashMBs is the speed of a core, as nodes measure it, of one that spends so much gas a second: the usual one has both usual figures.
func (c *Class) HashMBs() float64 { return cmp.Or(c.Gas, 1e9) / 1e9 * cost.DefaultHashMBs }

// Compile is how long a node of the class takes to compile a module of so many bytes, in both storeys: what the costs of placement
// say of it.
func (c *Class) Compile(code uint64) time.Duration {
	return time.Duration(cost.Compiling(code, c.HashMBs()) * float64(time.Second))
}

// place wants a class that has what a task needs.
func (c *checker) place(path string, w *Work) {
	p, err := expr.Compile(w.Needs)
	if err != nil {
		var e *shoal.Error
		if e, _ = err.(*shoal.Error); e == nil {
			e = shoal.E(shoal.Invalid, "", err.Error(), "")
		}
		c.fail(path+".needs", e.Why, e.Try)
		return
	}
	why := "no class has nodes"
	for i := range c.s.Classes {
		cl := &c.s.Classes[i]
		if cl.Count == 0 {
			continue
		}
		if w.GPU && len(cl.GPUs) == 0 {
			why = "no class has GPUs"
			continue
		}
		m := &shoal.Member{State: shoal.Alive, Attributes: cl.Attributes(), Load: shoal.Load{Slots: cl.Cores, DiskFree: uint64(cl.Disk)}}
		for _, g := range m.Attributes.GPUs {
			m.Load.GPUs = append(m.Load.GPUs, shoal.GPULoad{ID: g.ID, Free: g.Memory})
		}
		ok, reason, err := p.Match(m)
		if err == nil && ok {
			return
		}
		if err != nil {
			reason = err.Error()
		}
		why = "no class can be placed on; of class " + cl.Name + ": " + reason
	}
	c.fail(path+map[bool]string{true: ".gpu", false: ".needs"}[w.Needs == ""], why, "ask for less, or add a class of nodes that has it")
}
