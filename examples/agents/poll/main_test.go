package main

import (
	"testing"

	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

func TestPoll(t *testing.T) {
	f := agenttest.New()
	m := agenttest.Methods{"vote": Vote, "result": Result, "turnout": Turnout}
	f.Add("north", m)
	f.Add("south", m)
	for _, c := range []struct{ to, payload string }{
		{"north", "lunch\nann\nsoup"},
		{"south", "lunch\nbob\nrice"},
		{"north", "lunch\ncat\nrice"},
		{"south", "lunch\nann\nrice"},
		{"south", "lunch\ndan\nsoup"},
		{"north", "supper\nann\nnone"},
	} {
		if _, err := f.Call(c.to, "vote", []byte(c.payload)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Call("north", "vote", []byte("lunch\nann")); err == nil {
		t.Error("a vote without a choice")
	}
	if _, err := f.Read("north", "vote", []byte("lunch\nann\nsoup")); err == nil {
		t.Error("a vote of a turn that reads")
	}
	for _, c := range []struct{ method, payload, want string }{
		{"result", "lunch", "rice 3\nsoup 1\n"}, {"turnout", "lunch", "5"}, {"result", "none", ""}, {"turnout", "none", "0"},
	} {
		if got, err := f.Read("south", c.method, []byte(c.payload)); err != nil || string(got) != c.want {
			t.Errorf("%s %s: %q, %v, want %q", c.method, c.payload, got, err, c.want)
		}
	}
}
