package dht

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-fabric/shoal"
)

const (
	maxIdle  = 4                // streams kept to a peer
	idleTime = 45 * time.Second // the other side drops a stream after a minute

	readAhead = 512 // bytes; there is a reader to each peer that was asked of late
)

// sender carries kad-dht's messages: one exchange at a time on a stream, streams kept for the next
// exchange, every exchange bounded in time. It asks the gate before it speaks to a peer, reports who
// was silent, and traces. It is kad-dht's MessageSenderWithDisconnect.
type sender struct {
	host  host.Host
	id    protocol.ID
	gate  *gate
	reach *reach

	missed func(p peer.ID) // told that p did not hear an announcement

	announced atomic.Uint64 // bytes, see DHT.Announced

	mu   sync.Mutex
	idle map[peer.ID][]*line
}

// announcingKey marks a context in which lookups are made in order to announce something.
type announcingKey struct{}

func announcing(ctx context.Context) context.Context {
	return context.WithValue(ctx, announcingKey{}, true)
}

// count adds messages to those of announcing, if they are.
func (s *sender) count(ctx context.Context, ms ...*pb.Message) {
	for _, m := range ms {
		if m != nil && (ctx.Value(announcingKey{}) != nil || m.GetType() == pb.Message_ADD_PROVIDER || m.GetType() == pb.Message_PUT_VALUE) {
			n := proto.Size(m)
			s.announced.Add(uint64(n + protowire.SizeVarint(uint64(n))))
		}
	}
}

// line is a stream to a peer.
type line struct {
	network.Stream
	in   *bufio.Reader
	used time.Time
}

// SendRequest sends m to p and returns the answer.
func (s *sender) SendRequest(ctx context.Context, p peer.ID, m *pb.Message) (*pb.Message, error) {
	t := tracerOf(ctx)
	t.hop(p, "ask", 0, nil)
	if t != nil && t.route != nil {
		t.route.asked()
	}
	var reply *pb.Message
	err := s.exchange(ctx, p, func(l *line) (err error) {
		if err = l.write(m); err == nil {
			reply, err = l.read()
		}
		return err
	})
	s.count(ctx, m, reply)
	if err != nil {
		t.hop(p, "fail", 0, err)
		return nil, err
	}
	found := len(reply.GetCloserPeers())
	if n := len(reply.GetProviderPeers()); n > 0 {
		found = n
	}
	t.hop(p, "answer", found, nil)
	if t != nil && t.route != nil {
		var named []peer.ID
		for _, c := range reply.GetCloserPeers() {
			named = append(named, peer.ID(c.GetId()))
		}
		t.route.heard(p, named)
	}
	return reply, nil
}

// SendMessage sends m, to which there is no answer.
func (s *sender) SendMessage(ctx context.Context, p peer.ID, m *pb.Message) error {
	if p == s.host.ID() {
		return nil // a node alone announces to itself, see router
	}
	s.count(ctx, m)
	err := s.exchange(ctx, p, func(l *line) error { return l.write(m) })
	if err != nil && ctx.Err() == nil {
		s.missed(p)
	}
	return err
}

// sendAll sends messages to which there is no answer and returns once p has read them all.
func (s *sender) sendAll(ctx context.Context, p peer.ID, ms []*pb.Message) error {
	for len(ms) > 0 { // in portions that p can do in one step
		n := min(len(ms), 256)
		s.count(ctx, ms[:n]...)
		err := s.exchange(ctx, p, func(l *line) error {
			for _, m := range ms[:n] {
				if err := l.write(m); err != nil {
					return err
				}
			}
			// Messages on a stream are handled in order: the answer to the last covers the others.
			if err := l.write(pb.NewMessage(pb.Message_PING, nil, 0)); err != nil {
				return err
			}
			_, err := l.read()
			return err
		})
		if err != nil {
			return err
		}
		ms = ms[n:]
	}
	return nil
}

// OnDisconnect drops the streams to p.
func (s *sender) OnDisconnect(_ context.Context, p peer.ID) { s.drop(p) }

func (s *sender) drop(p peer.ID) {
	s.mu.Lock()
	lines := s.idle[p]
	delete(s.idle, p)
	s.mu.Unlock()
	for _, l := range lines {
		_ = l.Reset()
	}
}

func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, lines := range s.idle {
		for _, l := range lines {
			_ = l.Reset()
		}
	}
	clear(s.idle)
}

