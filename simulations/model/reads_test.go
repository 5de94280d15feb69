package model

import (
	"math"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestReadsCrossLeaves: a part of a dataset costs all leaves that it touches, also those of the next partition, one after the other.
func TestReadsCrossLeaves(t *testing.T) {
	const leaf = 256 << 10
	read := func(bytes scenario.Size) float64 {
		s := town(100, func(s *scenario.Scenario) {
			s.Duration = 3 * time.Minute
			s.Data = []scenario.Dataset{{Name: "photos", Count: 40, Bytes: 8 * leaf, Partition: leaf, Replicas: 2, Zipf: 0}}
			s.Agents = []scenario.Agents{{Name: "house", Count: 200, State: 100, Replicas: 3, Reads: "photos", Read: bytes}}
			s.Load = []scenario.Load{{Ask: scenario.Read, On: "house", Rate: 8}}
		})
		r := run(t, s, 1, Options{})
		return float64(r.Bytes[report.ByData]) / r.Figures["calls"]
	}
	one := read(1)
	for _, c := range []struct {
		bytes scenario.Size
		want  float64 // leaves that are touched on average
	}{{leaf / 4, 1.25}, {leaf / 2, 1.5}, {3 * leaf, 4}} {
		if got := read(c.bytes) / one; math.Abs(got-c.want) > 0.12*c.want {
			t.Errorf("reads of %d bytes move %.2f times what reads of a byte do, not %.2f", c.bytes, got, c.want)
		}
	}
	if one > leaf || one < leaf/2 {
		t.Errorf("reads of a byte move %.0f", one)
	}
}
