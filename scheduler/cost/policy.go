package cost

import "slices"

// Policy is a rule that stands in for the costs, for comparisons: nobody is better off with one than with Fluid.
type Policy string

// The policies.
const (
	Fluid    Policy = ""          // what costs least moves
	ShipData Policy = "ship-data" // the node that decides runs the task, and data comes to it
	ShipCode Policy = "ship-code" // a holder of all data runs it, and code goes there
)

// ParsePolicy reads what a user wrote; "fluid" is Fluid.
func ParsePolicy(s string) (Policy, bool) {
	switch p := Policy(s); p {
	case Fluid, ShipData, ShipCode:
		return p, true
	}
	return Fluid, s == "fluid"
}

// bound is the choice that a policy asks for, of those in the order of their cost; -1: the costs decide, as there is none
// that it would have.
func (p Policy) bound(choices []Choice, peers []Peer) int {
	switch p {
	case ShipData:
		return slices.IndexFunc(choices, func(c Choice) bool {
			return slices.ContainsFunc(peers, func(q Peer) bool { return q.Self && q.ID == c.Peer })
		})
	case ShipCode:
		return slices.IndexFunc(choices, func(c Choice) bool { return c.Holder })
	}
	return -1
}
