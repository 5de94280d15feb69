package shoaltest

import (
	"bytes"
	"context"
	"fmt"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/rpc/pipe"
	"github.com/shoal-fabric/shoal/wire"
)

// streamRoom is how far a writer runs ahead of its reader.
const streamRoom = 1 << 20

// Open implements shoal.Peers.
func (a *Node) Open(ctx context.Context, to shoal.PeerID, method string, request []byte) (shoal.Stream, error) {
	what := "open " + method + " at " + to.Short()
	p, err := a.reach(ctx, to, what, request)
	if err != nil {
		return nil, err
	}
	a.net.mu.Lock()
	h := p.to.streams[method]
	a.net.mu.Unlock()
	if h == nil {
		return nil, unknownMethod(what)
	}
	request = bytes.Clone(request)
	handling, cancel := p.context(ctx)
	asker, handler := pipe.Duplex(streamRoom, cancel)
	stop := context.AfterFunc(ctx, func() { asker.Break(shoal.Wrap(shoal.Canceled, what, ctx.Err())) })
	go func() {
		defer stop()
		defer cancel()
		if p.to != a {
			unwatch := a.watch(p, asker)
			defer unwatch()
			if !a.net.send(handling, a.id, to, false) {
				a.net.wait(handling)
				asker.Break(shoal.E(shoal.Unavailable, what, "no answer", "check the network between the two nodes"))
				return
			}
			a.net.count(method)
		}
		if err := serve(handling, h, a.id, method, request, handler); err != nil {
			handler.Fail(wire.FromError(err).Err())
			return
		}
		handler.Close()
	}()
	return asker, nil
}

// watch breaks a stream when either node stops or a link between them is cut.
func (a *Node) watch(p path, s *pipe.End) (unwatch func()) {
	done := make(chan struct{})
	go func() {
		for {
			there, change := a.net.isCut(a.id, p.to.id)
			back, _ := a.net.isCut(p.to.id, a.id)
			if there || back {
				s.Reset()
				return
			}
			select {
			case <-change:
			case <-p.asker.Done():
				s.Reset()
				return
			case <-p.asked.Done():
				s.Reset()
				return
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

func serve(ctx context.Context, h shoal.StreamHandler, from shoal.PeerID, method string,
	request []byte, s shoal.Stream,
) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = shoal.E(shoal.Internal, method, fmt.Sprint("the handler panicked: ", v), "")
		}
	}()
	return h(ctx, from, request, s)
}
