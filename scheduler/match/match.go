package match

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
)

// Needs are the requirements of a task, compiled once and checked against many members. It remembers verdicts: on single
// members by the version of their record, on the rows of a table, of which there should be only one, by the
// version of what the requirements speak of: of the machine, and only if they speak of load, of the whole
// record. Any number of goroutines may use it.
type Needs struct {
	src    string
	prog   *expr.Program // nil: everything will do
	limits shoal.Limits
	moving bool // speaks of load

	mu      sync.Mutex
	single  map[shoal.PeerID]single
	known   []known // by row
	version uint64  // of the rows that fit was made from
	fit     []int32 // rows that fit and are alive
	reasons []told  // of the first rows that are out, in their order
}

// known is the verdict on a row's version.
type known struct {
	version uint64 // 0: none
	fits    bool
}

type single struct {
	seq uint64
	of  shoal.Attributes // a peer that joined anew may count from the start
	v   Verdict
}

// maxSingle bounds the verdicts on single members.
const maxSingle = 1 << 14

type told struct {
	row int32
	why Verdict
	rec uint64 // version of the row's record
}

// Verdict is the answer for one member.
type Verdict struct {
	OK     bool
	Reason string // when not OK: the requirement that failed, with the member's value
	Clause string // the part of the requirement, or another thing, that keeps it out
	Retry  bool   // whether the same question may be answered otherwise later
}

// Out is one thing that keeps members out, and how many.
type Out struct {
	Clause string
	Peers  int
	Retry  bool // waiting may help
}

// Excluded counts those of some members that are out, by what keeps them out: the first clause of the requirement that does,
// that they do not answer, or too little memory. Those that left are no members any more. The most first.
func (n *Needs) Excluded(members iter.Seq[*shoal.Member], now time.Time) (list []Out) {
	at := map[Out]int{}
	for m := range members {
		if m.State == shoal.Left || m.State == shoal.Forgotten {
			continue
		}
		v := n.judge(m, now)
		if v.OK {
			continue
		}
		at[Out{Clause: v.Clause, Retry: v.Retry}]++
	}
	return sorted(at)
}

// Count is Excluded, of verdicts that were passed.
func Count(verdicts iter.Seq[Verdict]) []Out {
	at := map[Out]int{}
	for v := range verdicts {
		if !v.OK {
			at[Out{Clause: v.Clause, Retry: v.Retry}]++
		}
	}
	return sorted(at)
}

func sorted(at map[Out]int) (list []Out) {
	for o, peers := range at {
		o.Peers = peers
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b Out) int { return cmp.Or(cmp.Compare(b.Peers, a.Peers), cmp.Compare(a.Clause, b.Clause)) })
	return list
}

// Compile reads the expression of 'run --needs'; "" asks for nothing. The error points at the fault.
func Compile(src string, limits shoal.Limits) (*Needs, error) {
	n := &Needs{src: src, limits: limits, single: map[shoal.PeerID]single{}}
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

// MaxTold bounds the refusals that Scan gives reasons for.
const MaxTold = 16

// Refused is a row that is out, and why.
type Refused struct {
	Peer shoal.PeerID
	Why  Verdict
}

// Scan returns the rows that are alive and fit, as indexes into rows.List, in its order, and the first rows that are
// out, at most MaxTold. Only rows that changed since the last Scan are looked at anew. The caller must not change
// what it gets.
func (n *Needs) Scan(rows Rows, now time.Time) (fit []int32, out []Refused) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.version != rows.Version || rows.Version == 0 {
		n.scan(rows, now)
	}
	out = make([]Refused, len(n.reasons))
	for i, r := range n.reasons {
		out[i] = Refused{rows.List[r.row].ID, r.why}
	}
	return n.fit, out
}