// exchange runs do on a stream to p, within p's time.
func (s *sender) exchange(ctx context.Context, p peer.ID, do func(l *line) error) error {
	if err := s.reach.check(p); err != nil && !isPatient(ctx) {
		return err
	}
	stranger := shoal.E(shoal.Refused, "", "not known as a member", "")
	if !s.gate.maybe(p) {
		return shoal.Wrap(shoal.Unavailable, "ask "+p.ShortString(), stranger)
	}
	// The dial has a time of its own, and goes on after it. kad-dht dials whom it looks up, but not whom it asks or tells at the end.
	if err := s.reach.connect(ctx, p); err != nil {
		return shoal.Wrap(shoal.Unavailable, "ask "+p.ShortString(), err)
	}
	step, cancel := context.WithTimeout(ctx, s.reach.patience(ctx, p))
	defer cancel()
	begun, err := time.Now(), error(stranger)
	if s.gate.admits(step, p) {
		err = s.try(step, p, do)
	}
	switch {
	case err == nil:
		s.host.Peerstore().RecordLatency(p, time.Since(begun))
		s.reach.alive(p)
	case ctx.Err() != nil: // the caller gave up, which says nothing of p
		err = shoal.Wrap(shoal.Canceled, "ask "+p.ShortString(), ctx.Err())
	case step.Err() != nil:
		err = shoal.E(shoal.Timeout, "ask "+p.ShortString(), "no answer in time", "")
		s.reach.failed(p, err)
	default: // it failed at once; nothing is saved by passing p over
		err = shoal.Wrap(shoal.Unavailable, "ask "+p.ShortString(), err)
	}
	return err
}

// try runs do on a kept stream; if that had broken meanwhile, on a new one.
func (s *sender) try(ctx context.Context, p peer.ID, do func(l *line) error) error {
	for {
		l, kept, err := s.line(ctx, p)
		if err != nil {
			return err
		}
		if err = l.run(ctx, do); err == nil {
			s.keep(p, l)
			return nil
		}
		_ = l.Reset()
		if !kept || ctx.Err() != nil {
			return err
		}
	}
}

// run does one exchange and has the stream break when ctx ends.
func (l *line) run(ctx context.Context, do func(l *line) error) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Reset() })
	err := do(l)
	if !stop() && err == nil {
		err = ctx.Err() // the stream has been reset, or is about to be
	}
	return err
}

func (s *sender) line(ctx context.Context, p peer.ID) (l *line, kept bool, err error) {
	for {
		s.mu.Lock()
		lines := s.idle[p]
		if len(lines) > 0 {
			l = lines[len(lines)-1]
			s.idle[p] = lines[:len(lines)-1]
		}
		s.mu.Unlock()
		if len(lines) == 0 {
			break
		}
		if time.Since(l.used) < idleTime {
			return l, true, nil
		}
		_ = l.Reset()
	}
	if err := s.reach.connect(ctx, p); err != nil {
		return nil, false, err
	}
	stream, err := s.host.NewStream(network.WithNoDial(ctx, "dht"), p, s.id)
	if err != nil {
		return nil, false, err
	}
	return &line{Stream: stream, in: bufio.NewReaderSize(stream, readAhead)}, false, nil
}

func (s *sender) keep(p peer.ID, l *line) {
	l.used = time.Now()
	s.mu.Lock()
	full := len(s.idle[p]) >= maxIdle || s.host.Network().Connectedness(p) != network.Connected
	if !full {
		s.idle[p] = append(s.idle[p], l)
	}
	s.mu.Unlock()
	if full {
		_ = l.Close()
	}
}

// write sends m behind its length, as kad-dht does.
func (l *line) write(m *pb.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = l.Write(append(binary.AppendUvarint(nil, uint64(len(body))), body...))
	return err
}

func (l *line) read() (*pb.Message, error) { return readMessage(l.in) }

// readMessage reads one message and refuses oversized ones before it makes room for them.
func readMessage(in *bufio.Reader) (*pb.Message, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, err
	}
	if n > network.MessageSizeMax {
		return nil, errors.New("the answer is too large")
	}
	body, err := io.ReadAll(io.LimitReader(in, int64(n))) // grows with what really comes
	if err != nil {
		return nil, err
	}
	if uint64(len(body)) < n {
		return nil, io.ErrUnexpectedEOF
	}
	m := new(pb.Message)
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, err
	}
	return m, nil
}
