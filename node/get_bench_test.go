//go:build unix

package node

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal/data"
)

// BenchmarkGet moves a file from one node to another on loopback, into a new file: as the least that a
// libp2p stream can do, straight into the file, and by way of the cache.
func BenchmarkGet(b *testing.B) {
	const size = 512 << 20
	ctx := context.Background()
	from, dir := nodes(b, 1, nil)[0], b.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	f, err := os.Create(src)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), size); err != nil {
		b.Fatal(err)
	}
	f.Close()
	res, err := from.Put(ctx, src, data.PutOptions{})
	if err != nil {
		b.Fatal(err)
	}
	invite, err := from.Invite(ctx, InviteOptions{})
	if err != nil {
		b.Fatal(err)
	}
	to, err := Open(ctx, Config{ // only now: some of it would have been placed there
		Dir: filepath.Join(dir, "to"), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, NoMDNS: true, Join: invite, Log: testLog(b),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = to.Close() })
	from.rooms.host.Libp2p().SetStreamHandler("/bare", func(s network.Stream) {
		f, err := os.Open(src)
		if err == nil {
			defer f.Close()
			_, _ = io.ReadFull(s, make([]byte, 1))
			_, _ = io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{f}, make([]byte, 1<<20))
		}
		s.Close()
	})
	bare := func() error {
		s, err := to.rooms.host.Libp2p().NewStream(ctx, from.rooms.host.Libp2p().ID(), "/bare")
		if err != nil {
			return err
		}
		defer s.Close()
		f, err := os.Create(dst)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := s.Write([]byte{1}); err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{s}, make([]byte, 1<<20))
		return err
	}
	get := func(keep bool) func() error {
		return func() error {
			got, err := to.Get(ctx, res.Manifest.Root, "", dst, data.GetOptions{Keep: keep})
			if err == nil && got.Moved < size {
				err = errors.New("some of it was there already")
			}
			return err
		}
	}
	for _, way := range []struct {
		name string
		get  func() error
	}{{"bare", bare}, {"into-file", get(false)}, {"and-cache", get(true)}} {
		b.Run(way.name, func(b *testing.B) {
			b.SetBytes(size)
			var cpu time.Duration
			for b.Loop() {
				before := processor()
				if err := way.get(); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				cpu += processor() - before
				if info, err := os.Stat(dst); err != nil || info.Size() != size || os.Remove(dst) != nil {
					b.Fatal("not all of it came", err)
				}
				if _, _, err := to.GC(ctx); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/size, "cpu-ns/B")
		})
	}
}

// processor is the time that all processors together have worked for this process: on a busy machine it
// says more than the clock.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
