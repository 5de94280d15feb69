package rpc

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/rpc/pipe"
	"github.com/shoal-fabric/shoal/wire"
)

const (
	openTime   = 30 * time.Second // for the request of a stream to arrive
	refuseTime = 5 * time.Second  // for a refusal to reach the asker
	selfRoom   = 1 << 20          // bytes that wait in a stream to this node itself
)

// Open implements shoal.Peers. The context governs the whole life of the stream.
func (r *RPC) Open(ctx context.Context, to shoal.PeerID, method string, request []byte) (shoal.Stream, error) {
	what := about("open", method, to)
	if err := ctx.Err(); err != nil {
		return nil, shoal.Wrap(shoal.Canceled, what, err)
	}
	if len(request) > wire.MaxFrame || len(method) > maxMethod {
		return nil, tooLarge(what, len(request))
	}
	if to == r.self {
		return r.openSelf(ctx, what, method, request)
	}
	p, err := r.remote(to)
	if err != nil {
		return nil, err
	}
	raw, err := p.open(ctx, method)
	if err != nil {
		return nil, transportError(ctx, what, err)
	}
	s := newStream(raw, bufio.NewReaderSize(raw, readAhead), what, &p.meter)
	s.asker = true
	s.after(p.hold())
	s.rude = func() { r.cfg.Log.Warn("stream ended: the peer broke the rules", "peer", to, "method", method) }
	s.until(ctx, func() error { return shoal.Wrap(shoal.Canceled, what, ctx.Err()) })
	s.until(r.life, errClosed)
	budget := time.Duration(0)
	if d, ok := ctx.Deadline(); ok {
		budget = max(time.Until(d), time.Microsecond)
	}
	if _, err := raw.Write(opening(budget, request)); err != nil {
		return nil, s.cut(noEOF(err))
	}
	return s, nil
}

func (p *remote) open(ctx context.Context, method string) (network.Stream, error) {
	if err := p.connect(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	return p.newStream(ctx, string(p.rpc.streamProtocol(method)))
}

// serveStream is the libp2p handler of a stream method.
func (r *RPC) serveStream(raw network.Stream, method string, h shoal.StreamHandler) {
	p, err := r.remote(shoal.PeerID(raw.Conn().RemotePeer().String()))
	if err != nil || !r.begin() {
		raw.Reset()
		return
	}
	defer r.loops.Done()
	what := method + " for " + p.name.Short()
	if !p.opened.try(1) {
		refuseStream(raw, overloaded(what))
		return
	}
	defer p.opened.leave(1)
	if !r.opened.try(1) {
		refuseStream(raw, overloaded(what))
		return
	}
	defer r.opened.leave(1)

	in := bufio.NewReaderSize(raw, readAhead)
	raw.SetReadDeadline(time.Now().Add(openTime))
	budget, request, err := readOpening(in)
	if err != nil {
		r.cfg.Log.Warn("stream without a proper request", "peer", p.name, "method", method, "why", err)
		raw.Reset()
		return
	}
	raw.SetReadDeadline(time.Time{})

	ctx, cancel := context.WithCancel(r.life)
	defer cancel()
	handling := ctx
	if budget > 0 {
		var free context.CancelFunc
		handling, free = context.WithTimeout(ctx, budget)
		defer free()
	}
	s := newStream(raw, in, what, &p.meter)
	s.rude = func() { r.cfg.Log.Warn("stream ended: the peer broke the rules", "peer", p.name, "method", method) }
	s.until(r.life, errClosed)
	s.after(p.hold())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer cancel() // the asker has left
		s.watch()
	}()
	err = r.callStream(handling, h, p.name, method, request, s)
	if err != nil && r.life.Err() != nil {
		err = errClosed() // rather than what became of the handler because of that
	}
	cancel()
	s.finish(err)
	<-watched
	s.release(!s.last)
}

// finish ends a handler's stream: it tells the asker how the handler ended, and has watch skip what
// the asker still sends.
func (s *stream) finish(err error) {
	if !s.wmu.TryLock() { // the handler has left somebody behind who writes
		s.abort(pipe.Broken())
		return
	}
	told := s.goodbye(err)
	s.wmu.Unlock()
	if !told {
		s.abort(pipe.Broken())
		return
	}
	s.raw.CloseWrite()
	s.mu.Lock()
	s.draining = true
	if s.local == nil {
		s.local = shut("read or write")
	}
	s.mu.Unlock()
	select {
	case s.eaten <- struct{}{}:
	default:
	}
}

// refuseStream tells the asker why, and gives it a moment to hear it.
func refuseStream(raw network.Stream, err error) {
	raw.SetDeadline(time.Now().Add(refuseTime))
	payload := encodeError(err)
	b := make([]byte, headSize, headSize+len(payload))
	putHead(b, recordFail, len(payload))
	if _, err := raw.Write(append(b, payload...)); err == nil && raw.CloseWrite() == nil {
		io.CopyN(io.Discard, raw, drainLimit)
	}
	raw.Reset()
}

// callStream runs a handler and turns a panic into an error.
func (r *RPC) callStream(ctx context.Context, h shoal.StreamHandler, from shoal.PeerID, method string,
	request []byte, s shoal.Stream,
) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = r.panicked(method, from, v)
		}
	}()
	return h(ctx, from, request, s)
}

// openSelf is the stream that stays on this node: a pipe, and the handler beside it.
func (r *RPC) openSelf(ctx context.Context, what, method string, request []byte) (shoal.Stream, error) {
	r.mu.RLock()
	h := r.streams[method]
	r.mu.RUnlock()
	if h == nil {
		return nil, unknownMethod(what)
	}
	if !r.begin() {
		return nil, errClosed()
	}
	handling, cancel := context.WithCancel(ctx)
	asker, handler := pipe.Duplex(selfRoom, cancel)
	forget := context.AfterFunc(ctx, func() { asker.Break(shoal.Wrap(shoal.Canceled, what, ctx.Err())) })
	forgetLife := context.AfterFunc(r.life, func() { asker.Break(errClosed()) })
	request = bytes.Clone(request)
	go func() {
		defer r.loops.Done()
		defer cancel()
		defer forget()
		defer forgetLife()
		if err := r.callStream(handling, h, r.self, method, request, handler); err != nil {
			handler.Fail(shoal.Wrap(shoal.KindOf(err), "", err))
			return
		}
		handler.Close()
	}()
	return asker, nil
}
