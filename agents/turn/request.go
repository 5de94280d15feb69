package turn

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Retention is how long replies are kept for a session that nobody uses.
const Retention = 24 * time.Hour

// userPrefix begins the session of a request that its user named.
const userPrefix = "id:"

// Request names one request, the same in all its tries.
type Request struct {
	Session string `cbor:"s"`
	Number  uint64 `cbor:"n"`
	Done    uint64 `cbor:"d,omitempty"` // the caller has the replies to all numbers below
}

// Session returns the name of a new session, begun at a time in Unix milliseconds. unique tells sessions
// begun in the same millisecond apart.
func Session(at int64, unique string) string { return strconv.FormatInt(at, 36) + "." + unique }

// Named is the request that its user named id.
func Named(id string) Request { return Request{Session: userPrefix + id, Number: 1} }

// begun returns when a session began; 0 if its user named it.
func begun(session string) int64 {
	head, _, ok := strings.Cut(session, ".")
	if !ok || strings.HasPrefix(session, userPrefix) {
		return 0
	}
	at, err := strconv.ParseInt(head, 36, 64)
	if err != nil {
		return 0
	}
	return at
}

// String names the request in one word, for people and for Derive.
func (r Request) String() string { return r.Session + "/" + strconv.FormatUint(r.Number, 10) }

// Derive names the call number ordinal that agent makes while it processes r: the same each time r is
// processed.
func (r Request) Derive(agent shoal.Key, ordinal int) Request {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d ", len(agent), ordinal)
	h.Write([]byte(agent))
	h.Write([]byte(r.String()))
	return Request{Session: Session(begun(r.Session), hex.EncodeToString(h.Sum(nil)[:16])), Number: 1}
}

func (r Request) check() error {
	if r.Session == "" || len(r.Session) > MaxName || r.Number == 0 || r.Done > r.Number ||
		!strings.HasPrefix(r.Session, userPrefix) && !strings.Contains(r.Session, ".") {
		return shoal.E(shoal.Invalid, "request "+r.String(), "malformed name of a request",
			fmt.Sprintf("names are 1 to %d bytes", MaxName-len(userPrefix)))
	}
	return nil
}

// Digest tells requests with one name and different contents apart.
func Digest(method string, payload []byte) []byte {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(method)))
	h.Write(n[:])
	h.Write([]byte(method))
	h.Write(payload)
	return h.Sum(nil)[:16]
}

// reply is what is recorded of a request that was processed.
type reply struct {
	Digest  []byte `cbor:"d"`
	Reply   []byte `cbor:"r,omitempty"`
	Expired bool   `cbor:"e,omitempty"` // the reply is not kept any more
}

// session is what is known of one.
type session struct {
	Floor uint64 `cbor:"f"` // replies to numbers below are forgotten
	Used  int64  `cbor:"u"` // Unix milliseconds of the last turn
}

// Lookup says whether a request was processed, by a state. done: it was, and that was the reply. The
// error says that it must not be processed: Refused if the name was used for another request, Failed if
// it may have been processed and what came of it is not known any more.
func Lookup(v View, r Request, digest []byte) (out []byte, done bool, err error) {
	if err := r.check(); err != nil {
		return nil, false, err
	}
	b, ok, err := v.Get(named(ofReply, r.Session, r.Number))
	if err != nil {
		return nil, false, err
	}
	if ok {
		var was reply
		if err := wire.Unmarshal("recorded reply", b, &was); err != nil {
			return nil, false, &shoal.Error{Kind: shoal.Corrupt, What: "recorded reply", Why: err.Error(), Err: err}
		}
		switch {
		case string(was.Digest) != string(digest):
			return nil, false, shoal.E(shoal.Refused, "request "+r.String(),
				"its name was used for another method or payload", "give each request a name of its own")
		case was.Expired:
			return nil, false, unknown(r)
		}
		return was.Reply, true, nil
	}
	var s session
	if err := read(v, named(ofSession, r.Session), &s); err != nil {
		return nil, false, err
	}
	if r.Number < s.Floor {
		return nil, false, unknown(r)
	}
	if at := begun(r.Session); s == (session{}) && at > 0 {
		m, err := ReadMeta(v)
		if err != nil {
			return nil, false, err
		}
		if at < m.Floor {
			return nil, false, unknown(r)
		}
	}
	return nil, false, nil
}

// unknown is Failed: trying again gives the same.
func unknown(r Request) error {
	return shoal.E(shoal.Failed, "request "+r.String(), "it may have been processed, and its reply is not kept any more",
		fmt.Sprintf("replies are kept for %v: look at the agent's state", Retention))
}

// Derived names what a message that is no call is to those that its turn calls: by its place in the sender's
// outbox, or the time for which its timer was set.
func (m Message) Derived(agent shoal.Key) Request {
	at := m.Fired.Due
	h := sha256.New()
	fmt.Fprintf(h, "%x %x %d %d %q %d", agent, m.From.Agent, m.From.Generation, m.From.Number, m.Fired.Name, m.Fired.Due)
	return Request{Session: Session(at, hex.EncodeToString(h.Sum(nil)[:16])), Number: 1}
}
