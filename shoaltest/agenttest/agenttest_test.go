package agenttest

import (
	"testing"

	"github.com/shoal-fabric/shoal"
)

func TestDouble(t *testing.T) {
	TestBehaviour(t, func(*testing.T) shoal.Behaviour { return Probe() })
}
