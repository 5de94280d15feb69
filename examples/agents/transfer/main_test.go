package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

func open() *agenttest.Fabric {
	f := agenttest.New()
	for _, name := range []string{"bank", "ann", "bob", "eve"} {
		f.Add(name, agenttest.Methods{
			"deposit": Deposit, "balance": Balance, "prepare": Prepare, "commit": Commit, "abort": Abort,
			"transfer": Transfer, "vote": Vote, "late": Late, "status": Status,
		})
	}
	return f
}

func call(t *testing.T, f *agenttest.Fabric, to, method, payload string) string {
	t.Helper()
	reply, err := f.Call(to, method, []byte(payload))
	if err != nil {
		t.Fatalf("%s %s %q: %v", to, method, payload, err)
	}
	return string(reply)
}

func TestTransfer(t *testing.T) {
	f := open()
	call(t, f, "ann", "deposit", "100")
	first := call(t, f, "bank", "transfer", "ann\nbob\n30")
	second := call(t, f, "bank", "transfer", "ann\nbob\n80")
	if got := call(t, f, "bank", "status", first); got != "preparing" {
		t.Errorf("first: %s", got)
	}
	f.Settle()
	for name, want := range map[string]string{first: "committed", second: "aborted from: it has 70 to give"} {
		if got := call(t, f, "bank", "status", name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if a, b := call(t, f, "ann", "balance", ""), call(t, f, "bob", "balance", ""); a != "70 70" || b != "30 30" {
		t.Errorf("ann %s, bob %s", a, b)
	}
	third := call(t, f, "bank", "transfer", "ann\nnobody\n1")
	f.Settle()
	if got := call(t, f, "ann", "balance", ""); got != "70 69" {
		t.Errorf("while it waits: %s", got)
	}
	f.Advance(time.Minute)
	if got := call(t, f, "bank", "status", third); got != "aborted: not all voted in time" {
		t.Errorf("to nobody: %s", got)
	}
	if got := call(t, f, "ann", "balance", ""); got != "70 70" {
		t.Errorf("at last: %s", got)
	}
	for _, p := range []string{"", "ann\nbob", "ann\nbob\n0", "ann\nbob\n-1", "ann\nann\n1", "ann\nbob\nx"} {
		if _, err := f.Call("bank", "transfer", []byte(p)); err == nil {
			t.Errorf("transfer %q", p)
		}
	}
	forged := "1-guess\n-5\nyes"
	call(t, f, "bank", "vote", forged)
}

// TestEachStep cuts an agent off after each step of a transfer: nothing is lost and nothing stays held.
func TestEachStep(t *testing.T) {
	for _, cut := range []string{"bank", "ann", "bob"} {
		for steps := range 8 {
			for _, away := range []time.Duration{time.Second, time.Minute} {
				f := open()
				call(t, f, "ann", "deposit", "100")
				name := call(t, f, "bank", "transfer", "ann\nbob\n30")
				for range steps {
					f.Step()
				}
				f.Down(cut, true)
				f.Advance(away)
				f.Down(cut, false)
				f.Advance(time.Minute)
				state, _, _ := strings.Cut(call(t, f, "bank", "status", name), " ")
				got := strings.TrimSuffix(state, ":") + " " + call(t, f, "ann", "balance", "") + ", " + call(t, f, "bob", "balance", "")
				if got != "committed 70 70, 30 30" && got != "aborted 100 100, 0 0" {
					t.Errorf("%s away for %v after %d steps: %s", cut, away, steps, got)
				}
			}
		}
	}
}

// TestTheTotalIsConserved has many transfers at once, and agents that come and go.
func TestTheTotalIsConserved(t *testing.T) {
	for seed := range uint64(30) {
		r, f := rand.New(rand.NewPCG(seed, 0)), open()
		all := []string{"ann", "bob", "eve"}
		for _, name := range all {
			call(t, f, name, "deposit", "100")
		}
		var names []string
		for range 60 {
			from, to := r.IntN(3), r.IntN(2)
			if to >= from {
				to++
			}
			if reply, err := f.Call("bank", "transfer", fmt.Appendf(nil, "%s\n%s\n%d", all[from], all[to], 1+r.IntN(60))); err == nil {
				names = append(names, string(reply))
			}
			for range r.IntN(8) {
				f.Step()
			}
			f.Down(append(all, "bank")[r.IntN(4)], r.IntN(2) == 0)
			f.Advance(time.Duration(r.IntN(5000)) * time.Millisecond)
		}
		for _, name := range append(all, "bank") {
			f.Down(name, false)
		}
		f.Advance(time.Hour)
		total := 0
		for _, name := range all {
			var have, free int
			if _, err := fmt.Sscan(call(t, f, name, "balance", ""), &have, &free); err != nil || have != free || have < 0 {
				t.Errorf("seed %d: %s has %d, of it free %d", seed, name, have, free)
			}
			total += have
		}
		committed := 0
		for _, name := range names {
			switch s := call(t, f, "bank", "status", name); {
			case s == "committed":
				committed++
			case s == "preparing":
				t.Errorf("seed %d: %s goes on for ever", seed, name)
			}
		}
		if total != 300 || committed == 0 {
			t.Errorf("seed %d: the total is %d; %d of %d committed", seed, total, committed, len(names))
		}
	}
}
