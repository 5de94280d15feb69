package cost

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

// TestDecisions reads as a table: who takes the task.
func TestDecisions(t *testing.T) {
	const mib = 1 << 20
	facts := Facts{Task: "t1", Code: mib, Data: 100 * mib}
	idle := Peer{Slots: 2, Compiled: true, RTT: time.Millisecond, Rate: 100e6}
	peer := func(id string, f func(*Peer)) Peer {
		p := idle
		p.ID = shoal.PeerID(id)
		if f != nil {
			f(&p)
		}
		return p
	}
	lacks := func(p *Peer) { p.Data = 100 * mib }
	for _, c := range []struct {
		name  string
		peers []Peer
		want  shoal.PeerID
	}{
		{"nobody", nil, ""},
		{"the only one", []Peer{peer("a", lacks)}, "a"},
		{"an idle holder", []Peer{peer("a", lacks), peer("b", nil)}, "b"},
		{"a holder with one free slot, though its tasks are long", []Peer{
			peer("a", lacks), peer("b", func(p *Peer) { p.Running, p.TaskSecs = 1, 1000 }),
		}, "b"},
		{"a holder whose queue is short", []Peer{
			peer("a", lacks), peer("b", func(p *Peer) { p.Running, p.Queued, p.TaskSecs = 2, 2, 1 }),
		}, "b"},
		{"not a holder whose queue is long", []Peer{
			peer("a", lacks), peer("b", func(p *Peer) { p.Running, p.Queued, p.TaskSecs = 2, 20, 1 }),
		}, "a"},
		{"the less loaded of two holders", []Peer{
			peer("a", func(p *Peer) { p.Running, p.Queued, p.TaskSecs = 2, 3, 1 }),
			peer("b", func(p *Peer) { p.Running, p.Queued, p.TaskSecs = 2, 1, 1 }),
		}, "b"},
		{"without holders the one that lacks less", []Peer{
			peer("a", lacks), peer("b", func(p *Peer) { p.Data = 50 * mib }),
		}, "b"},
		{"without holders the faster link", []Peer{
			peer("a", lacks), peer("b", func(p *Peer) { lacks(p); p.Rate = 10e6 }),
		}, "a"},
		{"the one with the code, when the data is small", []Peer{
			peer("a", func(p *Peer) { p.Code = 8 * mib }), peer("b", func(p *Peer) { p.Data = mib }),
		}, "b"},
		{"the one with the data, when the code is small", []Peer{
			peer("a", func(p *Peer) { p.Code = mib }), peer("b", lacks),
		}, "a"},
		{"neither, when both are busy and there is little to move", []Peer{
			peer("a", func(p *Peer) { p.Code = mib; p.Running, p.Queued, p.TaskSecs = 2, 8, 1 }),
			peer("b", func(p *Peer) { p.Data = mib; p.Running, p.Queued, p.TaskSecs = 2, 8, 1 }),
			peer("c", func(p *Peer) { p.Code, p.Data = mib, mib }),
		}, "c"},
		{"the node itself, when little would have to come and the others are far", []Peer{
			peer("a", func(p *Peer) { p.RTT = 200 * time.Millisecond }),
			peer("b", func(p *Peer) { p.Self, p.Data, p.Reach = true, mib/64, 20*time.Millisecond }),
		}, "b"},
		{"a holder far away, when much would have to come", []Peer{
			peer("a", func(p *Peer) { p.RTT = 200 * time.Millisecond }),
			peer("b", func(p *Peer) { p.Self, p.Data, p.Reach = true, 100*mib, 20*time.Millisecond }),
		}, "a"},
		{"a holder that is a little slower, as what moves takes from others", []Peer{
			peer("a", func(p *Peer) { p.Running, p.Queued, p.TaskSecs = 2, 1, 1.5 }), peer("b", lacks),
		}, "a"},
		{"the one that has compiled it", []Peer{
			peer("a", func(p *Peer) { p.Compiled = false }), peer("b", nil),
		}, "b"},
		{"the one that answers", []Peer{
			peer("a", func(p *Peer) { p.Silent = 300 * time.Millisecond }), peer("b", nil),
		}, "b"},
		{"a silent holder still", []Peer{
			peer("a", lacks), peer("b", func(p *Peer) { p.Silent = 300 * time.Millisecond }),
		}, "b"},
		{"the node itself among equals", []Peer{
			peer("a", nil), peer("b", func(p *Peer) { p.Self = true }),
		}, "b"},
	} {
		got, _ := Decide(facts, c.peers, nil).Chosen()
		if got.Peer != c.want {
			t.Errorf("%s: chose %q, want %q\n%s", c.name, got.Peer, c.want, Decide(facts, c.peers, nil))
		}
	}
}

