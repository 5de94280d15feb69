package shoal

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"time"

	"github.com/ipfs/go-cid"
)

// Directory finds the peers that announced a key. What it says is a hint with an age: it may name
// a peer that no longer has the thing, or miss one that does. It decides nothing.
type Directory interface {
	// Provide announces that this node has keys, soon and again before each announcement expires,
	// until Withdraw or the node's end. It returns once the keys are noted, not when peers have
	// heard. After a restart the caller provides again.
	Provide(ctx context.Context, keys ...Key) error
	// Withdraw stops announcing keys; what peers already noted expires by itself.
	Withdraw(ctx context.Context, keys ...Key) error
	// Find yields peers that announced key, each once, as they are found, this node included if it
	// provides key; it ends after limit peers (0: no limit), when nobody else is left to ask, or
	// with ctx. The last pair may carry an error. See WithTrace.
	Find(ctx context.Context, key Key, limit int) iter.Seq2[PeerID, error]
}

// Hop is one step of a lookup.
type Hop struct {
	Peer  PeerID
	Event string        // "ask", "answer", "provider", "fail"
	Found int           // answer: how many peers or providers it named
	After time.Duration // since the lookup began
	Err   string
}

type traceKey struct{}

// WithTrace has Directory.Find report each hop to f, one call at a time.
func WithTrace(ctx context.Context, f func(Hop)) context.Context {
	return context.WithValue(ctx, traceKey{}, f)
}

// Trace returns the function given to WithTrace, or nil.
func Trace(ctx context.Context) func(Hop) {
	f, _ := ctx.Value(traceKey{}).(func(Hop))
	return f
}

// Handler answers one request. from has been authenticated and is a member. The request belongs to
// the handler; the reply belongs to the caller. The context carries the asker's deadline and ends
// when the asker gives up.
type Handler func(ctx context.Context, from PeerID, request []byte) (reply []byte, err error)

// StreamHandler serves one stream. The stream is closed when it returns nil and reset when it
// returns an error; an *Error reaches the peer's next Read when nothing else broke the stream.
type StreamHandler func(ctx context.Context, from PeerID, request []byte, s Stream) error

// Stream is a byte stream to a peer, for bodies too large for Ask. Read and Write may be called
// from different goroutines.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error // says that no more will be written; reads go on
	Reset()            // tells the other side that something broke
}

// Peers asks one peer, by name. Methods are named "room.verb". Asking this node itself calls the
// handler and crosses no socket.
type Peers interface {
	Self() PeerID
	// Ask sends a request of at most 4 MiB and waits for the reply. Small requests share a few
	// long-lived streams; a slow one never blocks another.
	Ask(ctx context.Context, to PeerID, method string, request []byte) ([]byte, error)
	// Open starts a stream of its own, for large bodies. It has sent request when it returns.
	Open(ctx context.Context, to PeerID, method string, request []byte) (Stream, error)
	// Handle and HandleStream register methods. Registering one twice panics. Until it is registered a
	// method is unknown, which askers hear as Unavailable: a node that starts builds room by room.
	Handle(method string, h Handler)
	HandleStream(method string, h StreamHandler)
}

// Store keeps blocks on this node under their CID.
type Store interface {
	// Put verifies and keeps blocks. When it returns nil they survive kill -9 and power loss.
	// A block that does not match its CID fails with Corrupt and nothing of the call is promised.
	// The blocks' bytes are the caller's again when it returns.
	Put(ctx context.Context, blocks ...Block) error
	// Get returns a block this node has; NotFound if it has not; Corrupt if the bytes on disk no
	// longer match: a copy is then dropped, so that it can be fetched again, and a file in which the
	// block lay in place is named.
	Get(ctx context.Context, c cid.Cid) ([]byte, error)
	// Size returns the length of a block in bytes, or NotFound, or Corrupt if the block lay in place
	// in a file that has changed since, which the error names. It reads no content.
	Size(ctx context.Context, c cid.Cid) (int, error)
	// Delete drops blocks; those that are absent are no error.
	Delete(ctx context.Context, cids ...cid.Cid) error
	// All yields the CIDs kept, in no order; blocks put meanwhile may be missed.
	All(ctx context.Context) iter.Seq2[cid.Cid, error]
}

// Block is bytes and their CID.
type Block struct {
	CID  cid.Cid
	Data []byte
}

// InPlace is what a Store has besides if it can also have blocks that lie in files of the user's and
// stay there. Such a file is only ever read. Get and Size serve a block from it as long as the file
// has the size and the time of change it had, and the bytes match; Delete forgets where it lies.
type InPlace interface {
	// Refer notes where blocks lie; the bytes are not looked at. Places of one block in several files
	// are all kept. When it returns nil the notes survive kill -9 and power loss.
	Refer(ctx context.Context, places ...Place) error
	// Copied reports whether the store has a copy of its own of a block.
	Copied(ctx context.Context, c cid.Cid) (bool, error)
}

// Raw is what a Store has besides if it can leave it to others to hold blocks against their CIDs.
type Raw interface {
	// Raw is Get of a block for somebody who will check it; bytes from a file in place are checked always.
	// It reads into what room returns for the length, and returns a part of that. room may be called
	// again, with another length, when the first place turned out to be of no use.
	Raw(ctx context.Context, c cid.Cid, room func(n int) []byte) ([]byte, error)
	// PutRaw is Put of blocks that the caller has checked just now.
	PutRaw(ctx context.Context, blocks ...Block) error
}

