package sandbox

import (
	_ "embed"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

//go:embed testdata/probe.wasm
var probe []byte

//go:embed testdata/reactor.wasm
var reactor []byte

// fresh returns a sandbox that is closed with the test.
func fresh(t testing.TB, cfg Config) *Sandbox {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if used, idle := s.ledger.Idle(); !idle {
			t.Errorf("memory is left behind: %d bytes", used)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	open := func(t *testing.T, was shoal.Runner) shoal.Runner {
		dir := t.TempDir()
		if s, ok := was.(*Sandbox); ok {
			dir = s.cfg.CacheDir
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return fresh(t, Config{CacheDir: dir})
	}
	shoaltest.TestRunner(t, open, open, probe, reactor)
}
