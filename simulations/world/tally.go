package world

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/simulations/memnet"
	"github.com/shoal-fabric/shoal/simulations/report"
)

// tally is what is counted while a world runs.
type tally struct {
	mu sync.Mutex

	answers, asked        int
	looks                 samples // lookups: seconds
	hops, messages, exact float64
	finds, gpus           samples
	findTries, gpuTries   int
	tasks                 samples
	taskFailed            int
	first, last           time.Time // of tasks
	read, fetched         uint64
	wanted                uint64 // bytes of data and code that moved for tasks
	calls                 samples
	callFailed            int
	published_            int
	late                  samples
	queued, queues        float64
	gpuTime               time.Duration

	tolls map[*node.Node]node.Toll // of nodes that are up, when the load began; others had none
	spent node.Toll                // by those that are gone, since

	calledOf map[string]uint64 // bytes of calls since the load began, by method

	base    map[string]memnet.Bytes
	atZero  memnet.Stats
	bytes   map[string]memnet.Bytes // at the end
	ended   time.Time
	loadEnd time.Time
}

// samples are values with the moment of each.
type samples struct {
	at []time.Time
	v  []float64
}

func (s *samples) add(v float64) {
	s.at, s.v = append(s.at, time.Now()), append(s.v, v)
}

func newTally() *tally { return &tally{} }

// answered counts a request; one whose asker is gone counts as none.
func (t *tally) answered(ok, gone bool) {
	if gone {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	if ok {
		t.answers++
	}
}

func (t *tally) lookup(took time.Duration, hops, messages int, exact bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.looks.add(took.Seconds())
	t.hops += float64(hops)
	t.messages += float64(messages)
	if exact {
		t.exact++
	}
}

func (t *tally) found(what string, took time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, tries := &t.finds, &t.findTries
	if what == "gpu" {
		s, tries = &t.gpus, &t.gpuTries
	}
	*tries++
	if ok {
		s.add(took.Seconds())
	}
}

func (t *tally) task(begun time.Time, read, fetched, code uint64, err error, gone bool) {
	t.answered(err == nil, gone)
	if gone {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first.IsZero() || begun.Before(t.first) {
		t.first = begun
	}
	t.last = time.Now()
	t.wanted += fetched + code
	if err != nil {
		t.taskFailed++
		return
	}
	t.tasks.add(time.Since(begun).Seconds())
	t.read += read
	t.fetched += min(fetched, read)
}

func (t *tally) call(took time.Duration, err error, gone bool) {
	t.answered(err == nil, gone)
	if gone {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.callFailed++
		return
	}
	t.calls.add(took.Seconds())
}

func (t *tally) published(err error, gone bool) {
	t.answered(err == nil, gone)
	if gone || err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.published_++
}

func (t *tally) delivered(late time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late.add(late.Seconds())
}

func (t *tally) gpu(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gpuTime += d
}

// begin, over and end note where time begins, the load is over and everything is.
func (t *tally) begin(w *world) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.base, t.atZero, t.calledOf = w.net.Bytes(), w.net.Stats(), map[string]uint64{}
	t.tolls = map[*node.Node]node.Toll{}
	for _, m := range w.machines {
		if n := m.live.Load(); n != nil {
			t.tolls[n] = n.Backstage().Toll()
		}
	}
}

// frames is about what the two frames of a call have besides the method and the bodies: see rpc/frame.go.
const frames = 20

// called counts a call between nodes.
func (t *tally) called(method string, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calledOf != nil && t.ended.IsZero() {
		t.calledOf[method] += uint64(bytes) + frames
	}
}

func (t *tally) over(*world) { t.loadEnd = time.Now() }

func (t *tally) end(w *world) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range w.machines {
		if n := m.live.Load(); n != nil {
			t.spend(n)
		}
	}
	t.bytes, t.ended = w.net.Bytes(), time.Now()
}

// gone notes that a node is.
func (t *tally) gone(n *node.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tolls != nil && t.ended.IsZero() {
		t.spend(n)
		delete(t.tolls, n)
	}
}

// spend adds what a node has spent since the load began, or since it started. The caller holds mu.
func (t *tally) spend(n *node.Node) {
	now, was := n.Backstage().Toll(), t.tolls[n]
	t.spent.Repair += now.Repair - was.Repair
	t.spent.Announce += now.Announce - was.Announce
	t.spent.Moves += now.Moves - was.Moves
}

