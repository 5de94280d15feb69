package cost

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// Explained is why tasks were placed as they were. In JSON it is an object for the one task of a plain
// run; with each an array of such objects, in the order of the tasks, the reducer last.
type Explained struct {
	Each bool
	Of   []Explain
}

// MarshalJSON writes the object or the array.
func (e Explained) MarshalJSON() ([]byte, error) {
	if !e.Each && len(e.Of) == 1 {
		return json.Marshal(e.Of[0])
	}
	return json.Marshal(e.Of)
}

// UnmarshalJSON reads either.
func (e *Explained) UnmarshalJSON(b []byte) error {
	if e.Each = len(b) > 0 && b[0] == '['; e.Each {
		return json.Unmarshal(b, &e.Of)
	}
	e.Of = make([]Explain, 1)
	return json.Unmarshal(b, &e.Of[0])
}

// String renders it for a terminal.
func (e Explained) String() string {
	if !e.Each && len(e.Of) == 1 {
		return e.Of[0].String()
	}
	return Table(e.Of, tableTasks)
}

// tableTasks is how many tasks of a job String shows.
const tableTasks = 25

// tableWidth is the columns of Table.
const tableWidth = 100

// Table renders the decisions about many tasks: for each of the first n the chosen peer's terms and,
// under it, those of the runners-up; then each peer that was out, once for all tasks.
func Table(all []Explain, n int) string {
	var b strings.Builder
	if slices.ContainsFunc(all, func(e Explain) bool { return len(e.Choices) > len(e.Refused()) }) {
		b.WriteString("Why each task ran where it did, in expected seconds: > chosen, the other candidates, - passed over\n")
		fmt.Fprintf(&b, "%7s  %-8s%s\n", "task", "peer", termNames)
	}
	for _, e := range all[:min(len(all), n)] {
		name := string(e.Task)
		if _, sub, ok := strings.Cut(name, "/"); ok {
			name = sub
		}
		if len(e.Open()) == 0 {
			b.WriteString(clip(fmt.Sprintf("%7s  no peer takes it", name), tableWidth) + "\n")
			e.excluded(&b)
		}
		for i, c := range e.Choices[:len(e.Choices)-len(e.Refused())] {
			mark, note := " ", c.note(len(e.Open()) == 1)
			switch {
			case c.Chosen:
				mark = ">"
			case c.Passed != "":
				mark = "-"
			}
			if i > 0 || !c.Chosen {
				name = ""
			}
			line := fmt.Sprintf("%7s %s%-8s%s  %s", name, mark, c.Peer.Short(), c.columns(), note)
			b.WriteString(strings.TrimRight(clip(line, tableWidth), " ") + "\n")
		}
	}
	if more := len(all) - n; more > 0 {
		fmt.Fprintf(&b, "and %d more tasks: '--json' has them, and 'shoal task show' each\n", more)
	}
	outs(&b, all)
	return b.String()
}

// note says of a row what its terms do not.
func (c Choice) note(alone bool) string {
	switch {
	case c.Passed != "" && c.Holder:
		return "holds; " + c.Passed
	case c.Passed != "":
		return c.Passed
	case c.Holder:
		return "holds it"
	case alone:
		return "the only candidate"
	}
	return ""
}

// outs tells each refusal once, with the number of tasks that met it.
func outs(b *strings.Builder, all []Explain) {
	type reason struct {
		peer shoal.PeerID
		why  string
	}
	type met struct {
		c Choice
		n int
	}
	seen := map[reason]int{} // index into list
	var list []met
	for _, e := range all {
		for _, c := range e.Refused() {
			k := reason{c.Peer, c.Refusal}
			i, ok := seen[k]
			if !ok {
				i = len(list)
				seen[k] = i
				list = append(list, met{c: c})
			}
			list[i].n++
		}
	}
	slices.SortStableFunc(list, func(a, b met) int { return cmp.Compare(b.n, a.n) })
	for i, m := range list {
		if i == 2*shown {
			fmt.Fprintf(b, "  and %d more refusals\n", len(list)-i)
			return
		}
		of := "out"
		if len(all) > 1 {
			of = fmt.Sprintf("out of %d tasks", m.n)
		}
		wrap(b, "  "+m.c.out(of), "             ")
	}
}

// clip cuts a line to a width, and has nothing in it that would break the line.
func clip(line string, width int) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, line))
	return string(runes[:min(len(runes), width)])
}
