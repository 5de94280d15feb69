package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

func open() *agenttest.Fabric {
	f := agenttest.New()
	f.Add("q", agenttest.Methods{"push": Push, "pull": Pull, "done": Done, "extend": Extend, "count": Count})
	return f
}

func TestQueue(t *testing.T) {
	f := open()
	for _, c := range []struct{ method, payload, want string }{
		{"pull", "", "none"},
		{"push", "one", "1"},
		{"push", "two\nlines", "2"},
		{"count", "", "2 0 0"},
		{"pull", "1000", "1 1\none"},
		{"pull", "1000", "2 1\ntwo\nlines"},
		{"pull", "1000", "none"},
		{"count", "", "0 2 0"},
		{"done", "2 1", "done"},
		{"done", "2 1", "stale"},
		{"extend", "1 1 5000", "ok"},
		{"wait", "4000", ""},
		{"pull", "1000", "none"},
		{"wait", "1000", ""},
		{"done", "1 1", "stale"},
		{"pull", "1000", "1 2\none"},
		{"done", "1 1", "stale"},
		{"wait", "1000", ""},
		{"pull", "1000", "1 3\none"},
		{"wait", "1000", ""},
		{"pull", "1000", "1 4\none"},
		{"wait", "1000", ""},
		{"pull", "1000", "1 5\none"},
		{"wait", "1000", ""},
		{"pull", "1000", "none"},
		{"count", "", "0 0 1"},
		{"pull", "x", "!"},
		{"done", "1", "!"},
		{"done", "x 1", "!"},
		{"extend", "1 1", "!"},
		{"push", strings.Repeat("x", maxBody+1), "!"},
	} {
		if c.method == "wait" {
			ms, _ := strconv.Atoi(c.payload)
			f.Advance(time.Duration(ms) * time.Millisecond)
			continue
		}
		got, err := f.Call("q", c.method, []byte(c.payload))
		if (err != nil) != (c.want == "!") || err == nil && string(got) != c.want {
			t.Fatalf("%s %.20q: %q, %v, want %q", c.method, c.payload, got, err, c.want)
		}
	}
	if got, err := f.Read("q", "count", nil); err != nil {
		t.Errorf("count only reads: %q, %v", got, err)
	}
}

// TestNothingIsLost has workers pull, and end some and forget others. Every message is done once, or dead.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(20) {
		r, f := rand.New(rand.NewPCG(seed, 0)), open()
		ended, pushed := map[string]bool{}, 0
		for range 400 {
			if r.IntN(3) == 0 && pushed < 60 {
				pushed++
				if _, err := f.Call("q", "push", fmt.Append(nil, pushed)); err != nil {
					t.Fatal(err)
				}
			}
			f.Advance(time.Duration(r.IntN(300)) * time.Millisecond)
			reply, err := f.Call("q", "pull", []byte("1000"))
			if err != nil {
				t.Fatal(err)
			}
			receipt, body, ok := strings.Cut(string(reply), "\n")
			if !ok {
				continue
			}
			if ended[body] {
				t.Fatalf("seed %d: %s comes again after it was done", seed, body)
			}
			if r.IntN(3) > 0 {
				if got, err := f.Call("q", "done", []byte(receipt)); err != nil || string(got) != "done" {
					t.Fatalf("seed %d: done %s: %q, %v", seed, receipt, got, err)
				}
				ended[body] = true
			}
		}
		for range 200 {
			f.Advance(time.Second)
			reply, _ := f.Call("q", "pull", []byte("1000"))
			if receipt, body, ok := strings.Cut(string(reply), "\n"); ok {
				_, _ = f.Call("q", "done", []byte(receipt))
				ended[body] = true
			}
		}
		counts, _ := f.Call("q", "count", nil)
		var ready, hidden, dead int
		_, _ = fmt.Sscan(string(counts), &ready, &hidden, &dead)
		if ready+hidden != 0 || len(ended)+dead != pushed {
			t.Errorf("seed %d: %d pushed, %d done, %s", seed, pushed, len(ended), counts)
		}
	}
}
