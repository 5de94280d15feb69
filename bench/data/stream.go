package data

import (
	"bufio"
	"context"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal/bench/plain"
)

const streamProtocol = "/bench/file/1"

func holdStream(_ context.Context, s setup) (*holder, error) {
	h, address, err := plain.New()
	if err != nil {
		return nil, err
	}
	h.SetStreamHandler(streamProtocol, func(raw network.Stream) {
		defer raw.Close()
		name, err := bufio.NewReader(raw).ReadString('\n')
		name = strings.TrimSpace(name)
		if err != nil || !slices.Contains(s.Files, name) {
			raw.Reset()
			return
		}
		f, err := os.Open(name)
		if err == nil {
			defer f.Close()
			_, err = io.CopyBuffer(onlyWriter{raw}, onlyReader{f}, make([]byte, piece))
		}
		if err != nil {
			raw.Reset()
		}
	})
	return &holder{ready: ready{address, s.Files}, close: func() { h.Close() }}, nil
}

func fetchStream(ctx context.Context, s setup) (*fetcher, error) {
	h, _, err := plain.New()
	if err != nil {
		return nil, err
	}
	to, err := plain.Connect(ctx, h, s.Address)
	if err != nil {
		h.Close()
		return nil, err
	}
	buf := make([]byte, piece)
	return &fetcher{
		fetch: func(ctx context.Context, name, into string) error {
			raw, err := h.NewStream(ctx, to, streamProtocol)
			if err != nil {
				return err
			}
			defer raw.Close()
			if _, err := io.WriteString(raw, name+"\n"); err != nil {
				return err
			}
			f, err := os.OpenFile(into, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			if _, err := io.CopyBuffer(onlyWriter{f}, onlyReader{raw}, buf); err != nil {
				f.Close()
				return err
			}
			return f.Close()
		},
		close: func() { h.Close() },
	}, nil
}