// Place is where a block lies in a file, and what that file looked like then.
type Place struct {
	CID    cid.Cid
	File   string // absolute
	Offset int64
	Length int
	Size   int64     // of the file
	Time   time.Time // of the file's last change
}

// KV keeps small values under string keys, for rooms to remember their own state. Each room gets
// one of its own; keys of different rooms never meet.
type KV interface {
	// Get returns NotFound for an absent key.
	Get(key string) ([]byte, error)
	// Set and Delete have survived kill -9 and power loss when they return nil. Deleting an absent
	// key is no error.
	Set(key string, value []byte) error
	Delete(key string) error
	// Scan yields the pairs whose key starts with prefix, in key order, as they were at the call.
	Scan(prefix string) iter.Seq2[string, []byte]
}

// Table is an ordered map of one room that is written in batches, for logs and states of their own shape.
// Keys and values are bytes; what a method was given belongs to the caller again when it returns.
type Table interface {
	// Get returns a copy of the value, and whether there is one.
	Get(key []byte) (value []byte, ok bool, err error)
	// Scan yields the pairs with low <= key < high (nil: to the end) in order of keys; the bytes belong to
	// the caller. What is written meanwhile may be seen or not. An error comes last, with an empty pair.
	Scan(low, high []byte) iter.Seq2[Pair, error]
	// Commit writes all or none of a batch, in its order. With sync it has survived kill -9 and power loss
	// when it returns nil, and so has every batch committed before; without, it survives a kill if a later
	// one with sync does. Batches that wait for the disk at the same time share one sync.
	Commit(sync bool, batch ...Write) error
	// Snapshot returns the table as it is now, for a long reading. It must be closed.
	Snapshot() (Snapshot, error)
}

// Snapshot is a Table at one moment.
type Snapshot interface {
	Get(key []byte) (value []byte, ok bool, err error) // as Table.Get
	Scan(low, high []byte) iter.Seq2[Pair, error]      // as Table.Scan
	Close() error
}

// Write is one change of a Table or a State.
type Write struct {
	Key    []byte `cbor:"k"`
	Value  []byte `cbor:"v,omitempty"`
	Delete bool   `cbor:"d,omitempty"`
	End    []byte `cbor:"-"` // with Delete, in a Table: all keys from Key up to, without, End
}

// Run is what a Runner needs for one run. The Runner owns nothing of it after Run returns.
type Run struct {
	Module cid.Cid // names the compiled code; must have been given to Compile
	Args   []string
	Env    []string // "K=V"
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Data   fs.FS  // mounted read-only at /data; nil: no /data. Files implement io.ReaderAt, io.Seeker and fs.ReadDirFile as fits
	Out    string // a host directory mounted at /out; "": no /out
	Limits Limits
	Seed   []byte // seeds the guest's randomness
	// Call has the program call agents; nil: it cannot. n counts its calls from 1.
	Call func(ctx context.Context, n int, agent, method string, payload []byte) ([]byte, error)
	// Shared is mergeable state that the program reads and changes; what it staged counts only once the caller commits it. nil: none.
	Shared Shared
}

// Ran is what came of a run.
type Ran struct {
	Exit    int
	Seconds float64
	Gas     uint64 // work, in instructions; the same on every node
	// Over is how many seconds the program's end came after the limit that it met, 0 if it met none. The
	// moment of a time limit is known; for others it is counted from when the program was last seen within,
	// so that Over is too long by what the runner lets it do between two looks, and never too short.
	Over float64

	Devices []string // of a native executor: those that were its own meanwhile, by ID
	Bounds  string   // of a native executor: how its limits were held
}

// ModuleInfo describes a compiled module.
type ModuleInfo struct {
	Kind    string   `cbor:"kind" json:"kind"` // "command" (has _start), "reactor", "library"
	Bytes   int      `cbor:"bytes" json:"bytes"`
	Exports []string `cbor:"exports" json:"exports"`
	Imports []string `cbor:"imports" json:"imports"`                     // "module.name"
	Methods []string `cbor:"methods,omitempty" json:"methods,omitempty"` // of an agent: what its turns can be, sorted
	Memory  uint64   `cbor:"memory" json:"memory"`                       // minimum, bytes
	MaxMem  uint64   `cbor:"max_memory" json:"max_memory"`
}

// Runner runs WebAssembly commands in a sandbox: no network, no files but Data and Out, bounded
// memory, time and output.
type Runner interface {
	// Compile makes a module ready, once per CID; later calls return at once, also after a restart.
	// A module that is no WebAssembly, or imports what is not offered, fails with Invalid.
	Compile(ctx context.Context, module cid.Cid, wasm []byte) (ModuleInfo, error)
	// Ready reports whether module runs without compiling from source.
	Ready(module cid.Cid) bool
	// Run starts a command and waits for its end. A program that ends with a non-zero exit code is
	// no error. Failed: a trap or a limit, which Why names; Ran then says how far it came. Invalid: module
	// is no command.
	// NotFound: module was not compiled here.
	Run(ctx context.Context, r Run) (Ran, error)
}
