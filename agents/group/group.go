package group

import (
	"fmt"
	"math/rand/v2"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/shoal-fabric/shoal"
)

// Instant is a point in time of a clock that goes on while the machine is suspended (CLOCK_BOOTTIME on Linux)
// and never steps. Only differences mean anything, and only on one machine.
type Instant time.Duration

// Add returns the instant d later.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// Config says how a group behaves. Fields that are zero get defaults, except for the first three.
type Config struct {
	Self        uint64 // this member's ID
	Incarnation uint64 // of this node: grows with each start
	Seed        uint64 // for jitter

	Lease       time.Duration // how long an acknowledgement binds (1.5 s); the same on all keepers
	Silence     time.Duration // of a leader in an awake group until it is given up (two leases)
	Stagger     time.Duration // between candidates of neighbouring rank (a fifteenth of a lease)
	Uncommitted int           // bytes proposed and not yet committed (16 MiB)
	Message     int           // bytes of entries in one message (1 MiB)
	Inflight    int           // messages on their way to one member (128)
	Behind      uint64        // entries by which a learner may be behind when it is promoted (128)

	off switches // rules that tests switch off
}

// switches turn house rules off, one by one, to see that the checker notices.
type switches struct {
	noForwardBan  bool // proposals are forwarded, and accepted from the network
	noJudge       bool // entries are applied whatever they name
	noTurnBarrier bool // turns are proposed before the barrier is applied
	noReadBarrier bool // reads are served before the barrier is applied
	noFsync       bool // acknowledged before the fsync
	noCommit      bool // the commit index is not persisted
	noTransferGap bool // the lease is kept through a hand-over
	noPromise     bool // acknowledging promises nothing
	noReload      bool // a reloaded group has forgotten its promise
	noBoot        bool // no wait after boot
	noFreshID     bool // member IDs are used again
	noLearner     bool // newcomers vote at once
	noSynced      bool // the log is truncated above the synced state
	noIncarnation bool // a new incarnation of the leader is ignored
	noSendTime    bool // leases count from the acknowledgement's receipt
	noClock       bool // a lease, once had, does not end
	noSeal        bool // generations are ignored
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Lease, 1500*time.Millisecond)
	def(&c.Silence, 2*c.Lease)
	def(&c.Stagger, c.Lease/15)
	if c.Uncommitted == 0 {
		c.Uncommitted = 16 << 20
	}
	if c.Message == 0 {
		c.Message = 1 << 20
	}
	if c.Inflight == 0 {
		c.Inflight = 128
	}
	if c.Behind == 0 {
		c.Behind = 128
	}
	return c
}

// Group is one member's view of its group.
type Group struct {
	cfg    Config
	rn     *raft.RawNode
	log    *memory
	rng    *rand.Rand
	now    Instant // of the event being handled
	broken error   // quarantined: nothing is done any more
	sealed uint64  // a newer generation that was heard of
	gone   bool    // removed from the group

	generation uint64
	conf       Conf   // as of the last entry given out to be applied
	turn       uint64 // index of the last turn given out to be applied

	// What raft last said of itself.
	term, vote, commit uint64
	lead               uint64
	role               raft.StateType
	last               uint64 // index of the last log entry

	out     Effects
	pending *batch   // being filled
	written []*batch // taken, not yet persisted
	batches uint64   // ID of the last batch
	saved   Hard     // as of the last batch
	queue   []response
	apply   applying
	lazy    lazy
	replies map[uint64]shoal.PeerID // members that are not, or not yet, in conf

	lease lease
	vows  vows
	alive liveness
	led   leading
}

// Open loads a group from what Persist, Mark and Compact had the caller write, and from the promise that it
// kept since the group was last in memory (or Booted). The error has kind Corrupt when the state contradicts
// itself: the group must then be left alone, and the node goes on.
func Open(cfg Config, s Stored, p Promise, now Instant) (g *Group, err error) {
	cfg = cfg.withDefaults()
	if err := s.check(cfg.Self); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			g, err = nil, corrupt(fmt.Sprint(r))
		}
	}()
	s.Hard.Commit = max(s.Hard.Commit, s.Mark.Index) // what is applied was committed
	log := newMemory(s)
	rn, err := raft.NewRawNode(&raft.Config{
		ID: cfg.Self, Storage: log, Applied: s.Mark.Index,
		ElectionTick: 1 << 20, HeartbeatTick: 1, // nothing ticks
		AsyncStorageWrites:        true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		DisableProposalForwarding: !cfg.off.noForwardBan,
		StepDownOnRemoval:         true,
		MaxSizePerMsg:             uint64(cfg.Message),
		MaxCommittedSizePerReady:  uint64(4 * cfg.Message),
		MaxUncommittedEntriesSize: uint64(cfg.Uncommitted),
		MaxInflightMsgs:           cfg.Inflight,
		Logger:                    quiet{},
	})
	if err != nil {
		return nil, corrupt(err.Error())
	}
	g = &Group{
		cfg: cfg, rn: rn, log: log, now: now,
		rng:        rand.New(rand.NewPCG(cfg.Seed, cfg.Self)),
		generation: s.Generation, conf: s.Mark.Conf, turn: s.Mark.Turn,
		saved: s.Hard, term: s.Hard.Term, vote: s.Hard.Vote, commit: s.Hard.Commit, last: log.last(),
		replies: map[uint64]shoal.PeerID{},
	}
	g.apply.reset(s.Mark)
	g.apply.synced = min(s.Base.Index, s.Mark.Index) // what was read may not be synced yet: this process may have written it
	log.mark = func() Mark {
		term, _ := log.Term(g.apply.applied)
		return Mark{Position: Position{g.apply.applied, term}, Conf: g.conf}
	}
	g.vows.promise = p
	if cfg.off.noReload {
		g.vows.promise.Until = 0
	}
	g.alive.peers = map[shoal.PeerID]peer{}
	g.do(now, func() {
		if !g.conf.has(cfg.Self) {
			g.parted()
		}
	})
	return g, g.broken
}

