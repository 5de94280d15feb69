package call

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal/bench/plain"
)

const (
	streamProtocol = "/bench/echo/1"
	streamHead     = 8
)

func answerStream(context.Context, setup) (ready, func(), error) {
	h, address, err := plain.New()
	if err != nil {
		return ready{}, nil, err
	}
	h.SetStreamHandler(streamProtocol, func(s network.Stream) {
		defer s.Reset()
		in := bufio.NewReaderSize(s, 16<<10)
		b := make([]byte, streamHead+bodyBytes)
		for {
			if _, err := io.ReadFull(in, b); err != nil {
				return
			}
			if _, err := s.Write(b); err != nil {
				return
			}
		}
	})
	return ready{Address: address}, func() { h.Close() }, nil
}

func askStream(ctx context.Context, s setup) (func() (caller, error), func(), error) {
	h, _, err := plain.New()
	if err != nil {
		return nil, nil, err
	}
	to, err := plain.Connect(ctx, h, s.At.Address)
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	return func() (caller, error) {
		raw, err := h.NewStream(ctx, to, streamProtocol)
		if err != nil {
			return nil, err
		}
		in := bufio.NewReaderSize(raw, 16<<10)
		out, back := make([]byte, streamHead+bodyBytes), make([]byte, streamHead+bodyBytes)
		echo := func(_ context.Context, body []byte) ([]byte, error) {
			binary.LittleEndian.PutUint64(out, uint64(len(body)))
			copy(out[streamHead:], body)
			if _, err := raw.Write(out); err != nil {
				return nil, err
			}
			if _, err := io.ReadFull(in, back); err != nil {
				return nil, err
			}
			if binary.LittleEndian.Uint64(back) != uint64(len(body)) {
				return nil, errors.New("a frame of another size came back")
			}
			return back[streamHead:], nil
		}
		// The first bytes agree on the protocol, for which the other side waits ten seconds and no longer: some
		// callers would wait for their turn to be measured for more.
		_, err = echo(ctx, make([]byte, bodyBytes))
		return echo, err
	}, func() { h.Close() }, nil
}