// look samples the queues.
func (t *tally) look(w *world) {
	sum, n := 0.0, 0
	for _, m := range w.machines {
		if o := m.live.Load(); o != nil {
			sum += float64(o.Backstage().Queued())
			n++
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n > 0 {
		t.queued += sum / float64(n)
		t.queues++
	}
}

// report makes figures of what was counted.
func (w *world) report(cut bool) *report.Run {
	t := w.tally
	if t.ended.IsZero() {
		t.end(w)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := map[string]float64{}
	r := &report.Run{
		Storey: report.World, Policy: w.o.Policy, Seed: w.seed, Nodes: len(w.machines), Figures: f, Cut: cut,
		Simulated: t.ended.Sub(w.zero).Seconds(), Series: map[string][]report.Point{}, Hists: map[string][]report.Bucket{},
	}
	ms := func(name string, s samples, quantiles ...float64) {
		names := map[float64]string{0.5: "_ms_p50", 0.99: "_ms_p99"}
		for _, q := range quantiles {
			f[name+names[q]] = s.quantile(q) * 1e3
			r.Series[name+names[q]] = s.series(w.zero, t.ended, q)
		}
		r.Hists[name+"_ms"] = s.histogram()
	}
	if n := len(t.looks.v); n > 0 {
		f["lookups"], f["lookup_hops_mean"], f["lookup_messages_mean"] = float64(n), t.hops/float64(n), t.messages/float64(n)
		f["lookup_exact"] = t.exact / float64(n)
		ms("lookup", t.looks, 0.5, 0.99)
	}
	if t.findTries > 0 {
		f["find_found"] = float64(len(t.finds.v)) / float64(t.findTries)
		ms("find", t.finds, 0.5)
	}
	if t.gpuTries > 0 {
		f["gpu_found"] = float64(len(t.gpus.v)) / float64(t.gpuTries)
		ms("gpu", t.gpus, 0.5)
	}
	if n := len(t.tasks.v) + t.taskFailed; n > 0 {
		f["tasks"], f["task_failed"] = float64(n), float64(t.taskFailed)/float64(n)
		ms("task", t.tasks, 0.5, 0.99)
		f["makespan_s"] = t.last.Sub(t.first).Seconds()
		if t.read > 0 {
			f["locality"] = 1 - float64(t.fetched)/float64(t.read)
		}
		f["queue_mean"] = t.queued / max(t.queues, 1)
	}
	gpus := 0
	for _, m := range w.machines {
		gpus += len(m.attributes().GPUs)
	}
	if load := w.s.Duration.Seconds(); gpus > 0 && load > 0 {
		f["gpu_use"] = t.gpuTime.Seconds() / load / float64(gpus)
	}
	if n := len(t.calls.v) + t.callFailed; n > 0 {
		f["calls"], f["call_failed"] = float64(n), float64(t.callFailed)/float64(n)
		ms("call", t.calls, 0.5, 0.99)
	}
	if len(w.agents) > 0 {
		f["agent_moves"] = float64(t.spent.Moves)
	}
	if len(w.data) > 0 {
		f["repair_bytes"] = float64(t.spent.Repair)
	}
	if r.Simulated > 0 {
		f["announce_bytes_per_node_hour"] = float64(t.spent.Announce) / float64(r.Nodes) / r.Simulated * 3600
	}
	if len(w.topics) > 0 {
		due, done := 0, 0
		for _, c := range w.topics {
			a, b := c.book.count(w.upSince)
			due, done = due+a, done+b
		}
		f["published"] = float64(t.published_)
		if due > 0 {
			f["delivered"] = float64(done) / float64(due)
		}
		ms("deliver", t.late, 0.5)
	}
	if t.asked > 0 {
		f["availability"] = float64(t.answers) / float64(t.asked)
	}
	w.copies(f)
	w.traffic(r)
	r.Events = w.net.Stats().Events - t.atZero.Events
	return r
}

// copies counts what is left of the datasets.
func (w *world) copies(f map[string]float64) {
	if len(w.data) == 0 {
		return
	}
	lost, short := 0, 0
	for i, d := range w.data {
		up, any := make([]int, len(d.parts)), make([]int, len(d.parts))
		for _, m := range w.machines {
			kept, live := m.kept[i], 0
			if n := m.live.Load(); n != nil {
				kept, live = n.Backstage().Kept(d.root), 1
			}
			for _, p := range kept {
				any[p]++
				up[p] += live
			}
		}
		for p := range d.parts {
			if any[p] == 0 {
				lost++
			}
			if up[p] < d.copies {
				short++
			}
		}
	}
	f["partitions_lost"], f["partitions_short"] = float64(lost), float64(short)
}

// quantile is the value below which a part of all lie.
func (s samples) quantile(q float64) float64 {
	if len(s.v) == 0 {
		return 0
	}
	v := slices.Clone(s.v)
	slices.Sort(v)
	return v[min(int(math.Ceil(q*float64(len(v))))-1, len(v)-1)]
}

// parts is how many points a series has at most, and bars a histogram.
const parts = 60

// series is a quantile over time, in milliseconds.
func (s samples) series(from, to time.Time, q float64) (out []report.Point) {
	step := max(to.Sub(from)/parts, time.Second)
	by := map[int]*samples{}
	for i, at := range s.at {
		k := int(at.Sub(from) / step)
		if by[k] == nil {
			by[k] = &samples{}
		}
		by[k].v = append(by[k].v, s.v[i])
	}
	for k := range parts + 1 {
		if p := by[k]; p != nil {
			out = append(out, report.Point{At: (time.Duration(k)*step + step/2).Seconds(), Value: p.quantile(q) * 1e3})
		}
	}
	return out
}

// histogram has bars that widen by a quarter each, in milliseconds.
func (s samples) histogram() (out []report.Bucket) {
	count := map[int]uint64{}
	for _, v := range s.v {
		count[int(math.Floor(math.Log(max(v*1e3, 1e-3))/math.Log(1.25)))]++
	}
	for k, n := range count {
		out = append(out, report.Bucket{From: math.Pow(1.25, float64(k)), To: math.Pow(1.25, float64(k+1)), Count: n})
	}
	slices.SortFunc(out, func(a, b report.Bucket) int {
		if a.From < b.From {
			return -1
		}
		return 1
	})
	return out
}