// do handles one event: whatever makes raft panic quarantines the group, and nothing else.
func (g *Group) do(now Instant, f func()) {
	if g.broken != nil || g.sealed > 0 {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			g.broken = corrupt(fmt.Sprint(r))
			g.out = Effects{Quarantined: g.broken}
			g.pending, g.queue = nil, nil
		}
	}()
	g.now = max(g.now, now)
	f()
	g.drain()
}

// usable reports why nothing can be asked of the group, or nil.
func (g *Group) usable(what string) error {
	switch {
	case g.broken != nil:
		return g.broken
	case g.sealed > 0:
		return shoal.E(shoal.Refused, what, fmt.Sprintf("generation %d of this agent follows this one, %d", g.sealed, g.generation),
			"ask its keepers")
	case g.gone:
		return shoal.E(shoal.Unavailable, what, "this node is no longer a keeper of the agent", "ask the others")
	}
	return nil
}

func corrupt(why string) *shoal.Error {
	return shoal.E(shoal.Corrupt, "group", why, "the group is out of use on this node; replace this keeper")
}

// quiet takes raft's log lines, and panics where raft's own would.
type quiet struct{}

func (quiet) Debug(...any)            {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warning(...any)          {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Error(...any)            {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Fatal(v ...any)          { panic(fmt.Sprint(v...)) }
func (quiet) Fatalf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
func (quiet) Panic(v ...any)            { panic(fmt.Sprint(v...)) }
func (quiet) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }

// Status is what a member knows of its group.
type Status struct {
	Generation uint64
	Epoch      uint64 // the term
	Leading    bool   // and the barrier is applied
	Leader     Member // zero: unknown
	Conf       Conf
	Last       uint64 // index of the last log entry
	Commit     uint64 // of the last one known to be final
	Applied    uint64
	Turn       uint64  // index of the last turn given out to be applied
	Lease      Instant // until when a leader needs to ask nobody; 0: it must
	Sealed     uint64  // the generation that follows, or 0
	Err        error   // why the group is out of use, or nil
}

// Status returns what this member knows.
func (g *Group) Status() Status {
	s := Status{
		Generation: g.generation, Epoch: g.term, Leading: g.role == raft.StateLeader && g.led.open, Conf: g.conf, Last: g.last,
		Commit: g.commit, Applied: g.apply.applied, Turn: g.turn, Sealed: g.sealed, Err: g.broken,
	}
	s.Leader, _ = g.conf.Member(g.lead)
	if g.holds(g.now) {
		s.Lease = g.lease.until
	}
	return s
}

// Quiet reports whether the group may leave memory: nothing is under way that somebody would have to finish. A
// leader calls Sleep first.
func (g *Group) Quiet() bool {
	switch {
	case g.broken != nil || g.sealed > 0 || g.gone:
		return true
	case g.conf.Joint() || g.conf.Learners() || g.led.transfer != 0:
		return false
	case g.apply.applied < g.commit || len(g.apply.given) > 0 || g.pending != nil || len(g.written) > 0:
		return false
	case g.role == raft.StateLeader:
		return g.led.open && !g.led.sealing && g.commit == g.last && len(g.led.asking)+len(g.led.waiting)+len(g.led.ships) == 0
	}
	return g.role == raft.StateFollower
}

// Sleep has a leader give up its lease and tell its followers that they may sleep as well. After the next Take
// the group may leave memory; whoever wakes it calls Campaign.
func (g *Group) Sleep(now Instant) error {
	if g.role != raft.StateLeader || !g.Quiet() {
		return shoal.E(shoal.Refused, "sleep", "something is under way in the group", "wait until it is quiet")
	}
	g.do(now, func() {
		g.giveUp()
		g.tell(leaderSleeps)
		g.led.beatAt = 0
	})
	return g.broken
}
