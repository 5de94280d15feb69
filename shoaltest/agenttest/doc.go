// Package agenttest is the testbed of agents: a double of what a turn stands on (TurnState), behaviours in Go,
// a fabric of agents in memory and virtual time (Fabric), and the conformance suite of shoal.Behaviour.
package agenttest
