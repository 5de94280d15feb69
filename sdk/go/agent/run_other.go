//go:build !wasip1

package agent

// Run runs a method for the node, of which there is none outside WebAssembly: tests give methods to
// agenttest instead.
func Run(Func) int32 {
	panic("agent.Run works inside a node: build with GOOS=wasip1 GOARCH=wasm, and test with agenttest")
}
