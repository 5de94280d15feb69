package shoal

import (
	"context"
	"time"
)

// Behaviour is the code of an agent. A module becomes one in the sandbox; a node has native ones too. Its
// methods may be called from many goroutines.
type Behaviour interface {
	// Methods lists what may be called, sorted.
	Methods() []string
	// Open makes an instance, with empty memory.
	Open(ctx context.Context) (Instance, error)
}

// Instance runs the turns of one agent, one at a time. What it remembers between turns is a cache:
// it may be closed after any turn, and another goes on from the agent's state.
type Instance interface {
	// Turn processes one message. It uses t only until it returns. The reply belongs to the caller. An
	// error means that nothing of what the turn staged may count: Failed for one that the program itself
	// returned, a trap or a limit, NotFound for a method that there is not. After a trap, a limit or the
	// end of ctx the instance is closed already, and Broken says so.
	Turn(ctx context.Context, t *Turn) (reply []byte, err error)
	// Broken reports whether the instance can run no further turn.
	Broken() bool
	// Close frees it. It may be called more than once.
	Close()
}

// Turn is what an instance sees of one message. A turn is atomic: what it stages becomes durable together,
// or not at all.
type Turn struct {
	Agent   Key    // the agent's own
	Method  string // as called
	Payload []byte // belongs to the instance
	Caller  string // who calls: an agent's key in text, a peer's ID, or "timer"
	Request string // names the request: the same for each try
	Trace   string // names the chain of calls
	Epoch   uint64 // of this activation: grows whenever the agent may have moved
	Now     time.Time
	Seed    []byte // for the guest's randomness
	Read    bool   // the turn reads only: staging anything fails with Refused
	Gas     uint64 // for this turn; 0: as much as the sandbox allows

	State  State
	Out    Effects
	Data   Data   // nil: it reads none
	Shared Shared // nil: there is none
}

// Data is what a turn reads of the fabric's datasets. A CID has the same bytes wherever and whenever it is read, so
// reading is no part of what a turn stages. Both methods wait for peers when what they need is not on this node.
type Data interface {
	// Read fills b with what the file at a slash-separated path of a dataset has from offset on, "" for a dataset that
	// is one file; fewer bytes come only at its end. Invalid: no CID, a folder, or an offset beyond the end. NotFound:
	// nobody who can be reached has the dataset, or there is no such file in it.
	Read(ctx context.Context, dataset, path string, offset int64, b []byte) (int, error)
	// Files lists a folder of a dataset by name: up to limit entries whose name is greater than after. Of a file it gives
	// one entry without a name.
	Files(ctx context.Context, dataset, path, after string, limit int) ([]File, error)
}

// File is an entry of a folder of a dataset.
type File struct {
	Name  string
	Bytes uint64 // of a file
	Dir   bool
}

// State is what an agent keeps. Keys are up to 1 KiB, values up to 1 MiB; more fails with Invalid, and more
// than the agent may keep in all with Full. What a turn staged is seen by the turn at once.
type State interface {
	// Get returns the value, which is only read by the caller, and whether there is one.
	Get(key []byte) (value []byte, ok bool, err error)
	// Put stages a value; key and value are copied.
	Put(key, value []byte) error
	// Delete stages the removal of a key; one that is absent is no error.
	Delete(key []byte) error
	// Scan returns up to limit pairs whose key starts with prefix and is greater than after (nil: all), in
	// order of keys.
	Scan(prefix, after []byte, limit int) ([]Pair, error)
}

// Pair is a key and its value.
type Pair struct{ Key, Value []byte }

// Effects is what a turn does beyond its state. All but Call are staged: they happen once the turn is
// durable, and not at all if it is not.
type Effects interface {
	// Call asks another agent and waits for its reply. All earlier turns of this agent are durable before it
	// leaves. Refused: the call would come back to an agent that waits in the same chain.
	Call(ctx context.Context, to, method string, payload []byte) ([]byte, error)
	// Send leaves a message for another agent: it arrives once, after this turn, in the order of sending.
	Send(to, method string, payload []byte) error
	// Timer has method called with payload, from delay after this turn on; a name that is set already is
	// set anew. A delay below zero clears it.
	Timer(name string, delay time.Duration, method string, payload []byte) error
	// Log notes a line for the agent's owner.
	Log(line string)
}

// CallRequest is one call of an agent.
type CallRequest struct {
	Method  string
	Payload []byte // up to 1 MiB
	Read    bool   // the method only reads: no turn is written
	Request string // names the request, so that a repetition gets the recorded reply; "": one is made up
	// Begun is when whoever makes the request began, in Unix milliseconds: the name is forgotten, and refused, a day
	// after. 0: the name is remembered as long as the agent lives.
	Begun int64
}

// Agents calls agents, wherever they live.
type Agents interface {
	// Call has an agent, by key or by name ("name" or "owner/name"), process a message, and returns its reply.
	// Refused, NotFound, Invalid: the message was not processed and never will be. Timeout, Unavailable,
	// Canceled: unknown; the same request may be repeated, and is processed once.
	Call(ctx context.Context, agent string, r CallRequest) ([]byte, error)
}
