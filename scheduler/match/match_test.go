package match

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

func member() *shoal.Member {
	return &shoal.Member{
		ID: "12D3KooWpeer", State: shoal.Alive, Seq: 1, Seen: time.Unix(1000, 0),
		Attributes: shoal.Attributes{OS: "linux", Arch: "amd64", CPUs: 8, Memory: 16 << 30, Labels: map[string]string{"zone": "a"}},
		Load:       shoal.Load{Slots: 8, Queued: 5},
	}
}

func fits(n *Needs, m *shoal.Member) bool { return n.Check(m, time.Unix(1007, 0)).OK }

func TestCheck(t *testing.T) {
	now := time.Unix(1007, 0)
	for _, c := range []struct {
		name   string
		needs  string
		limits shoal.Limits
		change func(*shoal.Member)
		ok     bool
		why    string
		retry  bool
	}{
		{"nothing asked", "", shoal.Limits{}, nil, true, "", false},
		{"fits", `cpus >= 4 && labels.zone == "a"`, shoal.Limits{}, nil, true, "", false},
		{"too small", `cpus >= 16`, shoal.Limits{}, nil, false, "cpus", false},
		{"another zone", `cpus >= 4 && labels.zone == "b"`, shoal.Limits{}, nil, false, "zone", false},
		{"busy now", `load.queued < 3`, shoal.Limits{}, nil, false, "load", true},
		{"no GPU free now", `gpus.exists(g, g.free >= gib(8))`, shoal.Limits{}, nil, false, "gpus is empty", true},
		{"memory", "", shoal.Limits{Memory: 32 << 30}, nil, false, "memory", false},
		{"suspect", "", shoal.Limits{}, func(m *shoal.Member) { m.State = shoal.Suspect }, false, "suspect: nothing heard for 7s", true},
		{"down", "", shoal.Limits{}, func(m *shoal.Member) { m.State = shoal.Down }, false, "down", true},
		{"left", "", shoal.Limits{}, func(m *shoal.Member) { m.State = shoal.Left }, false, "left", false},
		{"forgotten", "", shoal.Limits{}, func(m *shoal.Member) { m.State = shoal.Forgotten }, false, "forgotten", false},
	} {
		n, err := Compile(c.needs, c.limits)
		if err != nil {
			t.Fatal(c.name, err)
		}
		m := member()
		if c.change != nil {
			c.change(m)
		}
		for range 2 { // the second answer is a remembered one
			v := n.Check(m, now)
			if v.OK != c.ok || v.Retry != c.retry || !strings.Contains(v.Reason, c.why) || v.OK != (v.Reason == "") {
				t.Errorf("%s: %+v", c.name, v)
			}
		}
	}
}

func TestVerdictsFollowTheRecord(t *testing.T) {
	n, err := Compile(`labels.zone == "a"`, shoal.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	m := member()
	if !fits(n, m) {
		t.Fatal("does not fit")
	}
	m.Attributes.Labels["zone"], m.Seq = "b", 2
	if fits(n, m) {
		t.Fatal("a remembered verdict outlived the record")
	}
	load, err := Compile(`load.queued < 10`, shoal.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if !fits(load, m) {
		t.Fatal("does not fit")
	}
	if m.Load.Queued = 20; fits(load, m) {
		t.Fatal("a verdict about load was remembered")
	}
}

func TestCompileErrors(t *testing.T) {
	if _, err := Compile(`cpus >=`, shoal.Limits{}); shoal.KindOf(err) != shoal.Invalid {
		t.Fatal(err)
	}
	n, err := Compile(`labels.zone == "a"`, shoal.Limits{})
	if err != nil || len(n.Indexes()) != 1 {
		t.Fatal(n.Indexes(), err)
	}
}

func TestRequirement(t *testing.T) {
	m := member()
	m.Attributes.Executors = []string{"train"}
	for _, c := range []struct {
		code  cid.Cid
		needs string
		ok    bool
	}{
		{shoal.BlockCID([]byte("module")), "", true},
		{shoal.ExecCID("train"), "", true},
		{shoal.ExecCID("train"), "cpus == 8 // at least", true},
		{shoal.ExecCID("train"), "cpus == 9 || cpus == 10", false},
		{shoal.ExecCID("other"), "cpus == 9 || cpus == 8", false}, // not: has it and 9, or 8
		{shoal.ExecCID("other"), "", false},
	} {
		n, err := Compile(Requirement(c.code, c.needs), shoal.Limits{})
		if err != nil {
			t.Errorf("%s, %q: %v", shoal.CodeName(c.code), c.needs, err)
			continue
		}
		if v := n.Check(m, time.Now()); v.OK != c.ok {
			t.Errorf("%s, %q: %+v", shoal.CodeName(c.code), c.needs, v)
		}
	}
	n, err := Compile(Requirement(shoal.ExecCID("train"), `labels.zone == "a"`), shoal.Limits{})
	if err != nil || fmt.Sprint(n.Indexes()) != "[exec=train label=zone=a]" {
		t.Errorf("%v %v", n.Indexes(), err)
	}
}
