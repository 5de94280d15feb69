package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

const size = 5

func open(t *testing.T) *agenttest.Fabric {
	f := agenttest.New()
	all := ""
	for n := range size {
		f.Add(fmt.Sprint("m", n+1), agenttest.Methods{
			"setup": Setup, "leader": Leader, "rounds": Rounds, "elect": Elect, "answer": Answer, "lead": Lead,
			"ping": Ping, "pong": Pong, "unanswered": Unanswered, "watch": Watch, "silent": Silent,
		})
		all += fmt.Sprintf("\n%d m%d", n+1, n+1)
	}
	for n := range size {
		if _, err := f.Call(fmt.Sprint("m", n+1), "setup", fmt.Append(nil, n+1, all)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// agreed is the leader that all who can be reached follow, or what else they say.
func agreed(f *agenttest.Fabric) string {
	seen := ""
	for n := range size {
		reply, err := f.Read(fmt.Sprint("m", n+1), "leader", nil)
		if err != nil {
			continue
		}
		if seen != "" && seen != string(reply) {
			return fmt.Sprintf("%s and %s", seen, reply)
		}
		seen = string(reply)
	}
	return seen
}

func TestElection(t *testing.T) {
	f := open(t)
	for _, c := range []struct {
		down, up string
		want     string
	}{
		{"", "", "5"},
		{"m5", "", "4"},
		{"m4", "", "3"},
		{"m1", "", "3"},
		{"", "m4", "4"},
		{"", "m5", "5"},
		{"", "m1", "5"},
	} {
		if c.down != "" {
			f.Down(c.down, true)
		}
		if c.up != "" {
			f.Down(c.up, false)
		}
		f.Advance(20 * time.Second)
		if got := agreed(f); got != c.want {
			t.Fatalf("%s down, %s up: %s leads, want %s", c.down, c.up, got, c.want)
		}
	}
	if _, err := f.Call("m1", "lead", []byte("9")); err == nil {
		t.Error("a stranger may say that it leads")
	}
	for _, p := range []string{"", "x\n1 a", "1", "1\n2 b", "1\n1"} {
		if _, err := f.Call("m1", "setup", []byte(p)); err == nil {
			t.Errorf("setup %q", p)
		}
	}
}

// TestQuick is how long it takes from the loss of the leader to the next.
func TestQuick(t *testing.T) {
	f := open(t)
	f.Advance(20 * time.Second)
	f.Down("m5", true)
	took := time.Duration(0)
	for ; agreed(f) != "4" && took < time.Minute; took += 100 * time.Millisecond {
		f.Advance(100 * time.Millisecond)
	}
	t.Logf("a new leader after %v", took)
	if took > pingTime+pongTime+2*answerTime {
		t.Errorf("it took %v", took)
	}
}

// TestAnyOrder has members come and go at random: when it is quiet, the highest leads.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(30) {
		r, f := rand.New(rand.NewPCG(seed, 0)), open(t)
		up := map[int]bool{1: true, 2: true, 3: true, 4: true, 5: true}
		for range 30 {
			n := 1 + r.IntN(size)
			up[n] = r.IntN(3) > 0
			f.Down(fmt.Sprint("m", n), !up[n])
			f.Advance(time.Duration(r.IntN(3000)) * time.Millisecond)
		}
		highest := 0
		for n := 1; n <= size; n++ {
			if up[n] {
				highest = n
			}
		}
		f.Advance(time.Minute)
		if got := agreed(f); highest > 0 && got != fmt.Sprint(highest) {
			t.Errorf("seed %d: %s leads, and %d is the highest", seed, got, highest)
		}
	}
}
