package cost

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// Choice is one candidate as the decision saw it.
type Choice struct {
	Peer    shoal.PeerID `cbor:"peer" json:"peer_id"`
	Terms   Terms        `cbor:"terms" json:"terms"`
	Total   float64      `cbor:"total" json:"total_s"`
	Holder  bool         `cbor:"holder" json:"holder"` // it has all inputs
	Room    bool         `cbor:"room" json:"room"`     // it has a free slot
	Chosen  bool         `cbor:"chosen" json:"chosen"`
	Ahead   int          `cbor:"ahead,omitempty" json:"ahead"`                  // tasks that wait before it
	Moves   uint64       `cbor:"moves,omitempty" json:"moves_bytes"`            // of code and data, that it lacks
	Doubt   float64      `cbor:"doubt,omitempty" json:"doubt_s,omitempty"`      // of the latency: it lost tasks that it had offered to take
	Age     float64      `cbor:"age" json:"age_s"`                              // of the facts, seconds
	Passed  string       `cbor:"passed,omitempty" json:"passed_over,omitempty"` // why it was no candidate though it fits
	Refusal string       `cbor:"refusal,omitempty" json:"refusal,omitempty"`    // why it does not fit, or would not take it
	Weighed float64      `cbor:"weighed,omitempty" json:"weighed_s"`            // what decides: the total, and what the transfer takes from others
	Retry   bool         `cbor:"retry,omitempty" json:"retry,omitempty"`        // whether asking again later may help
}

// Explain tells a decision: the chosen peer first, then the other candidates by cost, those that were
// passed over, and the refusals.
type Explain struct {
	Task    shoal.TaskID `cbor:"task" json:"task"`
	Choices []Choice     `cbor:"choices" json:"choices"`
	More    int          `cbor:"more,omitempty" json:"left_out,omitempty"` // rows that Brief left out
	Out     []Out        `cbor:"out,omitempty" json:"excluded,omitempty"`  // of a task that nobody takes: what keeps how many members out
}

// Out is a clause of a requirement, or another thing that keeps members out.
type Out struct {
	Clause string `cbor:"clause" json:"clause"`
	Peers  int    `cbor:"peers" json:"peers"`
	Retry  bool   `cbor:"retry,omitempty" json:"waiting_may_help"`
}

// Chosen returns the chosen peer's row, or false.
func (e Explain) Chosen() (Choice, bool) {
	if len(e.Choices) > 0 && e.Choices[0].Chosen {
		return e.Choices[0], true
	}
	return Choice{}, false
}

// Open returns the rows of the candidates, the chosen one first.
func (e Explain) Open() []Choice {
	for i, c := range e.Choices {
		if c.Passed != "" || c.Refusal != "" {
			return e.Choices[:i]
		}
	}
	return e.Choices
}

// Passed returns the rows of the peers that fit and could not be chosen.
func (e Explain) Passed() []Choice {
	return e.Choices[len(e.Open()) : len(e.Choices)-len(e.Refused())]
}

// Refused returns the rows of the peers that are out.
func (e Explain) Refused() []Choice {
	for i, c := range e.Choices {
		if c.Refusal != "" {
			return e.Choices[i:]
		}
	}
	return nil
}

// Brief keeps n rows of peers that fit and n refusals. It shares nothing with e.
func (e Explain) Brief(n int) Explain {
	refused := e.Refused()
	fit := e.Choices[:len(e.Choices)-len(refused)]
	all := len(e.Choices)
	e.Choices = slices.Concat(fit[:min(len(fit), n)], refused[:min(len(refused), n)])
	e.More += all - len(e.Choices)
	return e
}

// shown is how many peers of a kind String prints; JSON has them all.
const shown = 8

