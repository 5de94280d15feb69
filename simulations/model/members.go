package model

import (
	"time"

	"github.com/shoal-fabric/shoal/simulations/report"
)

// What members of a fabric say to one another to know who is there; see members.Config and members/run.go. The sizes are estimates, of
// real messages.
const (
	membersEvery = time.Minute // all that is said in it is one event

	gossipEvery = time.Second
	hush        = 3 * gossipEvery / 2 // a peer is asked when it was silent for so long
	fanOut      = 3
	mostProbed  = 16
	pullEvery   = 15 * time.Second
	beatEvery   = 10 * time.Second
	mesh        = 48 // connections that are kept up

	askBytes  = 32  // a push without news, and its reply, with the frames of rpc
	itemBytes = 420 // a member's record in a push
	pullBytes = 44  // a pull of who knows the same, and its reply
)

// members is the district of liveness: what it costs, all nodes together. Who is there is known from c.up and the delays of
// those who ask.
func (c *city) buildMembers() error {
	bytes := c.says("members.push", report.ByMembers)
	c.every(membersEvery, func() {
		up := 0
		for _, yes := range c.up {
			if yes {
				up++
			}
		}
		*bytes += uint64(float64(up) * membersRate(up, c.s.Table) * membersEvery.Seconds())
	})
	return nil
}

// membersRate is the bytes that a node's liveness costs in a second, both ways, in a fabric of n that is idle.
func membersRate(n int, table bool) float64 {
	conns := float64(min(n-1, mesh))
	// In each round, those who were silent for longer than the hush, so at most each in every second one.
	asks := min(conns/2, max(fanOut, min(mostProbed, (conns+2)/3)))
	rate := asks*askBytes/gossipEvery.Seconds() + pullBytes/pullEvery.Seconds()
	known := float64(n)
	if !table {
		known = conns + 1
	}
	beat := min(max(beatEvery.Seconds(), known*beatEvery.Seconds()/100), 60*beatEvery.Seconds())
	if table {
		// Each record reaches everybody once, and is sent twice more to those who know it already: a rumour ends then.
		return rate + known/beat*itemBytes*3
	}
	return rate + conns/beat*itemBytes // each peer in contact gets it from its owner
}
