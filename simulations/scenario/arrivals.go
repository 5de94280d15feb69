package scenario

import (
	"fmt"
	"hash/fnv"
	"iter"
	"math"
	"math/rand/v2"
	"time"
)

// Dice returns the dice of a run for one purpose, so that one purpose's draws do not shift another's. Both storeys draw
// a load's requests with the same ones; see Requests.
func Dice(seed uint64, purpose string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// Stream hands out the times of a load's requests. It is for one goroutine.
type Stream struct {
	l   *Load
	end time.Duration
	r   *rand.Rand
	at  float64 // seconds: of the last draw
	n   int     // rows of the trace, or requests of the burst, that are done
}

// NewStream returns the requests of l in a scenario that lasts so long, with the dice r.
func NewStream(l *Load, total time.Duration, r *rand.Rand) *Stream {
	end := l.End
	if end <= 0 || end > total {
		end = total
	}
	return &Stream{l: l, end: end, r: r, at: l.Begin.Seconds()}
}

// Next returns the next request, in the order of time, within [Begin, End) of the load; false: there is none. Node and Item
// are -1 but where a trace names them.
func (s *Stream) Next() (Row, bool) {
	switch l := s.l; {
	case l.Trace != "" || l.Rows != nil:
		for s.n < len(l.Rows) {
			row := l.Rows[s.n]
			if s.n++; row.At >= l.Begin {
				return row, row.At < s.end
			}
		}
	case l.Burst != nil:
		if l.Burst.Count > 0 {
			at := l.Begin + time.Duration(s.n/l.Burst.Count)*l.Burst.Every
			again := l.Burst.Every > 0 || s.n < l.Burst.Count
			s.n++
			return Row{At: at, Node: -1, Item: -1}, at < s.end && again
		}
	case l.Rate > 0:
		for {
			top := l.Rate
			if l.Daily != nil {
				top *= l.Daily.Peak
			}
			s.at += s.r.ExpFloat64() / top
			at := time.Duration(s.at * 1e9)
			if s.at > s.end.Seconds() || at >= s.end {
				break
			}
			if l.Daily == nil || s.r.Float64()*top < l.Daily.rate(l.Rate, at-l.Begin) {
				return Row{At: at, Node: -1, Item: -1}, true
			}
		}
	}
	return Row{}, false
}

// rate is how many requests a second there are so long after the begin: a cosine that peaks once a day.
func (d *Daily) rate(mean float64, since time.Duration) float64 {
	return mean * (1 + (d.Peak-1)*math.Cos(2*math.Pi*(since-d.At).Hours()/24))
}

// Arrivals is the times of a load's requests, as Stream hands them out.
func Arrivals(l *Load, total time.Duration, r *rand.Rand) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		s := NewStream(l, total, r)
		for row, ok := s.Next(); ok && yield(row); row, ok = s.Next() {
		}
	}
}

// Pick draws which of the family's datasets is asked for, from 0: the i-th in proportion to 1/(i+1)^Zipf. It draws
// by rejection from the integral of that curve (Hörmann and Derflinger 1996), so it needs no table: the mean is less than
// two draws.
func (d *Dataset) Pick(r *rand.Rand) int { return Zipf(r, max(d.Count, 1), d.Zipf) }

// Zipf draws one of n, from 0, the i-th in proportion to 1/(i+1)^s; s = 0: all alike.
func Zipf(r *rand.Rand, n int, s float64) int {
	if n <= 1 {
		return 0
	}
	if s <= 0 {
		return r.IntN(n)
	}
	// area is the integral of x^-s from 1, inverse its inverse; around s = 1 both are taken by their series' safe forms.
	area := func(x float64) float64 { l := math.Log(x); return l * expm1Over((1-s)*l) }
	inverse := func(a float64) float64 { return math.Exp(a * log1pOver(max((1-s)*a, -1))) }
	low, high := area(1.5)-1, area(float64(n)+0.5)
	sure := 2 - inverse(area(2.5)-math.Pow(2, -s))
	for {
		a := high + r.Float64()*(low-high)
		x := inverse(a)
		k := min(max(math.Floor(x+0.5), 1), float64(n))
		if k-x <= sure || a >= area(k+0.5)-math.Pow(k, -s) {
			return int(k) - 1
		}
	}
}

func expm1Over(x float64) float64 { // (e^x - 1) / x
	if math.Abs(x) > 1e-8 {
		return math.Expm1(x) / x
	}
	return 1 + x/2
}

func log1pOver(x float64) float64 { // log(1+x) / x
	if math.Abs(x) > 1e-8 {
		return math.Log1p(x) / x
	}
	return 1 - x/2
}

