package job

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

func TestNames(t *testing.T) {
	id := NewID([10]byte{1, 2, 3}, "12D3KooWhome")
	if len(id) != 27 || Check(id) != nil {
		t.Fatalf("%q: %v", id, Check(id))
	}
	if tag, err := Home(Sub(id, 12)); err != nil || tag != HomeTag("12D3KooWhome") || tag == HomeTag("12D3KooWother") {
		t.Fatalf("home %q, %v", tag, err)
	}
	if Top(Sub(id, 3)) != id || Top(id) != id || Sub(id, 3) != id+"/3" {
		t.Fatal("names of a job's tasks")
	}
	for _, bad := range []shoal.TaskID{
		"", "t", id + "x", id + "/", id + "/-1", id + "/01", id + "/a", id + "/1/2", "x" + id[1:],
		shoal.TaskID(strings.ToUpper(string(id))), id[:26] + "/", "../../../../etc/passwd/xxxx", id + "/9999999999",
	} {
		if err := Check(bad); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%q passes: %v", bad, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(string(NewID([10]byte{}, "p")) + "/1")
	f.Fuzz(func(t *testing.T, s string) {
		id := shoal.TaskID(s)
		if Check(id) != nil {
			return
		}
		if _, err := Home(id); err != nil || strings.ContainsAny(FileName(id), "/\\") || strings.Contains(FileName(id), "..") {
			t.Fatalf("%q: %v, file %q", s, err, FileName(id))
		}
	})
}

func TestLife(t *testing.T) {
	q, f, r, d, x, c := shoal.TaskQueued, shoal.TaskFetching, shoal.TaskRunning, shoal.TaskDone, shoal.TaskFailed, shoal.TaskCanceled
	for _, s := range []struct {
		from, to shoal.TaskState
		ok       bool
	}{
		{q, f, true},
		{f, r, true},
		{q, r, true},
		{r, d, true},
		{q, c, true},
		{r, q, true},
		{f, x, true},
		{r, f, false},
		{d, q, false},
		{x, d, false},
		{c, r, false},
		{q, "nonsense", false},
		{d, d, false},
	} {
		if Step(s.from, s.to) != s.ok {
			t.Errorf("%s to %s: %v", s.from, s.to, !s.ok)
		}
	}
}

func TestRetryTable(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		shown bool
		again bool
	}{
		{"unreachable", shoal.E(shoal.Unavailable, "x", "", ""), false, true},
		{"a broken connection", errors.New("EOF"), false, true},
		{"a deadline of the connection", shoal.E(shoal.Timeout, "x", "", ""), false, true},
		{"full disk", shoal.E(shoal.Full, "x", "", ""), false, true},
		{"full queue", shoal.E(shoal.Overloaded, "x", "", ""), false, true},
		{"full queue after output", shoal.E(shoal.Overloaded, "x", "", ""), true, true},
		{"unreachable after output", shoal.E(shoal.Unavailable, "x", "", ""), true, false},
		{"trap", shoal.E(shoal.Failed, "x", "", ""), false, false},
		{"bad module", shoal.E(shoal.Invalid, "x", "", ""), false, false},
		{"refused", shoal.E(shoal.Refused, "x", "", ""), false, false},
		{"canceled", shoal.E(shoal.Canceled, "x", "", ""), false, false},
		{"absent, once", shoal.E(shoal.NotFound, "x", "", ""), false, true},
	} {
		d := NewTries(DefaultPolicy()).Failed("p", c.err, c.shown, 0.5)
		if d.Again != c.again || d.Again == (d.Why != "") {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

func TestRetriesEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := DefaultPolicy()
		tries := NewTries(p)
		for n := 0; ; n++ {
			if n > p.Attempts+p.Waits {
				t.Fatal("retries without end")
			}
			kind := rapid.SampledFrom([]shoal.Kind{shoal.Unavailable, shoal.Overloaded, shoal.NotFound, shoal.Internal}).Draw(t, "kind")
			err := &shoal.Error{Kind: kind, RetryAfter: time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "after"))}
			peer := rapid.SampledFrom([]shoal.PeerID{"a", "b"}).Draw(t, "peer")
			d := tries.Failed(peer, err, false, rapid.Float64Range(0, 0.999).Draw(t, "roll"))
			if !d.Again {
				return
			}
			if d.After <= 0 || d.After > p.Max {
				t.Fatalf("a pause of %v", d.After)
			}
			if kind != shoal.Overloaded && !tries.Bad(peer) {
				t.Fatal("the peer that failed is not noted")
			}
		}
	})
}

func TestRecordClone(t *testing.T) {
	r := Record{
		ID: "t", Args: []string{"a"}, Outcome: &shoal.Outcome{Exit: 1}, Counts: &Counts{ByNode: map[string]int{"x": 1}},
		Err: wire.FromError(shoal.E(shoal.Failed, "run", "trap", "")),
	}
	c := r.Clone()
	c.Args[0], c.Outcome.Exit, c.Counts.ByNode["x"] = "b", 2, 2
	if r.Args[0] != "a" || r.Outcome.Exit != 1 || r.Counts.ByNode["x"] != 1 || c.Error != "run: trap" {
		t.Fatalf("%+v, %+v", r, c)
	}
}

// TestNext: a full peer is passed over at once as long as another is open, each only once before a pause.
func TestNext(t *testing.T) {
	full := shoal.E(shoal.Overloaded, "x", "", "")
	tries := NewTries(DefaultPolicy())
	if !tries.Next("a", full, 2) || !tries.Next("b", full, 1) || !tries.Full("a") || tries.Full("c") || tries.Nexts() != 2 {
		t.Fatal("not passed over")
	}
	if tries.Next("c", full, 0) || tries.Full("a") {
		t.Fatal("nobody is left, and no pause")
	}
	if !tries.Next("a", full, 2) || tries.Next("a", full, 2) {
		t.Fatal("asked again without a pause")
	}
	if tries.Next("a", shoal.E(shoal.Unavailable, "x", "", ""), 2) || tries.Next("", full, 2) || tries.Count() != 0 {
		t.Fatal("passed over for another reason")
	}
	p := DefaultPolicy()
	p.Waits = 1
	if NewTries(p).Next("a", full, 2) {
		t.Fatal("one attempt was to be made")
	}
}
