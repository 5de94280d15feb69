package agents

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/rpc/pipe"
	"github.com/shoal-fabric/shoal/wire"
)

// web is the network of an ordeal. Calls and the frames of agents.post are messages on it, which may be late, come
// twice or out of order, or stay on the way as long as a link is cut. Other streams are bytes in order.
type web struct {
	mu      sync.Mutex
	rng     *rand.Rand
	lives   map[shoal.PeerID]*life
	cut     map[[2]shoal.PeerID]bool
	rough   map[shoal.PeerID]weather // of what a machine sends
	changed chan struct{}            // closed when anything above changes, or a gate
}

// weather is how rough a way is.
type weather struct {
	late     time.Duration // up to
	twice    float64       // share of messages that come twice
	out      float64       // share of messages that others overtake
	lost     float64
	breakOff bool // a cut breaks streams, and loses what is on its way, instead of holding it
}

func newWeb(seed uint64) *web {
	return &web{
		rng: rand.New(rand.NewPCG(seed, 2)), lives: map[shoal.PeerID]*life{}, cut: map[[2]shoal.PeerID]bool{},
		rough: map[shoal.PeerID]weather{}, changed: make(chan struct{}),
	}
}

// change makes a change that all who wait look at.
func (w *web) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

// draw is the fate of one message.
func (w *web) draw(from shoal.PeerID) (delay time.Duration, twice, out, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.rough[from]
	delay = 100*time.Microsecond + time.Duration(w.rng.Int64N(int64(400*time.Microsecond)))
	if r.late > 0 && w.rng.IntN(4) == 0 {
		delay += time.Duration(w.rng.Int64N(int64(r.late)))
	}
	return delay, w.rng.Float64() < r.twice, w.rng.Float64() < r.out, w.rng.Float64() < r.lost
}

