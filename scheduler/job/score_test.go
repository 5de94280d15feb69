package job

import (
	"math"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

func TestScore(t *testing.T) {
	e := cost.Decide(cost.Facts{Task: "t", Code: 5e6, Data: 100e6, Work: 2000}, []cost.Peer{
		{ID: "p", Slots: 1, Code: 5e6, Data: 100e6, Rate: 50e6, HashMBs: 1000},
	}, nil)
	r := Record{
		ID: "t", Kind: KindTask, State: shoal.TaskDone, Created: 1000, Ended: 11000, Explain: &e,
		Outcome: &shoal.Outcome{Peer: "p", Wait: 1, Fetch: 4, Compile: 0.5, Seconds: 3, CodeMoved: 25, DataMoved: 75},
	}
	s, ok := r.Score()
	want := cost.Terms{Wait: 1, Code: 1, Data: 3, Compile: 0.5, Work: 3, Latency: 1.5}
	if !ok || s.Actual != want || s.Took != 10 || s.Predicted.Data != 2+cost.Trips*cost.DefaultRTT.Seconds() || s.Predicted.Work != 2 || s.Unknown || s.Expected != s.Predicted.Total() {
		t.Errorf("%+v", s)
	}
	r.Outcome.CodeMoved, r.Outcome.DataMoved = 0, 0
	if s, _ = r.Score(); math.Abs(s.Actual.Total()-10) > 1e-9 || s.Actual.Code+s.Actual.Data != 0 {
		t.Errorf("%+v", s)
	}
	for _, change := range []func(r *Record){
		func(r *Record) { r.Kind = KindJob }, func(r *Record) { r.State = shoal.TaskFailed },
		func(r *Record) { r.Outcome = nil }, func(r *Record) { r.Explain = nil }, func(r *Record) { r.Explain = &cost.Explain{} },
	} {
		x := r
		if change(&x); true {
			if _, ok := x.Score(); ok {
				t.Errorf("a score of %+v", x)
			}
		}
	}
}
