package group

import (
	"encoding/binary"
	"errors"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-fabric/shoal"
)

// Envelope is a message for one member. Its peer gives Data to Step of the group that has that member.
type Envelope struct {
	To   Member
	Data []byte
}

// header is what this package says beside raft's message, in front of it.
type header struct {
	generation  uint64
	from, to    uint64 // members
	incarnation uint64 // of the sender's node
	conf        uint64 // index of the sender's configuration
	released    uint64 // the newest term whose leader gave up its lease, that the sender knows of
	asked       uint64 // by a leader: when it sent this, on its clock (0: it asks for no promise)
	echo        uint64 // by a follower: what the leader that it acknowledges asked (mayIGo: the index of its configuration)
	echoOf      uint64 // and the incarnation that asked (mayIGo: the term of that entry)
	notice      notice // a message of this package's own, without raft's
}

// notice is what one member tells another outside of raft.
type notice uint64

const (
	noNotice      notice = iota
	leaderSleeps         // the leader goes to sleep: so may its followers
	leaderResigns        // the leader steps down: another may follow at once
	notMember            // the asker is not a member any more, as of conf
	mayIGo               // a removed member asks whether its state and its vote are still needed
	dismissed            // they are not: the group has gone on without it
	newerHistory         // there is a newer generation
)

// version is the first byte of a message.
const version = 1

// maxID bounds the IDs of members, and terms: raft gives the largest numbers a meaning of its own.
const maxID = 1 << 62

// fields lists the header's numbers in the order in which they are encoded.
func (h *header) fields() [10]*uint64 {
	return [...]*uint64{
		&h.generation, &h.from, &h.to, &h.incarnation, &h.conf, &h.released, &h.asked, &h.echo, &h.echoOf, (*uint64)(&h.notice),
	}
}

// encode returns the bytes of a message; m may be nil.
func encode(h header, m *raftpb.Message) []byte {
	size := 0
	if m != nil {
		size = proto.Size(m)
	}
	b := append(make([]byte, 0, 64+size), version)
	for _, f := range h.fields() {
		b = binary.AppendUvarint(b, *f)
	}
	if m == nil {
		return b
	}
	b, err := proto.MarshalOptions{Deterministic: true, UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		panic("a raft message cannot be encoded: " + err.Error())
	}
	return b
}

// decode reads a message. It keeps nothing of b.
func decode(b []byte) (h header, m *raftpb.Message, err error) {
	if len(b) == 0 || b[0] != version {
		return h, nil, malformed(errors.New("of another version"))
	}
	b = b[1:]
	for _, f := range h.fields() {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return h, nil, malformed(errors.New("its header is cut short"))
		}
		*f, b = v, b[n:]
	}
	if h.from == 0 || h.from >= maxID || h.to >= maxID || h.from == h.to {
		return h, nil, malformed(errors.New("no member has such an ID"))
	}
	if h.notice != noNotice {
		if len(b) > 0 || h.notice > newerHistory {
			return h, nil, malformed(errors.New("an unknown notice"))
		}
		return h, nil, nil
	}
	m = &raftpb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return h, nil, malformed(err)
	}
	return h, m, checkMessage(h, m)
}

// checkMessage refuses what raft takes on trust.
func checkMessage(h header, m *raftpb.Message) error {
	if m.GetFrom() != h.from || m.GetTo() != h.to {
		return malformed(errors.New("sender or receiver do not agree"))
	}
	if len(m.GetResponses()) > 0 || m.GetSnapshot() != nil {
		return malformed(errors.New("it carries what stays on a node"))
	}
	at := m.GetIndex()
	for _, e := range m.GetEntries() {
		at++
		if m.GetType() == raftpb.MsgApp && e.GetIndex() != at || e.GetTerm() > m.GetTerm() && m.GetTerm() > 0 {
			return malformed(errors.New("its entries do not follow one another"))
		}
	}
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
		raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgTimeoutNow:
		if m.GetTerm() == 0 || m.GetTerm() >= maxID {
			return malformed(errors.New("there is no such term"))
		}
	case raftpb.MsgProp: // dropped by Step: proposals do not travel
	default:
		return malformed(errors.New("of a kind that stays on a node"))
	}
	return nil
}

func malformed(err error) error {
	return shoal.E(shoal.Invalid, "message of a group", err.Error(), "check that both nodes run the same version of shoal")
}