func genPeer(t *rapid.T, i int) Peer {
	return Peer{
		ID: shoal.PeerID(fmt.Sprintf("peer%04d", i)), Self: i == 0,
		Slots: rapid.IntRange(0, 64).Draw(t, "slots"), Running: rapid.IntRange(0, 64).Draw(t, "running"),
		Queued: rapid.IntRange(0, 5000).Draw(t, "queued"), TaskSecs: rapid.Float64Range(0, 1e4).Draw(t, "secs"),
		Code: rapid.Uint64Range(0, 1<<26).Draw(t, "code"), Data: rapid.SampledFrom([]uint64{0, 1, 1 << 20, 1 << 40}).Draw(t, "data"),
		Rate: rapid.SampledFrom([]float64{0, -1, math.Inf(1), math.NaN(), 1e6, 1e9}).Draw(t, "rate"),
		RTT:  time.Duration(rapid.Int64Range(-5, 1e9).Draw(t, "rtt")), Compiled: rapid.Bool().Draw(t, "compiled"),
		HashMBs: rapid.SampledFrom([]float64{0, math.NaN(), 300, 2000}).Draw(t, "hash"),
	}
}

func genFacts(t *rapid.T) Facts {
	return Facts{
		Task: "t", Code: rapid.Uint64Range(0, 1<<26).Draw(t, "size"), Data: rapid.SampledFrom([]uint64{0, 1 << 20, 1 << 40}).Draw(t, "in"),
		Work: rapid.Float64Range(0, 1e6).Draw(t, "work"), Seed: rapid.Uint64().Draw(t, "seed"),
	}
}

func TestTermsAreFiniteAndMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := genPeer(t, rapid.IntRange(0, 3).Draw(t, "i")), genFacts(t)
		terms := Of(p, f)
		for _, v := range []float64{terms.Wait, terms.Code, terms.Data, terms.Compile, terms.Work, terms.Latency} {
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
				t.Fatalf("term %v of %+v", terms, p)
			}
		}
		worse := p
		worse.Queued += 10
		worse.Data += 1 << 20
		worse.Code += 1 << 20
		worse.Compiled = false
		if Of(worse, f).Total() < terms.Total() {
			t.Fatalf("more to do costs less: %v, %v", terms, Of(worse, f))
		}
		if p.Room() && terms.Wait != 0 {
			t.Fatalf("a free slot and a wait of %v", terms.Wait)
		}
	})
}

func TestDecideProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFacts(t)
		peers := make([]Peer, rapid.IntRange(1, 12).Draw(t, "n"))
		for i := range peers {
			peers[i] = genPeer(t, i)
		}
		refused := []Choice{{Peer: "gone", Refusal: "silent", Retry: true}}
		e := Decide(f, peers, refused)
		if len(e.Choices) != len(peers)+1 || len(e.Refused()) != 1 {
			t.Fatalf("%d rows for %d peers", len(e.Choices), len(peers))
		}
		chosen, ok := e.Chosen()
		if !ok || chosen.Refusal != "" {
			t.Fatalf("chose %+v", chosen)
		}
		// The order in which facts arrive decides nothing.
		shuffled := slices.Clone(peers)
		slices.Reverse(shuffled)
		if again, _ := Decide(f, shuffled, refused).Chosen(); again.Peer != chosen.Peer {
			t.Fatalf("%s, then %s", chosen.Peer, again.Peer)
		}
		for _, c := range e.Choices[:len(peers)] {
			switch {
			case c.Weighed+Near*(c.Total+1e4) < chosen.Weighed:
				t.Fatalf("%s is cheaper than %s", c.Peer, chosen.Peer)
			case c.Holder && c.Room && !chosen.Holder && c.Total < chosen.Total && c.Weighed < chosen.Weighed:
				t.Fatalf("%s holds the data and is better in each way, %s got the task", c.Peer, chosen.Peer)
			}
		}
	})
}

// TestEqualsShare draws many tasks over equal peers: each gets its part, and a seed repeats it.
func TestEqualsShare(t *testing.T) {
	peers := make([]Peer, 5)
	for i := range peers {
		peers[i] = Peer{ID: shoal.PeerID(fmt.Sprintf("12D3KooWpeer%d", i)), Slots: 2}
	}
	got := map[shoal.PeerID]int{}
	for i := range 5000 {
		f := Facts{Task: shoal.TaskID(fmt.Sprintf("t%d", i)), Seed: 7}
		a, _ := Decide(f, peers, nil).Chosen()
		b, _ := Decide(f, peers, nil).Chosen()
		if a.Peer != b.Peer {
			t.Fatal("one seed, two decisions")
		}
		got[a.Peer]++
	}
	for _, p := range peers {
		if n := got[p.ID]; n < 850 || n > 1150 {
			t.Errorf("%s got %d of 5000 tasks; want about 1000", p.ID, n)
		}
	}
}

