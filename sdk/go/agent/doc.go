// Package agent is the SDK for agents of a Shoal fabric, written in Go.
//
// An agent is a small program with state of its own. It processes one message after another; each is a turn,
// which happens whole or not at all. A method is a Func, and an exported function that runs it:
//
//	//go:wasmexport add
//	func add() int32 { return agent.Run(Add) }
//
//	func Add(t *agent.Turn) ([]byte, error) {
//		n, _ := strconv.Atoi(string(t.Payload()))
//		total := t.Int("total") + int64(n)
//		t.PutInt("total", total)
//		return strconv.AppendInt(nil, total, 10), nil
//	}
//
//	func main() {}
//
// Build it with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o agent.wasm .
//
// What lasts is what a turn put into the agent's state. Variables of the program are a cache: the instance
// may be dropped after any turn, and a turn that failed does not take back what it did to them.
//
// A turn reads any dataset of the fabric by its CID: t.File("bafy...", "notes/a.txt") is an io.ReaderAt. Only what is read
// travels; an agent that keeps reading what lies elsewhere is moved to it.
//
// Package agenttest runs methods in ordinary tests, without a fabric.
package agent