// String renders the decision for a terminal of 80 columns.
func (e Explain) String() string {
	var b strings.Builder
	name := string(e.Task)
	if name == "" {
		name = "the task"
	}
	open, passed := e.Open(), e.Passed()
	if c, ok := e.Chosen(); ok {
		why := "the cheapest"
		switch {
		case c.Holder:
			why = "it holds the data"
		case len(open) == 1:
			why = "the only candidate"
		case slices.ContainsFunc(open, func(o Choice) bool { return o.Total < c.Total && o.Moves > c.Moves }):
			why = "less has to move than for the cheapest"
		}
		wrap(&b, fmt.Sprintf("%s runs on %s: %s, %s expected", name, c.Peer.Short(), why, Seconds(c.Total)), "  ")
	} else {
		wrap(&b, name+": no peer takes it", "  ")
	}
	if len(open)+len(passed) > 0 {
		fmt.Fprintf(&b, "  %-8s%s  %s\n", "peer", termNames, "data?")
	}
	for i, c := range open {
		if i == shown {
			fmt.Fprintf(&b, "  and %d more\n", len(open)-shown)
			break
		}
		mark := " "
		if c.Chosen {
			mark = ">"
		}
		fmt.Fprintf(&b, "%s %-8s%s  %s\n", mark, c.Peer.Short(), c.columns(), c.held())
	}
	passed = passed[:min(len(passed), shown)]
	for _, c := range passed {
		fmt.Fprintf(&b, "- %-8s%s  %s\n", c.Peer.Short(), c.columns(), c.held())
	}
	for _, c := range passed {
		wrap(&b, fmt.Sprintf("- %-8s passed over: %s", c.Peer.Short(), c.Passed), "             ")
	}
	e.excluded(&b)
	for i, c := range e.Refused() {
		if i == 2*shown {
			fmt.Fprintf(&b, "  and %d more refusals\n", len(e.Refused())-i)
			break
		}
		wrap(&b, "  "+c.out("out"), "             ")
	}
	return b.String()
}

// excluded is the table of what keeps how many members out.
func (e Explain) excluded(b *strings.Builder) {
	if len(e.Out) == 0 {
		return
	}
	const width = 48
	fmt.Fprintf(b, "  %-*s  %5s  %s\n", width, "kept out by", "peers", "waiting may help")
	for i, o := range e.Out {
		if i == 2*shown {
			fmt.Fprintf(b, "  and %d more\n", len(e.Out)-i)
			break
		}
		clause := []rune(strings.Join(strings.Fields(o.Clause), " "))
		if len(clause) > width {
			clause = append(clause[:width-3], '.', '.', '.')
		}
		may := "no"
		if o.Retry {
			may = "yes"
		}
		fmt.Fprintf(b, "  %-*s  %5d  %s\n", width, string(clause), o.Peers, may)
	}
}

// termNames are the headings of columns.
const termNames = "   total    wait    code    data compile    work latency"

// columns are the terms, in 56 columns.
func (c Choice) columns() string {
	t := c.Terms
	var b strings.Builder
	for _, v := range []float64{c.Total, t.Wait, t.Code, t.Data, t.Compile, t.Work, t.Latency} {
		fmt.Fprintf(&b, "%8s", Seconds(v))
	}
	return b.String()
}

func (c Choice) held() string {
	if c.Holder {
		return "holds"
	}
	return "-"
}

// out says why a peer is out, of what.
func (c Choice) out(of string) string {
	retry := "a retry cannot help"
	if c.Retry {
		retry = "a retry may help"
	}
	return fmt.Sprintf("%-8s %s: %s (%s)", c.Peer.Short(), of, c.Refusal, retry)
}

// Seconds renders a duration in at most seven columns.
func Seconds(s float64) string {
	switch {
	case s == 0:
		return "0"
	case s < 0.0995:
		return fmt.Sprintf("%.1fms", s*1e3)
	case s < 0.9995:
		return fmt.Sprintf("%.0fms", s*1e3)
	case s < 99.95:
		return fmt.Sprintf("%.1fs", s)
	case s < 99999:
		return fmt.Sprintf("%.0fs", s)
	}
	return fmt.Sprintf("%.0es", s)
}

// wrap writes text in lines of at most 79 columns; lines after the first start with indent.
func wrap(b *strings.Builder, text, indent string) {
	const width = 79
	runes := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text))
	for first := true; len(runes) > 0; first = false {
		room := width
		if !first {
			b.WriteString(indent)
			room -= len(indent)
		}
		if len(runes) <= room {
			b.WriteString(string(runes))
			break
		}
		cut := room
		for i := room; i > room/2; i-- {
			if runes[i] == ' ' {
				cut = i
				break
			}
		}
		b.WriteString(strings.TrimRight(string(runes[:cut]), " ") + "\n")
		runes = runes[cut:]
		for len(runes) > 0 && runes[0] == ' ' {
			runes = runes[1:]
		}
	}
	b.WriteString("\n")
}
