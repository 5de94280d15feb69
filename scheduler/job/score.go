package job

import (
	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// Score holds what was expected of a task, when it was given to its peer, against what came: in seconds, term by term.
type Score struct {
	Task      shoal.TaskID `json:"task"`
	Peer      shoal.PeerID `json:"peer_id"`
	Predicted cost.Terms   `json:"predicted"`
	Actual    cost.Terms   `json:"actual"`
	Expected  float64      `json:"predicted_s"` // all of it
	Took      float64      `json:"actual_s"`    // from the task's beginning to its end, other attempts included
	Unknown   bool         `json:"work_unknown"`
}

// Score is false for a job, and for a task that has not ended well or whose explanation is not known. What code and data took
// is measured together, and split by the bytes that moved; latency is what no other term explains, failed attempts too.
// Unknown says that no run of the module had been seen, so that no time was expected for the work.
func (r Record) Score() (s Score, ok bool) {
	o := r.Outcome
	if r.Kind != KindTask || r.State != shoal.TaskDone || o == nil || r.Explain == nil {
		return s, false
	}
	c, ok := r.Explain.Chosen()
	if !ok {
		return s, false
	}
	s = Score{Task: r.ID, Peer: c.Peer, Predicted: c.Terms, Expected: c.Total, Unknown: c.Terms.Work == 0}
	s.Actual = cost.Terms{Wait: o.Wait, Compile: o.Compile, Work: o.Seconds}
	if moved := o.CodeMoved + o.DataMoved; moved > 0 {
		s.Actual.Code = o.Fetch * float64(o.CodeMoved) / float64(moved)
		s.Actual.Data = o.Fetch - s.Actual.Code
	} else {
		s.Actual.Latency = o.Fetch
	}
	s.Took = max(float64(r.Ended-r.Created)/1000, s.Actual.Total())
	s.Actual.Latency += s.Took - s.Actual.Total()
	return s, true
}
