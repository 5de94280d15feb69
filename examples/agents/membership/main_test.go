package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

func open() *agenttest.Fabric {
	f := agenttest.New()
	f.Add("group", agenttest.Methods{
		"join": Join, "beat": Beat, "leave": Leave, "view": View, "history": History, "watch": Watch, "unwatch": Unwatch,
		"expire": Expire,
	})
	f.Add("eye", agenttest.Methods{
		"open": func(t *agent.Turn) ([]byte, error) { return t.Call("group", "watch", []byte("seen")) },
		"shut": func(t *agent.Turn) ([]byte, error) { return t.Call("group", "unwatch", nil) },
		"seen": func(t *agent.Turn) ([]byte, error) { t.Put("seen", t.Payload()); return nil, nil },
	})
	return f
}

func TestMembership(t *testing.T) {
	f := open()
	for i, c := range []struct{ to, method, payload, want string }{
		{"group", "view", "", "view 0"},
		{"group", "join", "ann\n1000", "view 1 1000"},
		{"group", "join", "bob\n3000", "view 2 3000"},
		{"eye", "open", "", "view 2"},
		{"group", "view", "", "view 2\nann\nbob"},
		{"wait", "", "900", ""},
		{"group", "beat", "ann", "view 2"},
		{"wait", "", "900", ""},
		{"group", "view", "", "view 2\nann\nbob"},
		{"wait", "", "200", ""},
		{"group", "view", "", "view 3\nbob"},
		{"group", "beat", "ann", "gone"},
		{"group", "join", "ann\n5000", "view 4 5000"},
		{"group", "join", "ann\n1000", "view 4 1000"},
		{"wait", "", "1500", ""},
		{"group", "history", "", "1 joined ann\n2 joined bob\n3 failed ann\n4 joined ann\n5 failed bob\n6 failed ann"},
		{"group", "leave", "bob", "gone"},
		{"group", "join", "eve\n1000", "view 7 1000"},
		{"group", "leave", "eve", "view 8"},
		{"wait", "", "5000", ""},
		{"group", "view", "", "view 8"},
		{"eye", "shut", "", ""},
		{"group", "join", "eve\n1000", "view 9 1000"},
		{"group", "join", "eve", "!"},
		{"group", "join", "\n1000", "!"},
		{"group", "beat", "", "!"},
		{"group", "expire", "eve\n1000 6", "!"},
	} {
		if c.to == "wait" {
			ms, _ := strconv.Atoi(c.payload)
			f.Advance(time.Duration(ms) * time.Millisecond)
			continue
		}
		got, err := f.Call(c.to, c.method, []byte(c.payload))
		if (err != nil) != (c.want == "!") || err == nil && string(got) != c.want {
			t.Fatalf("%d: %s %q: %q, %v, want %q", i, c.method, c.payload, got, err, c.want)
		}
		f.Settle()
	}
	if got := string(f.State("eye")["seen"]); got != "view 8" {
		t.Errorf("the watcher has seen %q", got)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	f := open()
	for i := range 130 {
		if _, err := f.Call("group", "join", fmt.Appendf(nil, "m%d\n1000", i)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Read("group", "history", nil)
	lines := strings.Split(string(got), "\n")
	if err != nil || len(lines) != remembered || lines[0] != "31 joined m30" || lines[99] != "130 joined m129" {
		t.Errorf("%d lines, %q to %q, %v", len(lines), lines[0], lines[len(lines)-1], err)
	}
}
