package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/host"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/pubsub"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/services"
)

// Version is the version of this source tree.
const Version = "0.1.0"

// Config says how to run a node. The zero value of every field but Dir is a sane default.
type Config struct {
	Dir    string            // the node's directory; made when absent
	Join   string            // an invite, or "lan"; "" founds a fabric when the directory has none
	Listen []string          // multiaddrs or host:port; empty: TCP and QUIC on all interfaces, port 4170 or the next free
	Labels map[string]string // attributes of the operator's choosing
	NoMDNS bool              // neither announce on nor listen to the local network
	// Devices are graphics processors, or others, that the operator declares: of those that the node finds by
	// themselves, by their ID, what it cannot find out; others are listed beside them.
	Devices []shoal.GPU
	Measure bool // measure the machine's rates after the first start: half a second's work, once the node is idle
	// NoTable keeps no table of all members: the node knows its routing table only, as in a fabric
	// of many thousand.
	NoTable bool
	Slots   int                      // tasks to run at once (default: the processors)
	Queue   int                      // tasks to let wait (default: 4096)
	Weights map[shoal.PeerID]float64 // of the members whose tasks wait here at the same time (default: 1)
	Memory  uint64                   // most memory of one task, bytes (default: 1 GiB)
	// Compiler starts a process that compiles a module and can be killed; see sandbox.Config. nil:
	// modules are compiled in this process.
	Compiler func(ctx context.Context, args ...string) *exec.Cmd

	Executors []native.Executor // commands that tasks may run here, unconfined
	// Warden starts a process that calls native.Main; required with Executors.
	Warden func(ctx context.Context, args ...string) *exec.Cmd

	Agents agents.Config // of agents; Log is this Config's
	// NoGravity leaves the agents that this node leads where they are, whatever they read or call.
	NoGravity bool

	Placement Placement // of tasks that this node sends, and of copies of data that it keeps

	Services services.Config // of services; Log and Slots are this Config's
	Topics   pubsub.Config   // of topics; Log and Now are this Config's

	Stage *Stage // of a simulated world; nil: the machine

	// Carrier stands in for TCP and QUIC in a simulated network; see host.Config, also for the next four.
	Carrier             host.Carrier
	Relays, Private     bool
	LowPeers, HighPeers int
	Grace               time.Duration

	OnCode  func(code string)               // told the code to approve while joining with "lan"
	OnNote  func(string)                    // told what a person should know while starting
	Repair  time.Duration                   // how often to check replicas (default: 20 s)
	Log     *slog.Logger                    // default: discard
	runner  func(shoal.Runner) shoal.Runner // tests slow the machine
	copies  int                             // for plans.Config
	shun    func(shoal.PeerID) bool         // tests keep nodes from meeting
	patient bool                            // tests that are not about time: nobody is taken for dead on a busy machine
	gpus    func() ([]shoal.GPU, error)     // tests have some
	now     func() time.Time                // tests shift the clock; nil: the machine's

	measureAfter time.Duration // tests do not wait so long
}

// Placement says how a node weighs moving code against moving data. The zero value is how it should be.
type Placement struct {
	Policy   cost.Policy // a rule that stands in for the costs, for comparisons
	NoCopies bool        // keep no copies of data beyond the replicas asked for, however often it is fetched
}

func (c Config) withDefaults() Config {
	if c.Slots <= 0 {
		c.Slots = runtime.GOMAXPROCS(0)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if c.OnCode == nil {
		c.OnCode = func(string) {}
	}
	if s := c.Stage; s != nil {
		c.now, c.runner = s.Now, s.Runner
		c.NoMDNS, c.Measure = true, false
	}
	if c.OnNote == nil {
		c.OnNote = func(string) {}
	}
	return c
}

// patience returns d: how long another room waits for one answer of one peer; 0: that room's default.
func (c Config) patience() time.Duration {
	if c.patient {
		return 10 * time.Second
	}
	return 0
}

// makeDir makes the node's directory, for its owner only.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &shoal.Error{
			Kind: shoal.Invalid, What: "directory " + dir, Why: err.Error(),
			Try: "name one you may write with --dir", Err: err,
		}
	}
	for _, sub := range []string{"tasks", "modules"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return shoal.Wrap(shoal.Internal, "directory "+dir, err)
		}
	}
	return nil
}

// identity returns the node's key, made on the first start.
func identity(kv shoal.KV) (ed25519.PrivateKey, error) {
	const name = "identity"
	seed, err := kv.Get(name)
	switch {
	case err == nil && len(seed) == ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(seed), nil
	case err == nil:
		return nil, shoal.E(shoal.Corrupt, "node key", "it has the wrong length", "start anew in another directory")
	case shoal.KindOf(err) != shoal.NotFound:
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, kv.Set(name, key.Seed())
}

// headroom is how much garbage may gather before the collector runs, beyond what it takes anyway.
const headroom = 16 << 20

// Headroom keeps the collector from running at each few megabytes. The heap of a node that only passes on
// messages is so small that Go's rule, to collect when it has doubled, spends a quarter of the processor
// on it. So a piece of memory that nobody touches, and that takes no page of the machine therefore, is
// made part of the heap until release is called. A large heap is collected when it has doubled, as ever.
// It is for the begin of a process that is one node, whose memory is fresh: what was used before would be
// cleared, and so touched. Nothing is done where GOGC or GOMEMLIMIT say what is wanted.
func Headroom() (release func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	untouched := make([]byte, headroom)
	return func() { runtime.KeepAlive(untouched) }
}
