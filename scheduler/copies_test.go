package scheduler

import (
	"errors"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

// TestTwoCopiesShareARecord has the copies of a task end in all ways and orders.
func TestTwoCopiesShareARecord(t *testing.T) {
	lost := shoal.E(shoal.Unavailable, "task", "the peer is gone", "")
	canceled := shoal.E(shoal.Canceled, "task", "another copy was faster", "")
	for _, c := range []struct {
		name   string
		first  int      // which ends first
		ends   [2]error // of the first and of the second copy
		midway shoal.TaskState
		state  shoal.TaskState
		peer   shoal.PeerID
	}{
		{"the first wins", 0, [2]error{nil, canceled}, shoal.TaskDone, shoal.TaskDone, "a"},
		{"the second wins", 1, [2]error{canceled, nil}, shoal.TaskDone, shoal.TaskDone, "b"},
		{"the first is lost, the second ends well", 0, [2]error{lost, nil}, shoal.TaskRunning, shoal.TaskDone, "b"},
		{"the second is lost, the first ends well", 1, [2]error{nil, lost}, shoal.TaskRunning, shoal.TaskDone, "a"},
		{"both are lost", 0, [2]error{lost, lost}, shoal.TaskRunning, shoal.TaskFailed, "b"},
		{"both are canceled", 1, [2]error{canceled, canceled}, shoal.TaskRunning, shoal.TaskCanceled, "a"},
		{"both end well", 1, [2]error{nil, nil}, shoal.TaskDone, shoal.TaskDone, "b"},
	} {
		cfg := Config{Dir: t.TempDir()}
		if err := cfg.validate(); err != nil {
			t.Fatal(err)
		}
		kv := shoaltestKV()
		b, err := openBook(kv, cfg, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		id := job.NewID([10]byte{1}, "home")
		stopped := [2]int{}
		e := b.put(job.Record{ID: id, State: shoal.TaskQueued, Created: 1}, func() { stopped[0]++ })
		b.copied(e, 0, "a", shoal.TaskQueued, func(r *job.Record) { r.Peer, r.Attempts = "a", 1 })
		b.copied(e, 0, "", shoal.TaskRunning, func(r *job.Record) { r.State = shoal.TaskRunning })
		if r, _, _ := b.get(id); len(r.Copies) != 0 {
			t.Errorf("%s: a task on one node has copies: %+v", c.name, r)
		}
		e2, n := b.join(job.Record{ID: id, State: shoal.TaskQueued, Created: 2}, func() { stopped[1]++ })
		if e2 != e || n != 1 {
			t.Fatalf("%s: a record of its own", c.name)
		}
		b.copied(e, 1, "b", shoal.TaskQueued, func(*job.Record) { t.Error("a copy changes the task's state") })
		b.copied(e, 1, "", shoal.TaskRunning, nil)
		if b.cancel(id); stopped != [2]int{1, 1} {
			t.Errorf("%s: canceled %v", c.name, stopped)
		}
		peers := [2]shoal.PeerID{"a", "b"}
		end := func(n int) {
			out := shoal.Outcome{Peer: peers[n], Exit: n}
			b.end(e, n, cost.Explain{Choices: []cost.Choice{{Peer: out.Peer, Chosen: true}}}, out, c.ends[n], time.Now())
		}
		end(c.first)
		if r, _, _ := b.get(id); r.State != c.midway {
			t.Errorf("%s: %+v", c.name, r)
		}
		if r, _, _ := b.get(id); !job.Ended(r.State) && r.Peer != peers[1-c.first] {
			t.Errorf("%s: its log is looked for on %s", c.name, r.Peer)
		}
		end(1 - c.first)
		b.copied(e, 1, "", shoal.TaskRunning, nil) // a late word changes nothing
		if err := b.flush(); err != nil {
			t.Fatal(err)
		}
		again, err := openBook(kv, cfg, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []*book{b, again} {
			r, _, _ := b.get(id)
			if r.State != c.state || r.Peer != c.peer || len(r.Copies) != 2 || r.Outcome == nil || r.Outcome.Peer != c.peer || len(b.ended) != 1 ||
				r.Explain == nil || r.Explain.Choices[0].Peer != c.peer {
				t.Errorf("%s: %+v", c.name, r)
			}
			for i, copied := range r.Copies {
				if copied.State != job.EndState(c.ends[i]) || copied.Ended == 0 || copied.Peer != peers[i] {
					t.Errorf("%s: copy %d: %+v", c.name, i, copied)
				}
			}
		}
	}
}

// TestACopyOfWhatHasEnded begins anew when the first has failed, and leaves alone what is done.
func TestACopyOfWhatHasEnded(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	b, err := openBook(shoaltestKV(), cfg, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i, firstErr := range []error{nil, errors.New("lost")} {
		id := job.NewID([10]byte{byte(i)}, "home")
		first := b.put(job.Record{ID: id, State: shoal.TaskRunning}, nil)
		b.end(first, 0, cost.Explain{}, shoal.Outcome{Peer: "a"}, firstErr, time.Now())
		e, n := b.join(job.Record{ID: id, State: shoal.TaskQueued}, func() {})
		b.end(e, n, cost.Explain{}, shoal.Outcome{Peer: "b"}, nil, time.Now())
		want := shoal.PeerID("a")
		if firstErr != nil {
			want = "b"
		}
		if r, _, _ := b.get(id); (e == first) != (firstErr == nil) || r.State != shoal.TaskDone || r.Peer != want || r.Outcome.Peer != want {
			t.Errorf("after %v: %+v", firstErr, r)
		}
	}
}
