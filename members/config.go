package members

import (
	"cmp"
	"crypto/ed25519"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Config says who this node is. Every zero but Key, and Table, means a default.
type Config struct {
	Key        ed25519.PrivateKey // the node's identity
	Attributes shoal.Attributes   // with labels and version
	Load       func() shoal.Load  // asked about every second; must not block; nil: no load is told
	// Table keeps the whole member table. Without it only members in contact are known; all nodes
	// of a fabric should have the same setting.
	Table bool
	Log   *slog.Logger     // nil: discard
	Now   func() time.Time // the clock; nil: time.Now

	Gossip       time.Duration // between rounds of pushes and questions; 1 s
	Pull         time.Duration // between pulls, with jitter; 15 s
	SuspectAfter time.Duration // 3 s
	DownAfter    time.Duration // 30 s
	LoadEvery    time.Duration // least time between records that differ in load; 2 s, more in large fabrics
	Beat         time.Duration // between records that differ in nothing; 10 s, more in large fabrics
	AskTimeout   time.Duration // for small questions; 2 s
	DialTimeout  time.Duration // 5 s
	Trust        time.Duration // how long a good verdict of Admit holds; 10 min
	Distrust     time.Duration // how long a bad one does; 10 s
	MaxSkew      time.Duration // how far the clocks of a joiner and a member may differ; 5 min
	// Mesh is how many connections are kept up; in fabrics up to this size with every member. 48; 24 without a table: few
	// news travel then, and each peer in contact is asked every few seconds whether it is there.
	Mesh int
	Seed uint64 // of the random choices whom to ask; 0: random
}

func (c Config) validate() (Config, error) {
	if len(c.Key) != ed25519.PrivateKeySize {
		return c, shoal.E(shoal.Invalid, "members", "the node has no key", "")
	}
	def := func(d *time.Duration, v time.Duration) { *d = cmp.Or(max(*d, 0), v) }
	def(&c.Gossip, time.Second)
	def(&c.Pull, 15*time.Second)
	def(&c.SuspectAfter, 3*time.Second)
	def(&c.DownAfter, 30*time.Second)
	def(&c.LoadEvery, 2*time.Second)
	def(&c.Beat, 10*time.Second)
	def(&c.AskTimeout, 2*time.Second)
	def(&c.DialTimeout, 5*time.Second)
	def(&c.Trust, 10*time.Minute)
	def(&c.Distrust, 10*time.Second)
	def(&c.MaxSkew, 5*time.Minute)
	mesh := 48
	if !c.Table {
		mesh = 24
	}
	c.Mesh = cmp.Or(max(c.Mesh, 0), mesh)
	c.Seed = cmp.Or(c.Seed, rand.Uint64())
	if c.Load == nil {
		c.Load = func() shoal.Load { return shoal.Load{} }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}
