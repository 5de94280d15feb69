// Package agenttest is a fabric in memory, to test agents in: in ordinary Go tests, on virtual time.
//
//	f := agenttest.New()
//	f.Add("tally", agenttest.Methods{"add": Add})
//	reply, err := f.Call("tally", "add", []byte("5"))
//
// A turn that fails leaves everything as it was. Messages that were sent arrive with Settle, timers with
// Advance, and always in the same order. An agent that is Down cannot be called, and what is sent to it
// waits. The key of an agent here is its name.
package agenttest