// TestNearlyEqualsShare: of peers that differ by less than an estimate is worth each gets its part, the busier ones less; one
// that is clearly worse gets nothing, and what is best kept on the node stays.
func TestNearlyEqualsShare(t *testing.T) {
	var peers []Peer
	for i := range 7 {
		p := Peer{ID: shoal.PeerID(fmt.Sprintf("12D3KooWpeer%d", i)), Slots: 4, RTT: time.Duration(1+i) * time.Millisecond, TaskSecs: 1, Compiled: true}
		if i >= 4 {
			p.Running = 2
		}
		if i == 6 {
			p.RTT = 300 * time.Millisecond
		}
		peers = append(peers, p)
	}
	count := func() map[shoal.PeerID]int {
		got := map[shoal.PeerID]int{}
		for i := range 3000 {
			c, _ := Decide(Facts{Task: shoal.TaskID(fmt.Sprintf("t%d", i)), Seed: 7}, peers, nil).Chosen()
			got[c.Peer]++
		}
		return got
	}
	got := count()
	for i, p := range peers {
		switch n := got[p.ID]; {
		case i < 4 && (n < 500 || n > 900), i >= 4 && i < 6 && (n < 50 || n > 250), i == 6 && n > 0:
			t.Errorf("peer %d got %d of 3000: %v", i, n, got)
		}
	}
	peers[0].Self = true
	if got := count(); got[peers[0].ID] != 3000 {
		t.Errorf("the node itself is the best: %v", got)
	}
}

func TestExplainRenders(t *testing.T) {
	peers := []Peer{
		{ID: "12D3KooWAAAAaaaa", Slots: 2, Running: 2, Queued: 3, TaskSecs: 0.4, Compiled: true, RTT: time.Millisecond},
		{ID: "12D3KooWBBBBbbbb", Slots: 8, Code: 300 << 10, Data: 64 << 20, Rate: 110e6, RTT: 3 * time.Millisecond},
	}
	refused := []Choice{
		{Peer: "12D3KooWCCCCcccc", Refusal: "needs gpus.exists(g, g.memory >= gib(16)): it has no GPU at all, and " +
			strings.Repeat("long ", 20) + "reasons wrap"},
		{Peer: "12D3KooWDDDDdddd", Refusal: "its queue is full", Retry: true},
	}
	e := Decide(Facts{Task: "tabcdefghijklmnopqrstuvwxyz", Code: 300 << 10, Data: 64 << 20}, peers, refused)
	text := e.String()
	for _, want := range []string{
		"runs on AAAAaaaa: it holds the data", "wait", "compile", "> AAAAaaaa", "  BBBBbbbb",
		"CCCCcccc out: needs gpus", "cannot help)", "DDDDdddd out: its queue is full (a retry may help)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(line) > 80 {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Explain
	if err := json.Unmarshal(b, &back); err != nil || !slices.Equal(back.Choices, e.Choices) {
		t.Fatalf("JSON does not come back: %v\n%s", err, b)
	}
}

func TestExplainNeverExceeds80Columns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		peers := make([]Peer, rapid.IntRange(0, 12).Draw(t, "n"))
		for i := range peers {
			peers[i] = genPeer(t, i)
		}
		e := Decide(genFacts(t), peers, []Choice{{Peer: "x", Refusal: rapid.StringN(1, 300, 300).Draw(t, "why")}})
		e.Task = shoal.TaskID(rapid.StringN(0, 100, 100).Draw(t, "task"))
		for _, line := range strings.Split(e.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > 80 {
				t.Fatalf("%d columns: %q", n, line)
			}
		}
	})
}

// TestPassedOver: peers that are passed over are told with their terms, and never chosen.
func TestPassedOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFacts(t)
		peers := make([]Peer, rapid.IntRange(1, 12).Draw(t, "n"))
		out := 0
		for i := range peers {
			peers[i] = genPeer(t, i)
			if rapid.Bool().Draw(t, "passed") {
				peers[i].Passed = "its window is full"
				out++
			}
		}
		e := Decide(f, peers, []Choice{{Peer: "gone", Refusal: "silent"}})
		c, ok := e.Chosen()
		if ok != (out < len(peers)) || c.Passed != "" {
			t.Fatalf("chose %+v with %d of %d passed over", c, out, len(peers))
		}
		if len(e.Open()) != len(peers)-out || len(e.Passed()) != out || len(e.Refused()) != 1 || len(e.Choices) != len(peers)+1 {
			t.Fatalf("%d, %d, %d rows for %d peers", len(e.Open()), len(e.Passed()), len(e.Refused()), len(peers))
		}
		for _, c := range e.Passed() {
			if c.Passed == "" || c.Total != c.Terms.Total() || c.Chosen {
				t.Fatalf("%+v", c)
			}
		}
		n := rapid.IntRange(0, 14).Draw(t, "brief")
		if b := e.Brief(n); len(b.Choices)+b.More != len(e.Choices) || len(b.Choices) > 2*n || n > 0 && len(b.Refused()) != 1 {
			t.Fatalf("%d rows and %d left out of %d", len(b.Choices), b.More, len(e.Choices))
		}
	})
}

