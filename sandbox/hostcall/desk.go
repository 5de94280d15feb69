package hostcall

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"

	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal"
)

// The bounds of a turn.
const (
	MaxPayload = 1 << 20 // of a message, and of a reply
	MaxName    = 1 << 10 // of an agent, method or timer
	MaxKey     = 1 << 10
	MaxValue   = 1 << 20
	MaxPage    = 1 << 20 // of a scan, unless its first pair alone is longer
	MaxPairs   = 1000    // of a scan
	MaxRead    = 1 << 20 // of a dataset, at once
	MaxPath    = 4 << 10 // in a dataset
	MaxFiles   = 1000    // of a list
	MaxLine    = 8 << 10 // of the log, longer ones are cut
	MaxLog     = 64 << 10
	maxFailure = 4 << 10
	maxRandom  = 1 << 20
	keepBuffer = 64 << 10 // of a buffer that the next turn uses again
)

// gasIO is how many bytes that cross between guest and host cost 1.
const gasIO = 4

// Host is what a Desk needs of the sandbox.
type Host interface {
	Charge(gas int64)         // ends the turn if the gas, or the turn's time, is used up
	Left() uint64             // gas
	Context() context.Context // of the turn, for what waits
	Resumed()                 // after a wait
}

// End is the panic with which a host call ends the turn. Err is what its caller learns.
type End struct{ Err error }

func (e *End) Error() string { return e.Err.Error() }

// Key is where the Desk of a guest is in the context of its calls.
type Key struct{}

// Desk serves one instance. The zero Desk with a Host is ready.
type Desk struct {
	Host Host

	turn    *shoal.Turn
	reply   []byte
	failed  bool
	failure string
	why     string // of the last host call that failed
	rest    []byte // what did not fit into the guest's buffer
	page    []byte
	src     *rand.ChaCha8
	log     journal
}

// Begin has the desk serve t until the end of the turn.
func (d *Desk) Begin(t *shoal.Turn) {
	d.turn, d.log.last = t, ""
	if len(d.log.early) > 0 {
		d.flush()
	}
}

// Finish is the end of the turn: what the guest gave as its reply, and whether it said that it failed, and
// why. If it did not, why is that of the last host call that failed.
func (d *Desk) Finish() (reply []byte, failed bool, why string) {
	d.log.end()
	reply, failed, why = d.reply, d.failed, d.why
	if failed {
		why = d.failure
	}
	d.turn, d.reply, d.src, d.failed = nil, nil, nil, false
	d.failure, d.why = "", ""
	d.rest, d.page = again(d.rest), again(d.page)
	return reply, failed, why
}

// again returns a buffer for the next turn, unless it is large.
func again(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// Now is the turn's time in nanoseconds since 1970; false outside a turn.
func (d *Desk) Now() (int64, bool) {
	if d.turn == nil {
		return 0, false
	}
	return d.turn.Now.UnixNano(), true
}

// Random fills b with the turn's randomness; false outside a turn.
func (d *Desk) Random(b []byte) bool {
	if d.turn == nil {
		return false
	}
	if d.src == nil {
		d.src = rand.NewChaCha8(sha256.Sum256(d.turn.Seed))
	}
	_, _ = d.src.Read(b)
	return true
}

// The results of host calls below zero: the kinds of shoal.Error have their numbers, and the rest are the
// ABI's own.
const (
	errInvalid  = -int32(shoal.Invalid)
	errNotFound = -int32(shoal.NotFound)
	errInternal = -64
	errFault    = -65
	errNoTurn   = -66
)

// refuse notes why a call failed.
func (d *Desk) refuse(code int32, why string) int32 {
	d.why = why
	return code
}

// number is the result for an error.
func (d *Desk) number(err error) int32 {
	d.why = err.Error()
	if k := shoal.KindOf(err); k != shoal.Internal {
		return -int32(k)
	}
	return errInternal
}

// staging is the result for an error of the state or of staging. What the guest could have known is an
// error number. Anything else ends the turn: a guest that took it for an absent key would go on from a
// state that is not its own.
func (d *Desk) staging(err error) int32 {
	if err == nil {
		return 0
	}
	switch shoal.KindOf(err) {
	case shoal.Invalid, shoal.Refused, shoal.Full, shoal.NotFound:
		return d.number(err)
	}
	panic(&End{err})
}

// take returns a range of the guest's memory, of at most so many bytes, as a view that lasts until the guest
// runs on.
func (d *Desk) take(mem api.Memory, at, n uint64, most uint32, what string) ([]byte, int32) {
	if uint32(n) > most {
		return nil, d.refuse(errInvalid, tooLong(what, uint32(n), most))
	}
	b, ok := mem.Read(uint32(at), uint32(n))
	if !ok {
		return nil, d.refuse(errFault, what+": not in the module's memory")
	}
	d.Host.Charge(int64(len(b)) / gasIO)
	return b, 0
}

// give writes v into the guest's buffer and returns its length. What does not fit is kept for rest.
func (d *Desk) give(mem api.Memory, v []byte, at, room uint64) int32 {
	d.Host.Charge(int64(len(v)) / gasIO)
	if len(v) > int(uint32(room)) {
		d.rest = append(d.rest[:0], v...)
		return int32(len(v))
	}
	return d.put(mem, v, at)
}

func (d *Desk) put(mem api.Memory, v []byte, at uint64) int32 {
	if len(v) > 0 && !mem.Write(uint32(at), v) {
		return d.refuse(errFault, "the buffer is not in the module's memory")
	}
	return int32(len(v))
}

// text is give for a string.
func (d *Desk) text(mem api.Memory, s string, at, room uint64) int32 {
	if len(s) > int(uint32(room)) {
		d.rest = append(d.rest[:0], s...)
		return int32(len(s))
	}
	if len(s) > 0 && !mem.WriteString(uint32(at), s) {
		return d.refuse(errFault, "the buffer is not in the module's memory")
	}
	return int32(len(s))
}
