package rpc

import (
	"bufio"
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal"
)

// maxShared is how many shared streams a peer may have to this node. It needs one; a second comes
// when it has dialled anew before this node noticed the old connection's end.
const maxShared = 4

// server is the asked's side of a shared stream.
type server struct {
	rpc  *RPC
	peer *remote
	raw  network.Stream
	w    *writer
	ctx  context.Context // ends with the stream

	mu      sync.Mutex
	tasks   map[uint64]*task
	running sync.WaitGroup
}

// serve is the libp2p handler of shared streams.
func (r *RPC) serve(raw network.Stream) {
	p, err := r.remote(shoal.PeerID(raw.Conn().RemotePeer().String()))
	if err != nil || !r.begin() {
		raw.Reset()
		return
	}
	defer r.loops.Done()
	r.serveShared(p, raw)
}

func (r *RPC) serveShared(p *remote, raw network.Stream) {
	ctx, cancel := context.WithCancel(r.life)
	defer cancel()
	s := &server{rpc: r, peer: p, raw: raw, ctx: ctx, tasks: map[uint64]*task{}}
	s.w = newWriter(raw, r.crew.write, func(error) { raw.Reset() })
	p.enter(s)
	defer p.leave(s)
	context.AfterFunc(ctx, func() {
		s.w.fail(errClosed())
		raw.Reset()
	})
	if err := s.read(); err == errFrame {
		r.cfg.Log.Warn("shared stream ended", "peer", p.name, "why", err)
	}
	cancel()
	s.w.fail(errClosed())
	s.w.wait()
	s.mu.Lock()
	left := s.tasks
	s.tasks = nil
	s.mu.Unlock()
	for _, k := range left {
		if !k.ready { // its body was still coming in: no handler will release it
			s.release(k, 0)
		}
	}
	s.running.Wait()
}

// enter notes an inbound shared stream, and ends the oldest when there are too many.
func (p *remote) enter(s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serving = append(p.serving, s)
	if len(p.serving) > maxShared {
		p.serving[0].raw.Reset()
		p.serving = p.serving[1:]
	}
}

func (p *remote) leave(s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.serving {
		if other == s {
			p.serving = append(p.serving[:i:i], p.serving[i+1:]...)
			return
		}
	}
}

// read takes in requests until the stream ends or the peer breaks the rules.
func (s *server) read() error {
	in := bufio.NewReaderSize(s.raw, s.rpc.cfg.ReadAhead)
	for {
		f, err := readFrame(in)
		if err != nil {
			return err
		}
		switch f.kind {
		case frameAsk:
			err = s.begin(&f)
		case frameMore:
			err = s.more(&f)
		case frameCancel:
			s.cancel(f.id)
		default:
			err = errFrame
		}
		if err != nil {
			return err
		}
	}
}

// begin takes in the first frame of a request, or refuses the request. Of a refused one the other
// frames are skipped, like those of one that was canceled.
func (s *server) begin(f *frame) error {
	name, h := s.rpc.handler(f.method)
	if h == nil {
		s.refuse(f.id, unknownMethod(about("ask", string(f.method), s.rpc.self)))
		return nil
	}
	size := int64(f.total)
	if !s.peer.handled.try(size) {
		s.refuse(f.id, overloaded(about("ask", string(f.method), s.rpc.self)))
		return nil
	}
	if !s.rpc.handled.try(size) {
		s.peer.handled.leave(size)
		s.refuse(f.id, overloaded(about("ask", string(f.method), s.rpc.self)))
		return nil
	}
	k := &task{id: f.id, method: name, h: h, arrived: time.Now(), body: newParts(f), parent: s.ctx}
	if f.budget > 0 {
		k.deadline = k.arrived.Add(f.budget)
	}
	s.mu.Lock()
	double := s.tasks[f.id] != nil
	if !double {
		s.tasks[f.id] = k
	}
	s.mu.Unlock()
	if double {
		s.release(k, 0)
		return errFrame
	}
	s.start(k)
	return nil
}

func (s *server) more(f *frame) error {
	s.mu.Lock()
	k := s.tasks[f.id]
	s.mu.Unlock()
	if k == nil {
		return nil
	}
	if k.ready {
		return errFrame
	}
	if err := k.body.add(f.body); err != nil {
		return err
	}
	s.start(k)
	return nil
}

func (s *server) cancel(id uint64) {
	s.mu.Lock()
	k := s.tasks[id]
	delete(s.tasks, id)
	s.mu.Unlock()
	if k == nil {
		return
	}
	k.cancel()
	if !k.ready {
		s.release(k, 0)
	}
}

// start runs the handler if the body is whole.
func (s *server) start(k *task) {
	if k.body.whole() {
		k.ready = true
		s.running.Add(1)
		s.rpc.crew.run(job{s: s, k: k})
	}
}

// run has the handler answer and sends the answer, unless nobody waits for it any more.
func (s *server) run(k *task) {
	defer s.running.Done()
	reply, err := s.rpc.call(k, k.h, s.peer.name, k.method, k.body.body)
	k.cancel()
	s.mu.Lock()
	wanted := s.tasks[k.id] == k
	delete(s.tasks, k.id)
	how := crowd
	if len(s.tasks) == 0 {
		how = direct
	}
	s.mu.Unlock()
	switch {
	case !wanted, err != nil && s.ctx.Err() != nil: // the handler gave up because the stream ended
		s.release(k, 0)
	case err != nil:
		s.release(k, 0)
		s.refuse(k.id, err)
	default:
		f := frame{kind: frameReply, id: k.id, total: len(reply), spent: time.Since(k.arrived)}
		if len(reply) > partSize {
			s.sendLarge(k, &f, reply)
			return
		}
		s.w.put(s.ctx, &f, reply, nil, how)
		s.release(k, 0)
	}
}

// sendLarge sends a reply that takes room until its last part is out.
func (s *server) sendLarge(k *task, f *frame, reply []byte) {
	extra := int64(len(reply))
	s.peer.handled.grow(extra)
	s.rpc.handled.grow(extra)
	if s.w.put(s.ctx, f, reply, func() { s.release(k, extra) }, crowd) != nil {
		s.release(k, extra)
	}
}

// release gives back the room that a request and its reply took.
func (s *server) release(k *task, extra int64) {
	s.peer.handled.leave(int64(k.body.total) + extra)
	s.rpc.handled.leave(int64(k.body.total) + extra)
}

// refuse answers with an error.
func (s *server) refuse(id uint64, err error) {
	// While the asker reads nothing, its requests are not read either.
	s.w.put(s.ctx, &frame{kind: frameFail, id: id}, encodeError(err), nil, crowd)
}
