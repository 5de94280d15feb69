package cast

import "math"

// life is one publisher in one life of its node, as a node that subscribes knows it.
type life struct {
	peer  string
	epoch uint64
	start uint64 // what came before it is not for this node
	next  uint64 // the message that is expected: all before it are in the inbox, were in it, or are lost
	kept  uint64 // the inbox has forgotten those before it
}

// block is a run of messages of one publisher, or of none any more: a gap.
type block struct {
	life  *life
	first uint64
	count uint64
	gap   bool
	b     []byte // records
}

const blockCost = 96 // bytes of a block beside its records

// inbox keeps what came to a node of one topic until its subscriptions have read it, bounded in bytes: they are places in it, as
// subscribing nodes are in a publisher's ring. Who falls off its end has a gap.
type inbox struct {
	blocks []block
	base   uint64 // number of the first
	bytes  int
	trim   int // bytes after which it is looked what all have read
}

const trimAfter = 256 << 10

func (in *inbox) end() uint64 { return in.base + uint64(len(in.blocks)) }

// add puts a block at the end, and forgets what all have read, or what is too much. least says up to where all have read.
func (in *inbox) add(b block, limit int, least func() uint64) {
	in.blocks = append(in.blocks, b)
	in.bytes += len(b.b) + blockCost
	if in.bytes > max(in.trim, trimAfter) {
		in.read(least())
		in.trim = 2 * in.bytes
	}
	for in.bytes > limit && len(in.blocks) > 1 {
		in.pop()
	}
}

// read forgets the blocks before that of a number.
func (in *inbox) read(upTo uint64) {
	for in.base < upTo && len(in.blocks) > 0 {
		in.pop()
	}
}

func (in *inbox) pop() {
	b := &in.blocks[0]
	b.life.kept = b.first + b.count
	in.bytes -= len(b.b) + blockCost
	in.blocks[0] = block{}
	in.blocks = in.blocks[1:]
	in.base++
}

// least is the place of who has read least.
func (l *line) least() uint64 {
	n := uint64(math.MaxUint64)
	for s := range l.subs {
		n = min(n, s.at)
	}
	return n
}

// put gives a block to this topic's subscriptions. The lock is held.
func (l *line) put(b block) {
	if len(l.subs) == 0 {
		return
	}
	l.in.add(b, l.c.cfg.Inbox, l.least)
	for s := range l.subs {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}
