package scenario

import "time"

// Peers bound the connections of each node, see host.Config.LowPeers, HighPeers and Grace. Both storeys have them.
type Peers struct {
	Low, High int
	Grace     time.Duration
}

// FindMost is how many of those who announced something are tried by who asks for them ('ask: find' and 'ask: gpu'), until one answers.
const FindMost = 8

// mostOpen is up to how many nodes each may have connections to all others.
const mostOpen = 200

// Peers returns the bounds that nodes have. In a small cluster they are those of nodes in production, which let each have connections to all
// others. Connections cost most of what a node costs in one process, so in a large one each has few: beside those that the DHT protects as
// many as members keep up (members.Config.Mesh) and half as many more, and new ones for a few questions of the DHT.
func (s *Scenario) Peers() Peers {
	low := 48
	switch {
	case s.Nodes() <= mostOpen:
		return Peers{Low: 256, High: 384, Grace: 20 * time.Second}
	case !s.Table:
		low = 24
	}
	return Peers{Low: low, High: low + low/2, Grace: 5 * time.Second}
}
