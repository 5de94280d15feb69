package plans

import (
	"maps"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/plans/graph"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/scheduler/match"
)

// passedOver names, for the explanation, nodes that are not asked to run a task, and why: the other
// holders of its input, this node, and others until there are enough to compare with. Those that do not
// fit the scheduler refuses with its reason.
func (f *flow) passedOver(s graph.Start, among []shoal.PeerID) (out []job.Passed) {
	if s.Task >= MaxExplained {
		return nil
	}
	holders := f.parts[s.Task].Holders
	add := func(id shoal.PeerID, why string) {
		if !slices.Contains(among, id) && !slices.ContainsFunc(out, func(p job.Passed) bool { return p.Peer == id }) {
			out = append(out, job.Passed{Peer: id, Holds: slices.Contains(holders, id), Why: why})
		}
	}
	for _, id := range holders {
		add(id, f.passed(s, id))
	}
	if len(out) < job.Explained { // many holders: they are telling enough
		why := "it holds none of it"
		if f.j.On != "" {
			why = f.passed(s, f.p.self)
		}
		add(f.p.self, why)
	}
	for i := range f.ids {
		if len(among)+len(out) >= job.Explained {
			break
		}
		id := f.ids[(s.Task+i)%len(f.ids)] // not always the same ones
		if f.nodes[id].up {
			add(id, "it holds none of it")
		}
	}
	for id := range f.refused {
		if len(out) >= 2*job.Explained {
			break
		}
		add(id, "it did not fit a moment ago")
	}
	return out
}

// passed says why a holder is not asked.
func (f *flow) passed(s graph.Start, id shoal.PeerID) string {
	n := f.nodes[id]
	_, refused := f.refused[id]
	switch {
	case f.j.On != "":
		return "not the job's node"
	case refused:
		return "it did not fit a moment ago"
	case n == nil || n.asking && !n.up:
		return "it has not answered"
	case !n.up:
		return "it lost a task"
	case f.g.Near(s.Task, id):
		return "a copy runs there"
	case f.g.Bad(s.Task, id):
		return "it failed there"
	case s.Copy:
		return "no slot is idle"
	case !f.g.Room(id):
		return "its window is full"
	}
	return "its backlog is long"
}

// explain notes why a task was placed as it was. Of several attempts it is the last one that counts.
func (f *flow) explain(i int, e cost.Explain) {
	if i < len(f.why) && len(e.Choices) > 0 {
		f.why[i] = e.Brief(job.Explained)
	}
}

// explained fills in the explanations of a job that has ended. Of one that nobody would run it is why.
func (f *flow) explained(err error) {
	for _, e := range f.why {
		if len(e.Choices) > 0 {
			f.res.Explain = append(f.res.Explain, e)
		}
	}
	if err == nil || len(f.res.Explain) > 0 {
		return
	}
	e := cost.Explain{Task: f.j.ID}
	for _, id := range slices.Sorted(maps.Keys(f.refused)) {
		v := f.refused[id]
		e.Choices = append(e.Choices, cost.Choice{Peer: id, Refusal: v.Reason, Retry: v.Retry})
	}
	for _, o := range match.Count(maps.Values(f.refused)) {
		e.Out = append(e.Out, cost.Out(o))
	}
	if len(e.Choices) > 0 {
		f.res.Explain = []cost.Explain{e.Brief(maxRefusals)}
	}
}

// maxRefusals bounds what is told of a job that nobody would run.
const maxRefusals = 32