// scan brings fit and reasons up to date. The lock is held.
func (n *Needs) scan(rows Rows, now time.Time) {
	if have := len(n.known); have < len(rows.List) {
		n.known = append(n.known, make([]known, len(rows.List)-have)...)
	}
	n.known = n.known[:len(rows.List)]
	fit := make([]int32, 0, max(len(n.fit), 8)) // the old list may still be read
	old := n.reasons
	n.reasons = make([]told, 0, len(old))
	for i, r := range rows.List {
		if (r.State == shoal.Alive || r.State == "") && n.knows(i, r) {
			fit = append(fit, int32(i))
			continue
		}
		for len(old) > 0 && old[0].row < int32(i) {
			old = old[1:]
		}
		switch {
		case len(n.reasons) == MaxTold:
		case len(old) > 0 && old[0].row == int32(i) && old[0].rec == r.record:
			n.reasons = append(n.reasons, old[0])
		default:
			n.reasons = append(n.reasons, told{int32(i), n.judge(&r.Member, now), r.record})
		}
	}
	n.fit, n.version = fit, rows.Version
}

// knows reports whether a row fits, from memory if it can.
func (n *Needs) knows(i int, r *Row) bool {
	if n.Any() {
		return true
	}
	version := r.machine
	if n.moving {
		version = r.record
	}
	if k := n.known[i]; k.version == version {
		return k.fits
	}
	fits := n.fits(&r.Member)
	n.known[i] = known{version, fits}
	return fits
}

// Check says whether m may run the task at the given time. Members that are not alive are out; so
// are those whose machine or labels do not fit.
func (n *Needs) Check(m *shoal.Member, now time.Time) Verdict {
	if n.moving || m.Seq == 0 || n.Any() || m.State != shoal.Alive && m.State != "" {
		return n.judge(m, now)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if k, ok := n.single[m.ID]; ok && k.seq == m.Seq && k.of.Equal(m.Attributes) {
		return k.v
	}
	v := n.judge(m, now)
	if len(n.single) >= maxSingle {
		clear(n.single)
	}
	n.single[m.ID] = single{m.Seq, m.Attributes, v}
	return v
}

// judge is Check without memory.
func (n *Needs) judge(m *shoal.Member, now time.Time) Verdict {
	switch m.State {
	case shoal.Alive, "":
	case shoal.Suspect, shoal.Down:
		silent := ""
		if !m.Seen.IsZero() {
			silent = fmt.Sprintf(": nothing heard for %v", max(now.Sub(m.Seen), 0).Round(100*time.Millisecond))
		}
		return Verdict{Reason: "it is " + string(m.State) + silent, Clause: "that it answers", Retry: true}
	default:
		return Verdict{Reason: "it has " + string(m.State) + " the fabric", Clause: "that it is a member"}
	}
	if n.small(m) {
		return Verdict{Reason: fmt.Sprintf("the task may use %d MiB of memory, the machine has %d MiB",
			n.limits.Memory>>20, m.Attributes.Memory>>20), Clause: fmt.Sprintf("%d MiB of memory", n.limits.Memory>>20)}
	}
	if n.prog == nil {
		return Verdict{OK: true}
	}
	ok, reason, err := n.prog.Match(m)
	switch {
	case err != nil:
		return Verdict{Reason: "needs " + n.src + ": " + err.Error(), Clause: n.src}
	case !ok && reason == "":
		return Verdict{Reason: "needs " + n.src, Clause: n.src, Retry: n.moving}
	case !ok:
		return Verdict{Reason: reason, Clause: cmp.Or(n.prog.Clause(m), n.src), Retry: n.moving && speaksOfLoad(reason)}
	}
	return Verdict{OK: true}
}

// fits is verdict without a reason, which takes longer to write than the answer to find.
func (n *Needs) fits(m *shoal.Member) bool {
	return !n.small(m) && (n.prog == nil || n.prog.Fits(m))
}

func (n *Needs) small(m *shoal.Member) bool {
	return n.limits.Memory > m.Attributes.Memory && m.Attributes.Memory > 0
}
