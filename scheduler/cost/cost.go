package cost

import (
	"cmp"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// What stands in for a rate that was not measured yet.
const (
	DefaultRate     = 50e6                  // bytes/s of a link
	DefaultRTT      = 20 * time.Millisecond // of a link
	DefaultTaskSecs = 1.0                   // mean run time on a peer that has a queue and no history
	DefaultHashMBs  = 1000.0                // speed of a core
	CompileRate     = 5e6                   // bytes of WebAssembly compiled per second on such a core
)

// Pull is how much more than its own time each second on a link is taken to cost: while it carries one thing it carries
// nothing else, at either end. It keeps work with its data, and has the smaller of code and data move, wherever the times are about
// equal.
const Pull = 2.0

// Trips is how many round trips it takes until the first bytes of what is fetched arrive.
const Trips = 2

// Facts are what a task needs, the same for every candidate.
type Facts struct {
	Task shoal.TaskID
	Code uint64  // bytes of the module
	Body uint64  // bytes of it that are compiled, 0 unknown: all
	Data uint64  // bytes of all inputs
	Base float64 // seconds that a compilation takes besides what its size takes, 0 unknown
	Work float64 // expected effort: seconds times HashMBs of the core that took them; 0 unknown
	Seed uint64  // of the order among equals

	Policy Policy // for comparisons; Fluid: what costs least
}

// Peer is what is known of one candidate.
type Peer struct {
	ID       shoal.PeerID
	Self     bool // the node that decides: nothing crosses a wire
	Slots    int
	Running  int
	Queued   int     // its queue and what this node has sent there since it said so
	TaskSecs float64 // mean run time of its recent tasks, 0 unknown
	Code     uint64  // bytes of the module it lacks
	Data     uint64  // bytes of input it lacks
	Rate     float64 // bytes/s at which they would come, 0 unknown
	RTT      time.Duration
	Reach    time.Duration // round trip between it and who has the inputs, 0 unknown
	Compiled bool
	HashMBs  float64       // speed of its cores, 0 unknown
	Age      time.Duration // of these facts
	Silent   time.Duration // how long it was asked in vain; added to the latency
	Doubt    float64       // seconds: it offered to take tasks and did not run them; added to the latency
	Passed   string        // why it cannot be chosen though it fits; "" for a candidate
}

// Room reports whether one of the peer's slots is free.
func (p Peer) Room() bool { return p.Running+p.Queued < max(p.Slots, 1) }

// Terms are the parts of a cost, in seconds.
type Terms struct {
	Wait    float64 `cbor:"wait" json:"wait_s"`
	Code    float64 `cbor:"code" json:"code_s"`
	Data    float64 `cbor:"data" json:"data_s"`
	Compile float64 `cbor:"compile" json:"compile_s"`
	Work    float64 `cbor:"work" json:"work_s"`
	Latency float64 `cbor:"latency" json:"latency_s"`
}

// Total is the sum of all terms.
func (t Terms) Total() float64 {
	return t.Wait + t.Code + t.Data + t.Compile + t.Work + t.Latency
}

// Of is the cost of running the task on p. Every term is finite and not negative.
func Of(p Peer, f Facts) Terms {
	var t Terms
	slots := max(p.Slots, 1)
	if ahead := max(p.Running, 0) + max(p.Queued, 0) - slots + 1; ahead > 0 {
		t.Wait = float64(ahead) / float64(slots) * or(p.TaskSecs, DefaultTaskSecs)
	}
	rate := or(p.Rate, DefaultRate)
	rtt := or(p.RTT.Seconds(), DefaultRTT.Seconds())
	if p.Code > 0 {
		t.Code = float64(p.Code)/rate + Trips*rtt
	}
	if p.Data > 0 {
		t.Data = float64(p.Data)/rate + Trips*or(p.Reach.Seconds(), rtt)
	}
	speed := or(p.HashMBs, DefaultHashMBs)
	if !p.Compiled {
		t.Compile = or(f.Base, 0) + Compiling(cmp.Or(f.Body, f.Code), speed)
	}
	t.Work = or(f.Work, 0) / speed
	if !p.Self {
		t.Latency = rtt
	}
	t.Latency += or(p.Silent.Seconds(), 0) + or(p.Doubt, 0)
	return t
}

// Compiling is how many seconds the bytes of a module take to compile on a core of so many MB/s.
func Compiling(code uint64, speed float64) float64 {
	return float64(code) / (CompileRate * or(speed, DefaultHashMBs) / DefaultHashMBs)
}

// or returns v if it is a positive number, else what stands in for it.
func or(v, instead float64) float64 {
	if v > 0 && !math.IsInf(v, 1) {
		return v
	}
	return instead
}

// Decide ranks the candidates, chooses one, and tells all of it. Peers that are passed over and those
// in refused are only told. With no candidate nothing is chosen.
func Decide(f Facts, peers []Peer, refused []Choice) Explain {
	e := Explain{Task: f.Task, Choices: make([]Choice, 0, len(peers)+len(refused))}
	var passed []Choice
	for _, p := range peers {
		t := Of(p, f)
		c := Choice{
			Weighed: t.Total() + Pull*float64(p.Code+p.Data)/or(p.Rate, DefaultRate),
			Peer:    p.ID, Terms: t, Total: t.Total(), Holder: f.Data > 0 && p.Data == 0, Room: p.Room(),
			Age: p.Age.Seconds(), Passed: p.Passed, Ahead: p.Queued, Doubt: or(p.Doubt, 0), Moves: p.Code + p.Data,
		}
		if c.Passed != "" {
			passed = append(passed, c)
		} else {
			e.Choices = append(e.Choices, c)
		}
	}
	byCost := func(a, b Choice) int {
		switch ta, tb := tie(f, a.Peer), tie(f, b.Peer); {
		case a.Weighed != b.Weighed:
			return sign(a.Weighed < b.Weighed)
		case ta != tb:
			return sign(ta < tb)
		default:
			return sign(a.Peer < b.Peer)
		}
	}
	slices.SortFunc(e.Choices, byCost)
	slices.SortFunc(passed, byCost)
	i := f.Policy.bound(e.Choices, peers)
	if i < 0 {
		i = spread(f, e.Choices, peers)
	}
	if i >= 0 {
		c := e.Choices[i]
		c.Chosen = true
		e.Choices = slices.Insert(slices.Delete(e.Choices, i, i+1), 0, c)
	}
	e.Choices = append(e.Choices, passed...)
	for _, r := range refused {
		r.Chosen, r.Passed = false, ""
		e.Choices = append(e.Choices, r)
	}
	return e
}

// Near is the part of what a task takes within which two costs count as equal: as good as estimates are.
const Near = 0.1

// spread takes, instead of the first choice, the less busy of two drawn from those that are as good and move no more: what is
// known of them is old, and the same for all who decide at this moment, who would otherwise all take the same one. What
// stays on the node needs no drawing. -1: there is no choice.
func spread(f Facts, choices []Choice, peers []Peer) int {
	if len(choices) == 0 {
		return -1
	}
	k := func(j int) *Peer {
		return &peers[slices.IndexFunc(peers, func(p Peer) bool { return p.ID == choices[j].Peer })]
	}
	c, p := choices[0], k(0)
	if p.Self {
		return 0
	}
	limit := c.Weighed + Near*(c.Total+or(p.TaskSecs, DefaultTaskSecs))
	one, two := -1, -1 // the first two by their ties
	for j := range choices {
		switch d := choices[j]; {
		case d.Holder != c.Holder || d.Room != c.Room || d.Weighed > limit || k(j).Self || float64(d.Moves) > (1+Near)*float64(c.Moves):
		case one < 0 || tie(f, d.Peer) < tie(f, choices[one].Peer):
			one, two = j, one
		case two < 0 || tie(f, d.Peer) < tie(f, choices[two].Peer):
			two = j
		}
	}
	if two >= 0 && k(two).busy() < k(one).busy() {
		one = two
	}
	d := choices[one]
	if !d.Holder && slices.ContainsFunc(choices, func(h Choice) bool { return h.Holder && h.Room && h.Weighed < d.Weighed && h.Total < d.Total }) {
		return 0 // rather than where bytes move although a holder is better in each way
	}
	return one
}

// busy is how many tasks a peer has, for each slot.
func (p Peer) busy() float64 { return float64(p.Running+p.Queued) / float64(max(p.Slots, 1)) }

func sign(less bool) int {
	if less {
		return -1
	}
	return 1
}

// tie orders equals.
func tie(f Facts, p shoal.PeerID) uint64 {
	h := fnv.New64a()
	var seed [8]byte
	for i := range seed {
		seed[i] = byte(f.Seed >> (8 * i))
	}
	h.Write(seed[:])
	h.Write([]byte(f.Task))
	h.Write([]byte{0})
	h.Write([]byte(p))
	// FNV's low bits carry the last characters; mix them upwards so that like names do not sort alike.
	v := h.Sum64()
	v ^= v >> 33
	v *= 0xff51afd7ed558ccd
	return v ^ v>>33
}
