package agent

import "time"

// Host is what a turn stands on: the node, or a test's fabric of agenttest.
type Host interface {
	State
	Effects
	Facts
	Data
	Shared
}

// Data is what a turn reads of the fabric's datasets: up to 1 MiB of a file at once, fewer bytes than b has only at
// its end; and some entries of a folder, those after a name, in order, or one without a name for a file.
type Data interface {
	Read(dataset, path string, offset int64, b []byte) (int, error)
	Files(dataset, path, after string) ([]Entry, error)
}

// Entry is a file or folder in a dataset.
type Entry struct {
	Name  string
	Bytes int64 // of a file
	Dir   bool
}

// State is what the agent keeps. Get fails with NotFound for a key that there is not.
type State interface {
	Get(key string) ([]byte, error)
	Put(key string, value []byte) error
	Delete(key string) error
	Scan(prefix, after string, limit int) ([]Pair, error)
}

// Pair is a key and its value.
type Pair struct {
	Key   string
	Value []byte
}

// Effects is what a turn does beyond its state.
type Effects interface {
	Call(to, method string, payload []byte) ([]byte, error)
	Send(to, method string, payload []byte) error
	Timer(name string, delay time.Duration, method string, payload []byte) error
	Log(line string)
}

// Facts is what a turn knows. The names are those of the host calls: "agent", "caller", "request", "trace",
// "method"; "now", "epoch", "gas", "reading".
type Facts interface {
	Payload() []byte
	Text(name string) string
	Number(name string) int64
	Random(b []byte)
}
