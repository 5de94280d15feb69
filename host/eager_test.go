package host

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// scripted is a socket on which parts have arrived, one for each time something came.
type scripted struct {
	net.Conn
	parts [][]byte
	reads int
}

func (s *scripted) Read(b []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	s.reads++
	n := copy(b, s.parts[0])
	if s.parts[0] = s.parts[0][n:]; len(s.parts[0]) == 0 {
		s.parts = s.parts[1:]
	}
	return n, nil
}

// However bytes arrive and are asked for, they come out in order, all of them, and no buffer is held
// while little arrives.
func TestEagerKeepsOrder(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := &scripted{}
		var want []byte
		for range rng.IntN(40) {
			n := 1 + rng.IntN(1<<rng.IntN(20))
			part := make([]byte, n)
			for i := range part {
				part[i] = byte(rng.Uint32())
			}
			s.parts, want = append(s.parts, part), append(want, part...)
		}
		e := &eager{Conn: s, buffers: new(sync.Pool)}
		var got []byte
		for {
			b := make([]byte, 1+rng.IntN(1<<rng.IntN(19)))
			n, err := e.Read(b)
			got = append(got, b[:n]...)
			if !e.filled && len(e.rest) == 0 && e.ahead != nil {
				t.Fatal("a buffer is held while nothing is due")
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || n == 0 {
				t.Fatalf("%d bytes, %v", n, err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d bytes of %d, or others", seed, len(got), len(want))
		}
		if e.ahead != nil {
			t.Fatal("a buffer is held at the end")
		}
	}
}

// In bulk there are few reads; of small messages none is read ahead.
func TestEagerReadsMuch(t *testing.T) {
	s := &scripted{parts: [][]byte{make([]byte, 8<<20)}}
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, &eager{Conn: s, buffers: new(sync.Pool)}, make([]byte, 17<<10)); err != nil {
		t.Fatal(err)
	}
	if most := 8<<20/eagerBytes + 2; s.reads > most {
		t.Errorf("%d reads, at most %d are needed", s.reads, most)
	}
	s = &scripted{}
	for range 100 {
		s.parts = append(s.parts, make([]byte, 1000))
	}
	e := &eager{Conn: s, buffers: new(sync.Pool)}
	for b := make([]byte, 17<<10); ; {
		n, err := e.Read(b)
		if err != nil {
			break
		}
		if n != 1000 || e.ahead != nil {
			t.Fatalf("%d bytes, read ahead: %v", n, e.ahead != nil)
		}
	}
}

// noted is a socket that notes each Write, and fails from the one numbered broken on (0: never).
type noted struct {
	net.Conn
	writes [][]byte
	broken int
}

func (n *noted) Write(b []byte) (int, error) {
	n.writes = append(n.writes, bytes.Clone(b))
	if n.broken > 0 && len(n.writes) >= n.broken {
		return len(b) / 2, io.ErrShortWrite
	}
	return len(b), nil
}

// However records are gathered, they leave in order and none stays behind a release.
func TestEagerGathersWrites(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := &noted{}
		e := &eager{Conn: s, buffers: new(sync.Pool)}
		var want []byte
		for range rng.IntN(100) {
			switch {
			case rng.IntN(4) == 0:
				e.hold()
			case e.holds > 0 && rng.IntN(3) == 0:
				if err := e.release(); err != nil {
					t.Fatal(err)
				}
				if got := bytes.Join(s.writes, nil); !bytes.Equal(got, want) {
					t.Fatalf("seed %d: after a release %d bytes of %d have left, or others", seed, len(got), len(want))
				}
			default:
				b := make([]byte, 1+rng.IntN(1<<rng.IntN(19)))
				for i := range b {
					b[i] = byte(rng.Uint32())
				}
				if n, err := e.Write(b); n != len(b) || err != nil {
					t.Fatal(n, err)
				}
				want = append(want, b...)
				if got := bytes.Join(s.writes, nil); e.holds == 0 && !bytes.Equal(got, want) {
					t.Fatalf("seed %d: a lone record did not leave at once", seed)
				}
			}
		}
		for e.holds > 0 {
			if err := e.release(); err != nil {
				t.Fatal(err)
			}
		}
		if got := bytes.Join(s.writes, nil); !bytes.Equal(got, want) || e.held != nil {
			t.Fatalf("seed %d: %d bytes of %d, or others; a buffer is held: %v", seed, len(got), len(want), e.held != nil)
		}
	}
}

// A gathered record that was lost may not be followed by others: TLS, which believes it sent, cannot know.
func TestEagerStopsAfterALoss(t *testing.T) {
	s := &noted{broken: 2}
	e := &eager{Conn: s, buffers: new(sync.Pool)}
	send := func() error {
		e.hold()
		for range 4 {
			if _, err := e.Write(make([]byte, recordBytes)); err != nil {
				return err
			}
		}
		return e.release()
	}
	if err := send(); err != nil || len(s.writes) != 1 {
		t.Fatalf("%v, %d writes for four records", err, len(s.writes))
	}
	if err := send(); !errors.Is(err, io.ErrShortWrite) {
		t.Fatal(err)
	}
	if _, err := e.Write([]byte("after")); !errors.Is(err, io.ErrShortWrite) || len(s.writes) != 2 {
		t.Fatalf("%v, %d writes: one followed the loss", err, len(s.writes))
	}
}