// TestTable renders the decisions about a job's tasks.
func TestTable(t *testing.T) {
	var all []Explain
	for i := range 30 {
		all = append(all, Decide(Facts{Task: shoal.TaskID(fmt.Sprintf("tabcdefghijklmnopqrstuvwxyz/%d", i)), Data: 1 << 20}, []Peer{
			{ID: "12D3KooWAAAAaaaa", Compiled: true},
			{ID: "12D3KooWBBBBbbbb", Data: 1 << 20, Self: true, Passed: "it holds none of it"},
			{ID: "12D3KooWDDDDdddd", Passed: "its window is full"},
		}, []Choice{{Peer: "12D3KooWCCCCcccc", Refusal: "needs a GPU"}}))
	}
	text := Table(all, 25)
	for want, n := range map[string]int{
		"> chosen": 1, "wait    code": 1, ">AAAAaaaa": 25, "-BBBBbbbb": 25, "it holds none of it\n": 25, "holds; its window is full\n": 25,
		"     24 >": 1, "     25 >": 0, "and 5 more tasks": 1, "CCCCcccc out of 30 tasks: needs a GPU (a retry cannot help)": 1,
	} {
		if got := strings.Count(text, want); got != n {
			t.Errorf("%q is there %d times instead of %d:\n%s", want, got, n, text)
		}
	}
	if text := Table(all[:1], 25); !strings.Contains(text, "CCCCcccc out: needs a GPU") || strings.Contains(text, "more tasks") {
		t.Error(text)
	}
	refused := Table([]Explain{Decide(Facts{Task: "tjob"}, nil, []Choice{{Peer: "12D3KooWCCCCcccc", Refusal: "needs a GPU"}})}, 25)
	if !strings.Contains(refused, "tjob  no peer takes it\n") || !strings.Contains(refused, "CCCCcccc out: needs") {
		t.Error(refused)
	}
}

func TestTableNeverExceeds100Columns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		peers := make([]Peer, rapid.IntRange(0, 12).Draw(t, "n"))
		for i := range peers {
			peers[i] = genPeer(t, i)
			peers[i].Passed = rapid.StringN(0, 80, 80).Draw(t, "passed")
		}
		e := Decide(genFacts(t), peers, []Choice{{Peer: "x", Refusal: rapid.StringN(1, 300, 300).Draw(t, "why")}})
		e.Task = shoal.TaskID(rapid.StringN(0, 100, 100).Draw(t, "task"))
		for _, line := range strings.Split(Table([]Explain{e, e}, 1), "\n") {
			if n := utf8.RuneCountInString(line); n > 100 {
				t.Fatalf("%d columns: %q", n, line)
			}
		}
	})
}

func TestExplainedIsAnObjectOrAnArray(t *testing.T) {
	one := Explain{Task: "t", Choices: []Choice{{Peer: "p", Chosen: true}}}
	for _, c := range []struct {
		e     Explained
		first byte
	}{
		{Explained{Of: []Explain{one}}, '{'},
		{Explained{Each: true, Of: []Explain{one}}, '['},
		{Explained{Each: true, Of: []Explain{one, one}}, '['},
		{Explained{Each: true, Of: []Explain{}}, '['},
	} {
		b, err := json.Marshal(&c.e)
		if err != nil || b[0] != c.first {
			t.Errorf("%s %v", b, err)
		}
		var back Explained
		if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, c.e) {
			t.Errorf("%s came back as %+v: %v", b, back, err)
		}
	}
}

func FuzzExplained(f *testing.F) {
	f.Add([]byte(`{"task":"t","choices":[{"peer_id":"p","chosen":true}]}`))
	f.Add([]byte(`[{"task":"t","choices":null}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, back Explained
		if json.Unmarshal(b, &e) != nil {
			return
		}
		_ = e.String()
		again, err := json.Marshal(e)
		if err != nil || json.Unmarshal(again, &back) != nil || back.Each != e.Each || len(back.Of) != len(e.Of) {
			t.Fatalf("%q came back as %q: %v", b, again, err)
		}
	})
}

func BenchmarkDecide100(b *testing.B) {
	peers := make([]Peer, 100)
	for i := range peers {
		peers[i] = Peer{ID: shoal.PeerID(fmt.Sprintf("p%d", i)), Slots: 4, Queued: i % 7, Data: uint64(i) << 10}
	}
	for b.Loop() {
		Decide(Facts{Task: "t", Data: 1 << 20}, peers, nil)
	}
}