// Size returns the bytes of the i-th dataset of the family in runs of a seed: Bytes, or drawn so that Bytes is
// their mean.
func (d *Dataset) Size(seed uint64, i int) uint64 {
	if d.Sigma <= 0 {
		return max(uint64(d.Bytes), 1)
	}
	h := fnv.New64a()
	h.Write([]byte(d.Name))
	z := rand.New(rand.NewPCG(seed^h.Sum64(), uint64(i))).NormFloat64()
	return uint64(max(math.Exp(math.Log(float64(d.Bytes))-d.Sigma*d.Sigma/2+d.Sigma*z), 1))
}

// Parts returns how many partitions a dataset of so many bytes has. All but the last have Partition bytes.
func (d *Dataset) Parts(size uint64) int {
	p := uint64(d.Partition)
	if p == 0 {
		p = 16 << 20
	}
	return int(max((size+p-1)/p, 1))
}

// PartBytes returns the bytes of a partition of a dataset of so many bytes.
func (d *Dataset) PartBytes(size uint64, part int) uint64 {
	p := uint64(d.Partition)
	if p == 0 {
		p = 16 << 20
	}
	return min(p, size-min(uint64(part)*p, size))
}

// LeafBytes is how many bytes of a dataset are one block, which travels as a whole.
func (d *Dataset) LeafBytes() uint64 { return min(max(d.PartBytes(math.MaxUint64, 0), 1<<12), 1<<20) }

// ReadBy returns which dataset of the family that it reads the i-th agent of a family reads, again and again.
func (s *Scenario) ReadBy(seed uint64, agents, i, datasets int) int {
	return s.Data[datasets].Pick(Dice(seed, fmt.Sprintf("agent %s-%d", s.Agents[agents].Name, i)))
}

// Request is one request of a load, drawn in full.
type Request struct {
	At   time.Duration
	Node int // who asks: by order of classes
	Item int // which of the datasets, agents or topics of the load's family
	Part int // which partition of the dataset
	Work int // which module of the task
}

// Requests hands out the requests of s.Load[load] in a run of a seed, the same ones in both storeys.
type Requests struct {
	*Stream
	s           *Scenario
	seed        uint64
	dice        *rand.Rand
	first, many int // nodes that ask
	data        *Dataset
	items       int
}

// NewRequests returns the requests of a load by its index. It is for one goroutine.
func (s *Scenario) NewRequests(seed uint64, load int) *Requests {
	l := &s.Load[load]
	name := "load " + string(rune('0'+load%10)) + string(rune('0'+load/10)) + " "
	q := &Requests{
		Stream: NewStream(l, s.Duration, Dice(seed, name+"times")), s: s, seed: seed, dice: Dice(seed, name+"what"),
		many: s.Nodes(), items: 1,
	}
	at := 0
	for _, c := range s.Classes {
		if c.Name == l.From && l.From != "" {
			q.first, q.many = at, c.Count
		}
		at += c.Count
	}
	switch l.Ask {
	case Task, Find:
		if i := s.Family(l); i >= 0 {
			q.data, q.items = &s.Data[i], s.Data[i].Count
		}
	case Call, Read:
		if i := s.Family(l); i >= 0 {
			q.items = s.Agents[i].Count
		}
	case Publish:
		if i := s.Family(l); i >= 0 {
			q.items = s.Topics[i].Count
		}
	}
	q.items = max(q.items, 1)
	return q
}

// Family returns which of the datasets, agents or topics a load is about: the one named On, the first without a name; -1: none.
func (s *Scenario) Family(l *Load) int {
	find := func(n int, name func(int) string) int {
		for i := range n {
			if l.On == "" || name(i) == l.On {
				return i
			}
		}
		return -1
	}
	switch l.Ask {
	case Task, Find:
		return find(len(s.Data), func(i int) string { return s.Data[i].Name })
	case Call, Read:
		return find(len(s.Agents), func(i int) string { return s.Agents[i].Name })
	case Publish:
		return find(len(s.Topics), func(i int) string { return s.Topics[i].Name })
	}
	return -1
}

// Next returns the next request, or false.
func (q *Requests) Next() (Request, bool) {
	row, ok := q.Stream.Next()
	if !ok || q.many == 0 {
		return Request{}, false
	}
	// Every draw is made whether or not the row names a value, so that one that does shifts no other.
	out := Request{At: row.At, Node: q.first + q.dice.IntN(q.many), Item: q.dice.IntN(q.items)}
	if q.data != nil {
		out.Item = q.data.Pick(q.dice)
	}
	if row.Node >= 0 {
		out.Node = row.Node % max(q.s.Nodes(), 1)
	}
	if row.Item >= 0 {
		out.Item = row.Item % q.items
	}
	if q.data != nil {
		out.Part = q.dice.IntN(q.data.Parts(q.data.Size(q.seed, out.Item)))
	}
	if q.l.Work.Modules > 1 {
		out.Work = q.dice.IntN(q.l.Work.Modules)
	}
	return out, true
}
