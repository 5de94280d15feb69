package match

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
)

// Needs are the requirements of a task, compiled once and checked against many members. It
// remembers verdicts by the version of a member's record; it is not safe for concurrent use.
type Needs struct {
	src    string
	prog   *expr.Program // nil: everything will do
	limits shoal.Limits
	moving bool // speaks of load, which changes without a new record
	known  map[shoal.PeerID]known
}

type known struct {
	seq uint64
	v   Verdict
}

// maxKnown bounds the verdicts remembered.
const maxKnown = 1 << 14

// Verdict is the answer for one member.
type Verdict struct {
	OK     bool
	Reason string // when not OK: the requirement that failed, with the member's value
	Retry  bool   // whether the same question may be answered otherwise later
}

// Compile reads the expression of 'run --needs'; "" asks for nothing. The error points at the fault.
func Compile(src string, limits shoal.Limits) (*Needs, error) {
	n := &Needs{src: src, limits: limits, known: map[shoal.PeerID]known{}}
	if strings.TrimSpace(src) == "" {
		return n, nil
	}
	prog, err := expr.Compile(src)
	if err != nil {
		return nil, err
	}
	n.prog, n.moving = prog, speaksOfLoad(src)
	return n, nil
}

// speaksOfLoad reports whether a text may name load, or what is free on a GPU.
func speaksOfLoad(s string) bool { return strings.Contains(s, "load") || strings.Contains(s, ".free") }

// Requirement is what a task of some code needs, in one expression: the executor that the code names, if it
// does, and what its owner asks for, which must compile by itself.
func Requirement(code cid.Cid, needs string) string {
	name, ok := shoal.ExecName(code)
	if !ok {
		return needs
	}
	exec := strconv.Quote(name) + " in executors"
	if strings.TrimSpace(needs) == "" {
		return exec
	}
	return exec + " && (" + needs + "\n)" // the line ends what may end in a comment
}

// Any reports whether every member's machine will do.
func (n *Needs) Any() bool { return n.prog == nil && n.limits.Memory == 0 }

// Indexes names what a directory can look up to find fitting members, the most telling first.
func (n *Needs) Indexes() []expr.Index {
	if n.prog == nil {
		return nil
	}
	return n.prog.Keys()
}

// Check says whether m may run the task at the given time. Members that are not alive are out; so
// are those whose machine or labels do not fit.
func (n *Needs) Check(m *shoal.Member, now time.Time) Verdict {
	switch m.State {
	case shoal.Alive, "":
	case shoal.Suspect, shoal.Down:
		silent := ""
		if !m.Seen.IsZero() {
			silent = fmt.Sprintf(": nothing heard for %v", max(now.Sub(m.Seen), 0).Round(100*time.Millisecond))
		}
		return Verdict{Reason: "it is " + string(m.State) + silent, Retry: true}
	default:
		return Verdict{Reason: "it has " + string(m.State) + " the fabric"}
	}
	return n.Fits(m)
}

// Fits is Check without regard to whether m is alive.
func (n *Needs) Fits(m *shoal.Member) Verdict {
	if n.Any() {
		return Verdict{OK: true}
	}
	if k, ok := n.known[m.ID]; ok && k.seq == m.Seq && !n.moving && m.Seq != 0 {
		return k.v
	}
	v := n.fits(m)
	if len(n.known) >= maxKnown {
		clear(n.known)
	}
	n.known[m.ID] = known{m.Seq, v}
	return v
}

func (n *Needs) fits(m *shoal.Member) Verdict {
	if have := m.Attributes.Memory; n.limits.Memory > have && have > 0 {
		return Verdict{Reason: fmt.Sprintf("the task may use %d MiB of memory, the machine has %d MiB",
			n.limits.Memory>>20, have>>20)}
	}
	if n.prog == nil {
		return Verdict{OK: true}
	}
	ok, reason, err := n.prog.Match(m)
	switch {
	case err != nil:
		return Verdict{Reason: "needs " + n.src + ": " + err.Error()}
	case !ok && reason == "":
		return Verdict{Reason: "needs " + n.src, Retry: n.moving}
	case !ok:
		return Verdict{Reason: reason, Retry: n.moving && speaksOfLoad(reason)}
	}
	return Verdict{OK: true}
}
