package rpc

import (
	"bufio"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-fabric/shoal"
)

// readBuffer is what a shared stream reads ahead as a rule: two dozen frames of a small call.
const readBuffer = 32 << 10

// measureEvery is how many frames at most may come together.
const measureEvery = 32

// errUnsent says that a shared stream had ended before the request was given to it.
var errUnsent = shoal.ErrUnsent

// client is the asker's side of a shared stream.
type client struct {
	peer *remote
	raw  network.Stream
	w    *writer

	relayed bool        // it goes through a relay
	retired atomic.Bool // see retire

	mu    sync.Mutex
	calls map[uint64]*call
	last  uint64
	err   error // why the stream ended

	// The reading goroutine's: answers that came together say the same of the way, one of them is measured.
	measure    bool // the next that can be
	unmeasured int  // frames since the last
}

// call is a request that waits for its answer. Only the reading goroutine writes reply and err,
// before it sends to done.
type call struct {
	done  chan struct{}
	start time.Time
	small bool
	begun bool // the first part of the reply has come
	reply parts
	err   error
}

func (p *remote) newStream(ctx context.Context, id string) (network.Stream, error) {
	ctx = network.WithAllowLimitedConn(ctx, "shoal")
	if p.rpc.cfg.Connect != nil {
		ctx = network.WithNoDial(ctx, "shoal connects by itself")
	}
	return p.rpc.host.NewStream(ctx, p.id, protocol.ID(id))
}

func newClient(p *remote, raw network.Stream) *client {
	c := &client{peer: p, raw: raw, calls: map[uint64]*call{}}
	c.w = newWriter(raw, p.rpc.crew.write, c.fail)
	return c
}

// run serves the stream until it ends.
func (c *client) run() {
	defer c.peer.rpc.loops.Done()
	stop := context.AfterFunc(c.peer.rpc.life, func() { c.fail(errClosed()) })
	defer stop()
	c.fail(c.read())
	c.w.wait()

	c.mu.Lock()
	calls, err := c.calls, c.err
	c.calls = nil
	c.mu.Unlock()
	for _, k := range calls {
		k.err = err
		k.done <- struct{}{}
	}
}

// retire has no call come onto the stream any more; it ends with the last that waits.
func (c *client) retire() {
	c.peer.lost(c)
	c.retired.Store(true)
	c.spent()
}

// spent ends a retired stream on which no call waits.
func (c *client) spent() {
	if !c.retired.Load() {
		return
	}
	c.mu.Lock()
	done := len(c.calls) == 0
	c.mu.Unlock()
	if done {
		c.fail(errUnsent)
	}
}

// fail ends the stream: no call comes onto it any more, and run fails those that wait.
func (c *client) fail(err error) {
	c.peer.lost(c)
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.w.fail(err)
	c.raw.Reset()
}

// ask sends one request and waits for its answer. errUnsent: the stream had ended before.
func (c *client) ask(ctx context.Context, method string, request []byte) ([]byte, error) {
	f := frame{kind: frameAsk, total: len(request), method: []byte(method)}
	now := time.Now()
	if d, ok := ctx.Deadline(); ok {
		if f.budget = d.Sub(now); f.budget <= 0 {
			return nil, shoal.Wrap(shoal.Timeout, about("ask", method, c.peer.name), context.DeadlineExceeded)
		}
	}
	k := c.peer.rpc.callPool.Get().(*call)
	k.start, k.small = now, len(request) <= smallBody
	k.begun, k.reply, k.err = false, parts{}, nil

	c.mu.Lock()
	if c.err != nil || c.retired.Load() {
		c.mu.Unlock()
		return nil, errUnsent
	}
	c.last++
	f.id = c.last
	c.calls[f.id] = k
	how := crowd
	if len(c.calls) == 1 {
		how = single
	}
	c.mu.Unlock()
	if err := c.w.put(ctx, &f, request, nil, how); err != nil {
		if c.forget(f.id) == nil { // the stream's end has it
			<-k.done
		}
		if ctx.Err() != nil {
			return nil, shoal.Wrap(shoal.Canceled, about("ask", method, c.peer.name), ctx.Err())
		}
		return nil, errUnsent
	}
	if len(request) > partSize {
		defer c.w.drop(f.id) // the answer may come before all of it has gone out
	}
	select {
	case <-k.done:
	case <-ctx.Done():
		if c.forget(f.id) != nil {
			c.w.drop(f.id)
			c.w.note(&frame{kind: frameCancel, id: f.id})
			c.spent()
			return nil, shoal.Wrap(shoal.Canceled, about("ask", method, c.peer.name), ctx.Err())
		}
		<-k.done // the answer was faster
	}
	c.spent()
	reply, err := k.reply.body, k.err
	k.reply = parts{}
	c.peer.rpc.callPool.Put(k)
	if err == nil {
		return reply, nil
	}
	var answered *wireError
	if errors.As(err, &answered) {
		return nil, answered.error
	}
	return nil, transportError(ctx, about("ask", method, c.peer.name), err)
}

// wireError is an error that the peer answered with, as opposed to one of the way.
type wireError struct{ error }

// forget takes a call out; nil when it was not there any more.
func (c *client) forget(id uint64) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.calls[id]
	delete(c.calls, id)
	return k
}

// read takes in answers. Those to calls that nobody waits for any more are skipped.
func (c *client) read() error {
	in := bufio.NewReaderSize(c.raw, c.peer.rpc.cfg.ReadAhead)
	for {
		if c.unmeasured++; in.Buffered() == 0 || c.unmeasured >= measureEvery {
			c.measure = true
		}
		f, err := readFrame(in)
		if err != nil {
			return err
		}
		if err := c.take(&f); err != nil {
			return err
		}
	}
}

func (c *client) take(f *frame) error {
	if f.kind == frameAsk || f.kind == frameCancel {
		return errFrame
	}
	c.mu.Lock()
	k := c.calls[f.id]
	last := k != nil && (f.kind == frameFail || f.kind == frameReply && !k.begun && len(f.body) == f.total)
	if last {
		delete(c.calls, f.id) // here already, as the lock is held
	}
	c.mu.Unlock()
	if k == nil {
		return nil
	}
	var err error
	switch f.kind {
	case frameReply:
		err = c.reply(k, f)
	case frameMore:
		if !k.begun {
			return errFrame
		}
		err = k.reply.add(f.body)
		last = err == nil && k.reply.whole() && c.forget(f.id) != nil
	case frameFail:
		if err = decodeError(f.body); err != errFrame {
			k.err, err = &wireError{err}, nil
			k.reply = parts{}
		}
	}
	if last {
		if err != nil { // the end of the stream, which tells those who wait, does not know of it any more
			k.err = err
		}
		k.done <- struct{}{}
	}
	return err
}

// reply takes in the first part of an answer.
func (c *client) reply(k *call, f *frame) error {
	if k.begun {
		return errFrame
	}
	k.begun = true
	k.reply = newParts(f)
	if c.measure && k.small && f.total <= smallBody {
		c.measure, c.unmeasured = false, 0
		now := time.Now()
		c.peer.meter.roundTrip(now.Sub(k.start)-f.spent, now)
	}
	return nil
}
