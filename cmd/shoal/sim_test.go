package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations"
)

// TestProgressWithoutTerminal: a line now and then, and none of what is over soon.
func TestProgressWithoutTerminal(t *testing.T) {
	var said bytes.Buffer
	p := simulations.Progress{Runs: 1, End: time.Minute, Making: "nodes: 1 of 2"}
	m := &simMeter{s: &shell{errs: &said}, begun: time.Now().Add(-tellEvery / 2)}
	if m.on(p); said.Len() > 0 {
		t.Errorf("it says %q", &said)
	}
	m.begun = m.begun.Add(-tellEvery)
	for range 3 {
		m.on(p)
	}
	if got := said.String(); got != "nodes: 1 of 2, then 1m0s to simulate\n" {
		t.Errorf("it says %q", got)
	}
}