// pass waits until a message is through, and reports whether it ever is. What a life sent before its end arrives.
func (w *web) pass(ctx context.Context, from *life, to shoal.PeerID, delay time.Duration) bool {
	if from.gone() {
		return false
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return false
	}
	for {
		w.mu.Lock()
		cut := w.cut[[2]shoal.PeerID{from.id, to}]
		lost := cut && w.rough[from.id].breakOff
		other := w.lives[to]
		held := cut || from.held() || other != nil && other.held()
		changed := w.changed
		w.mu.Unlock()
		switch {
		case lost:
			return false
		case !held:
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (w *web) life(id shoal.PeerID) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives[id]
}

// Self implements shoal.Peers.
func (l *life) Self() shoal.PeerID { return l.id }

// Handle implements shoal.Peers.
func (l *life) Handle(method string, h shoal.Handler) { l.handlers[method] = h }

// HandleStream implements shoal.Peers.
func (l *life) HandleStream(method string, h shoal.StreamHandler) { l.streams[method] = h }

func unreachable(to shoal.PeerID) error {
	return shoal.E(shoal.Unavailable, "peer "+to.Short(), "it cannot be reached", "")
}

// Ask implements shoal.Peers.
func (l *life) Ask(ctx context.Context, to shoal.PeerID, method string, request []byte) ([]byte, error) {
	type result struct {
		reply []byte
		err   error
	}
	if l.gone() {
		return nil, unreachable(to)
	}
	if to == l.id {
		return l.handlers[method](ctx, l.id, bytes.Clone(request))
	}
	w := l.m.o.web
	ch := make(chan result, 2)
	carry := func(ctx context.Context, delay time.Duration) {
		if !w.pass(ctx, l, to, delay) {
			return
		}
		other := w.life(to)
		if other == nil {
			ch <- result{nil, unreachable(to)}
			return
		}
		stop := context.AfterFunc(other.ctx, func() { // the asker sees the connection break
			ch <- result{nil, unreachable(to)}
		})
		defer stop()
		if other.handlers[method] == nil {
			ch <- result{nil, unreachable(to)}
			return
		}
		handling, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(other.ctx, cancel)()
		var r result
		r.reply, r.err = other.handlers[method](handling, l.id, bytes.Clone(request))
		if r.err != nil {
			r.reply, r.err = nil, wire.FromError(r.err).Err()
		}
		back, _, _, lost := w.draw(to)
		if !lost && w.pass(ctx, other, l.id, back) {
			select {
			case ch <- r:
			default:
			}
		}
	}
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	delay, twice, out, lost := w.draw(l.id)
	if !lost {
		l.m.o.work.Go(func() { carry(asking, delay) })
	}
	if twice && method == "agents.call" { // and late, when its asker is long gone
		second := 2 * delay
		if out {
			second *= 50
		}
		l.m.o.work.Go(func() {
			late, cancel := context.WithTimeout(l.m.o.ctx, 20*time.Second)
			defer cancel()
			carry(late, second)
		})
	}
	select {
	case r := <-ch:
		return r.reply, r.err
	case <-l.ctx.Done():
		return nil, unreachable(to)
	case <-asking.Done():
		if err := ctx.Err(); err != nil {
			return nil, shoal.Wrap(shoal.Canceled, "ask", err)
		}
		return nil, unreachable(to)
	}
}

// Open implements shoal.Peers.
func (l *life) Open(ctx context.Context, to shoal.PeerID, method string, request []byte) (shoal.Stream, error) {
	other := l.m.o.web.life(to)
	if l.gone() || other == nil || other.streams[method] == nil {
		return nil, unreachable(to)
	}
	request = bytes.Clone(request)
	life, cancel := context.WithCancel(other.ctx) // of the stream: until either side is gone, or has enough
	context.AfterFunc(l.ctx, cancel)
	context.AfterFunc(ctx, cancel)
	asker, here := pipe.Duplex(1<<20, nil)
	there, handler := pipe.Duplex(1<<20, nil)
	context.AfterFunc(life, func() {
		for _, e := range []*pipe.End{asker, here, there, handler} {
			e.Break(unreachable(to))
		}
	})
	go func() {
		delay, _, _, _ := l.m.o.web.draw(l.id)
		if !l.m.o.web.pass(life, l, to, delay) {
			cancel()
			return
		}
		frames := method == "agents.post"
		go l.pump(life, cancel, to, here, there, frames)
		go other.pump(life, cancel, l.id, there, here, frames)
		if err := other.streams[method](life, l.id, request, handler); err != nil {
			handler.Fail(wire.FromError(err).Err())
			return
		}
		_ = handler.Close()
	}()
	return asker, nil
}

// pump carries one direction of a stream.
func (l *life) pump(ctx context.Context, cancel func(), to shoal.PeerID, in, out *pipe.End, frames bool) {
	type parcel struct {
		due  time.Time
		data []byte
	}
	queue := make(chan parcel, 4096)
	go func() {
		defer close(queue)
		r := bufio.NewReaderSize(in, 64<<10)
		for {
			var data []byte
			var err error
			if frames {
				if data, err = wire.ReadFrame(r, wire.MaxFrame); err == nil {
					data = wire.AppendFrame(nil, data)
				}
			} else {
				data = make([]byte, 64<<10)
				var n int
				n, err = r.Read(data)
				data = data[:n]
			}
			delay, twice, overtaken, lost := l.m.o.web.draw(l.id)
			if len(data) > 0 && !(frames && lost) {
				p := parcel{time.Now().Add(delay), data}
				switch {
				case !frames:
					queue <- p
				case overtaken:
					l.m.o.work.Go(func() {
						if l.m.o.web.pass(ctx, l, to, 5*delay) {
							_, _ = out.Write(data)
						}
					})
				default:
					queue <- p
				}
				if frames && twice {
					queue <- p
				}
			}
			if err != nil {
				if err != io.EOF {
					cancel()
				}
				return
			}
		}
	}()
	open := true
	for p := range queue {
		if !open {
			continue
		}
		if open = l.m.o.web.pass(ctx, l, to, max(0, time.Until(p.due))); open {
			_, err := out.Write(p.data)
			open = err == nil
		}
		if !open { // a stream that lost something is broken
			cancel()
		}
	}
	_ = out.CloseWrite()
}
