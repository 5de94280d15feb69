package shoaltest

import (
	"testing"

	"github.com/shoal-fabric/shoal"
)

func TestRunnerDouble(t *testing.T) {
	probe, reactor := []byte("the probe"), []byte("a reactor")
	open := func(*testing.T, shoal.Runner) shoal.Runner {
		r := NewRunner()
		r.Register(probe, Probe)
		r.Register(reactor, nil)
		return r
	}
	same := func(_ *testing.T, was shoal.Runner) shoal.Runner { return was }
	TestRunner(t, open, same, probe, reactor)
}
