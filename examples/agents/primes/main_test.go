package main

import (
	"testing"

	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

func open() *agenttest.Fabric {
	f := agenttest.New()
	f.Add("p", agenttest.Methods{"start": Start, "progress": Progress, "stop": Stop, "step": Step})
	return f
}

func TestPrimes(t *testing.T) {
	f := open()
	call := func(method, payload, want string) {
		t.Helper()
		if got, err := f.Call("p", method, []byte(payload)); (err != nil) != (want == "!") || err == nil && string(got) != want {
			t.Fatalf("%s %s: %q, %v, want %q", method, payload, got, err, want)
		}
	}
	call("progress", "", "0 0 0 0")
	call("start", "100000", "")
	call("start", "10", "!")
	f.Advance(0)
	call("progress", "", "100000 100000 9592 5 done")
	call("start", "3", "")
	f.Advance(0)
	call("progress", "", "3 3 1 1 done")
	call("start", "1000000000", "")
	call("stop", "", "")
	f.Advance(0)
	call("progress", "", "0 0 0 0")
	for _, p := range []string{"", "1", "x", "1000000001"} {
		call("start", p, "!")
	}
}

func TestLittleGas(t *testing.T) {
	f := open()
	f.Gas = gasLeft - 1
	if _, err := f.Call("p", "start", []byte("1000")); err != nil {
		t.Fatal(err)
	}
	f.Advance(0)
	if got, err := f.Read("p", "progress", nil); err != nil || string(got) != "1000 1000 168 16 done" {
		t.Errorf("%q, %v", got, err)
	}
}
