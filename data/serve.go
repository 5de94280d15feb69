package data

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/pieces"
	"github.com/shoal-fabric/shoal/wire"
)

// Class says what bytes are moved for. Each class has a stream of its own, so that the connection
// counters tell them apart.
type Class string

// The classes.
const (
	Code    Class = "code"   // modules
	Content Class = "data"   // datasets
	Result  Class = "result" // outputs of tasks
)

func (c Class) method() string { return string(c) + ".fetch" }

// serveFetch answers requests for blocks until the other side has no more.
func (d *Data) serveFetch(ctx context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
	select {
	case d.serving <- struct{}{}:
		defer func() { <-d.serving }()
	default:
		return shoal.E(shoal.Overloaded, "fetch", "too many fetches at once", "try again in a moment")
	}
	r, w := bufio.NewReader(s), bufio.NewWriterSize(s, 32<<10)
	for {
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
		frame, err := wire.ReadFrame(r, pieces.MaxWantLen)
		if errors.Is(err, io.EOF) {
			return w.Flush()
		}
		if err != nil {
			return err
		}
		blocks, under, err := pieces.ParseWant(frame)
		switch {
		case err != nil:
			return err
		case under.Defined():
			err = d.sendUnder(ctx, w, under)
		default:
			err = d.sendBlocks(ctx, w, blocks)
		}
		if err != nil {
			return err
		}
	}
}

// sealed is an answer on its way out, in a buffer to give back.
type sealed struct{ frame, buffer []byte }

// answerFor reads a block. Whoever asked holds it against the CID, and asks this node to look at it
// again if it is damaged: so it is not hashed here, which would cost as much as sending it does.
func (d *Data) answerFor(ctx context.Context, c cid.Cid) (a sealed) {
	b, err := d.Store.Raw(ctx, c, func(n int) []byte {
		d.buffers.Put(a.buffer)
		a.buffer = d.buffers.Get(pieces.HeadRoom + n)
		return a.buffer[pieces.HeadRoom:]
	})
	if err == nil && len(b) <= wire.MaxBlock {
		a.frame = pieces.Seal(a.buffer, pieces.Block, c, len(b))
		return a
	}
	why := ""
	if shoal.KindOf(err) == shoal.Corrupt {
		d.dropped(err)
		why = err.Error()
	}
	d.buffers.Put(a.buffer)
	a.buffer = make([]byte, pieces.HeadRoom+min(len(why), pieces.MaxWhy))
	a.frame = pieces.Seal(a.buffer, pieces.Missing, c, copy(a.buffer[pieces.HeadRoom:], why))
	return a
}

// sendBlocks answers in order, reading the next block while one is being written.
func (d *Data) sendBlocks(ctx context.Context, w io.Writer, cids []cid.Cid) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := make(chan sealed, 2)
	go func() {
		defer close(next)
		for _, c := range cids {
			select {
			case next <- d.answerFor(ctx, c):
			case <-ctx.Done():
				return
			}
		}
	}()
	for a := range next {
		if _, err := w.Write(a.frame); err != nil {
			return err
		}
		d.buffers.Put(a.buffer)
	}
	return ctx.Err()
}

var errEnough = errors.New("enough")

// sendUnder sends the inner nodes that are here of the graph under c, as many as one answer has.
func (d *Data) sendUnder(ctx context.Context, w io.Writer, c cid.Cid) error {
	sent, size := 0, 0
	get := func(ctx context.Context, c cid.Cid) ([]byte, error) {
		b, err := d.Store.Get(ctx, c)
		if err == nil && len(b) > wire.MaxBlock {
			err = errEnough
		}
		if err != nil {
			return nil, err
		}
		if err := pieces.Write(w, pieces.Block, c, b); err != nil {
			return nil, err
		}
		if sent, size = sent+1, size+len(b); sent == pieces.MaxUnder || size >= pieces.UnderBytes {
			return nil, errEnough
		}
		return b, nil
	}
	leaves := 0
	err := d.Graph.Walk(ctx, c, get, func(_ cid.Cid, _ int, leaf bool) error {
		if leaf {
			leaves++
		}
		if leaves > pieces.MaxUnder*pieces.MaxWant {
			return errEnough
		}
		return nil
	})
	if err != nil && ctx.Err() != nil {
		return err
	}
	// What else stopped the walk, a missing block above all, the other side sees: it lacks the rest.
	return pieces.Write(w, pieces.End, cid.Undef, nil)
}
