package cast

import (
	"encoding/binary"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// A message in a ring, and as it crosses the network, is a record: its length, which fields it has, when it was made, and those
// fields. Its number is told by its place; whose it is, unless an agent's, by who sends it.
const (
	hasPublisher = 1 << iota
	hasTrace
	hasKey
	hasData
)

const (
	maxRecord = topic.MaxBody + topic.MaxKey + topic.MaxTrace + 2*128 + 64 // bytes
	minRecord = 3
)

// appendRecord appends m, published by the node called self.
func appendRecord(b []byte, m *topic.Message, self string) []byte {
	flags := byte(0)
	fields := [...]string{m.Publisher, m.Trace, m.Key, m.Data}
	if fields[0] == self {
		fields[0] = ""
	}
	var at [binary.MaxVarintLen64]byte
	when := binary.AppendUvarint(at[:0], uint64(max(m.At, 0)))
	n := 1 + len(when) + len(m.Body)
	for i, f := range fields {
		if f != "" {
			flags |= 1 << i
			n += len(f) + 1
			if len(f) > 0x7f {
				n++
			}
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	b = append(append(b, flags), when...)
	for _, f := range fields {
		if f != "" {
			b = append(binary.AppendUvarint(b, uint64(len(f))), f...)
		}
	}
	return append(b, m.Body...)
}

// skip returns what comes after the first record, unread.
func skip(b []byte) (rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n < minRecord-1 || n > maxRecord || uint64(len(b)-k) < n {
		return nil, false
	}
	return b[k+int(n):], true
}

// readRecord reads the first record into m, whose Body then lies in b; self is the node that published it. With m nil it only checks.
func readRecord(b []byte, m *topic.Message, self string) (rest []byte, ok bool) {
	rest, ok = skip(b)
	if !ok {
		return nil, false
	}
	_, k := binary.Uvarint(b)
	b = b[k : len(b)-len(rest)]
	flags := b[0]
	at, k := binary.Uvarint(b[1:])
	if k <= 0 || flags > 2*hasData-1 || at > 1<<62 {
		return nil, false
	}
	b = b[1+k:]
	if m != nil {
		*m = topic.Message{Publisher: self, At: int64(at)}
	}
	for i, limit := range [...]int{128, topic.MaxTrace, topic.MaxKey, 128} {
		if flags&(1<<i) == 0 {
			continue
		}
		n, k := binary.Uvarint(b)
		if k <= 0 || n == 0 || n > uint64(limit) || uint64(len(b)-k) < n {
			return nil, false
		}
		field := b[k : k+int(n)]
		b = b[k+int(n):]
		if i == 0 && !agentLike(field) {
			return nil, false
		}
		if m != nil {
			*[...]*string{&m.Publisher, &m.Trace, &m.Key, &m.Data}[i] = string(field)
		}
	}
	if len(b) > topic.MaxBody || flags&hasData != 0 && len(b) > 0 {
		return nil, false
	}
	if m != nil && len(b) > 0 {
		m.Body = b[:len(b):len(b)]
	}
	return rest, true
}

// agentLike reports whether a publisher's name may be an agent's key. Nobody speaks for another node.
func agentLike[T string | []byte](s T) bool {
	return len(s) > 48 && strings.HasPrefix(string(s[:1]), "b")
}

// frame is a run of one publisher's messages, and what else is known where they come from. Of no messages, it is that alone.
type frame struct {
	Epoch  uint64 // the publisher's life
	Turn   uint64 // how often it has changed the carrier; odd: it says its messages by gossip
	View   uint64 // Version of the topic that it knows
	Oldest uint64 // message that it still has
	Next   uint64 // that its next message gets
	First  uint64 // of those here; of none: where those begin that will come by this stream
	Count  int
	Body   []byte // records
}

// bits of the byte that begins a frame: there is one form so far.
const form1 = 1

const (
	maxBody     = 256 << 10 // bytes of the records that one frame gathers; one more may be in it
	maxFrame    = maxBody + maxRecord + 128
	maxMessages = 1 << 16
)

// append appends a frame.
func (f *frame) append(b []byte) []byte {
	b = append(b, form1)
	for _, n := range [...]uint64{f.Epoch, f.Turn, f.View, f.Oldest, f.Next, f.First, uint64(f.Count)} {
		b = binary.AppendUvarint(b, n)
	}
	return append(b, f.Body...)
}

// parseFrame reads and checks a frame, of which Body lies in b.
func parseFrame(b []byte) (f frame, err error) {
	bad := func(why string) (frame, error) {
		return frame{}, shoal.E(shoal.Invalid, "messages of a topic", why, "check that both nodes run the same version of shoal")
	}
	if len(b) == 0 || b[0] != form1 || len(b) > maxFrame {
		return bad("an unknown form, or too long")
	}
	b = b[1:]
	var count uint64
	for _, p := range [...]*uint64{&f.Epoch, &f.Turn, &f.View, &f.Oldest, &f.Next, &f.First, &count} {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > 1<<62 {
			return bad("a number is cut off or too large")
		}
		*p, b = n, b[k:]
	}
	if f.Oldest == 0 || f.First == 0 || f.Oldest > f.Next || count > maxMessages || f.First+count > f.Next {
		return bad("the numbers do not fit together")
	}
	f.Count, f.Body = int(count), b
	for range f.Count {
		var ok bool
		if b, ok = readRecord(b, nil, ""); !ok {
			return bad("a message is malformed")
		}
	}
	if len(b) > 0 {
		return bad("there are bytes behind the last message")
	}
	return f, nil
}

// from cuts off the messages before seq.
func (f *frame) from(seq uint64) {
	for f.Count > 0 && f.First < seq {
		f.Body, _ = skip(f.Body)
		f.First, f.Count = f.First+1, f.Count-1
	}
}

// appendEnvelope appends what gossip carries: the topic, when it was said (Unix milliseconds), and a frame.
func appendEnvelope(b []byte, key shoal.Key, at int64, f *frame) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	return f.append(binary.AppendUvarint(b, uint64(max(at, 0))))
}

// MaxEnvelope is the size of the largest envelope, in bytes.
const MaxEnvelope = maxFrame + 256

// parseEnvelope reads and checks an envelope, without judging when it was made.
func parseEnvelope(b []byte) (key shoal.Key, at int64, f frame, err error) {
	bad := shoal.E(shoal.Invalid, "envelope of a topic", "malformed", "check that both nodes run the same version of shoal")
	n, k := binary.Uvarint(b)
	if k <= 0 || n == 0 || n > 128 || uint64(len(b)-k) < n {
		return "", 0, f, bad
	}
	key, b = shoal.Key(b[k:k+int(n)]), b[k+int(n):]
	when, k := binary.Uvarint(b)
	if k <= 0 || when > 1<<62 {
		return "", 0, f, bad
	}
	f, err = parseFrame(b[k:])
	return key, int64(when), f, err
}
