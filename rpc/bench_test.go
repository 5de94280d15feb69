package rpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	corehost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal"
)

const benchBody = 1 << 10

// BenchmarkAsk compares a call with the least that a libp2p stream can do: an echo of frames of the
// same size on a stream that stays open, one for each caller.
func BenchmarkAsk(b *testing.B) {
	for _, callers := range []struct {
		name string
		n    int
	}{{"sequential", 1}, {"parallel64", 64}} {
		b.Run(callers.name+"/ask", func(b *testing.B) {
			a, c := newPair(b, tcp, Config{})
			c.Handle("bench.echo", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil })
			benchCallers(b, callers.n, func() func() error {
				req := make([]byte, benchBody)
				return func() error {
					_, err := a.Ask(context.Background(), c.Self(), "bench.echo", req)
					return err
				}
			})
		})
		b.Run(callers.name+"/stream", func(b *testing.B) {
			a, c := newPair(b, tcp, Config{})
			c.host.SetStreamHandler("/raw", rawEcho)
			benchCallers(b, callers.n, func() func() error { return rawCaller(b, a.host, c.host) })
		})
	}
}

// BenchmarkAskSelf is a call that stays on the node.
func BenchmarkAskSelf(b *testing.B) {
	a, _ := newPair(b, tcp, Config{})
	a.Handle("bench.echo", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil })
	req := make([]byte, benchBody)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Ask(context.Background(), a.Self(), "bench.echo", req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen moves a large body: on a stream of rpc, and on a bare one.
func BenchmarkOpen(b *testing.B) {
	const size = 64 << 20
	piece := make([]byte, 1<<20)
	pour := func(w io.Writer) error {
		for range size / len(piece) {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
		return nil
	}
	b.Run("down", func(b *testing.B) {
		a, c := newPair(b, tcp, Config{})
		c.HandleStream("bench.down", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
			return pour(s)
		})
		b.SetBytes(size)
		for b.Loop() {
			s, err := a.Open(context.Background(), c.Self(), "bench.down", nil)
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, piece); err != nil || n != size {
				b.Fatal(n, err)
			}
			s.Close()
		}
	})
	b.Run("up", func(b *testing.B) {
		a, c := newPair(b, tcp, Config{})
		c.HandleStream("bench.up", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, make([]byte, 1<<20))
			return err
		})
		b.SetBytes(size)
		for b.Loop() {
			s, err := a.Open(context.Background(), c.Self(), "bench.up", nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := pour(s); err != nil {
				b.Fatal(err)
			}
			s.CloseWrite()
			if _, err := io.ReadAll(s); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		a, c := newPair(b, tcp, Config{})
		c.host.SetStreamHandler("/bare", func(s network.Stream) {
			io.ReadFull(s, make([]byte, 1))
			pour(s)
			s.Close()
		})
		b.SetBytes(size)
		for b.Loop() {
			s, err := a.host.NewStream(context.Background(), c.host.ID(), "/bare")
			if err != nil {
				b.Fatal(err)
			}
			s.Write([]byte{1})
			if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, piece); err != nil || n != size {
				b.Fatal(n, err)
			}
			s.Close()
		}
	})
}

func benchCallers(b *testing.B, n int, caller func() func() error) {
	calls := make([]func() error, n)
	for i := range calls {
		calls[i] = caller()
		if err := calls[i](); err != nil {
			b.Fatal(err)
		}
	}
	times := make([][]time.Duration, n)
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, call := range calls {
		all.Go(func() {
			for k := i; k < b.N; k += n {
				start := time.Now()
				if err := call(); err != nil {
					b.Error(err)
					return
				}
				times[i] = append(times[i], time.Since(start))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	b.ReportMetric(float64(sorted[len(sorted)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(sorted[len(sorted)*99/100].Nanoseconds())/1e3, "p99-µs")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func rawEcho(s network.Stream) {
	defer s.Reset()
	in := bufio.NewReaderSize(s, 64<<10)
	buf := make([]byte, 8+benchBody)
	for {
		if _, err := io.ReadFull(in, buf); err != nil {
			return
		}
		if _, err := s.Write(buf); err != nil {
			return
		}
	}
}

func rawCaller(b *testing.B, from, to corehost.Host) func() error {
	s, err := from.NewStream(context.Background(), to.ID(), "/raw")
	if err != nil {
		b.Fatal(err)
	}
	in := bufio.NewReaderSize(s, 64<<10)
	buf := make([]byte, 8+benchBody)
	return func() error {
		binary.LittleEndian.PutUint32(buf, benchBody)
		if _, err := s.Write(buf); err != nil {
			return err
		}
		_, err := io.ReadFull(in, buf)
		return err
	}
}
