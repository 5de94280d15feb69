package pipe

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

func TestWholeStreamArrives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := New(rapid.IntRange(0, 9).Draw(t, "limit"))
		writes := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 30)).Draw(t, "writes")
		give := rapid.Bool().Draw(t, "give")
		want := bytes.Join(writes, nil)
		end := errors.New("the end")
		go func() {
			for _, w := range writes {
				if give {
					p.Give(bytes.Clone(w))
				} else {
					p.Write(w)
				}
			}
			p.CloseWrite(end)
		}()
		var got []byte
		for {
			b := make([]byte, rapid.IntRange(1, 12).Draw(t, "read"))
			n, err := p.Read(b)
			got = append(got, b[:n]...)
			if err != nil {
				if err != end {
					t.Fatalf("ended with %v", err)
				}
				break
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestWriterWaitsForRoom(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := New(4)
		done := false
		go func() {
			p.Write([]byte("123456"))
			done = true
		}()
		synctest.Wait()
		if done {
			t.Fatal("6 bytes fitted into 4")
		}
		p.Read(make([]byte, 3))
		synctest.Wait()
		if !done {
			t.Fatal("the writer still waits though there is room")
		}
	})
}

func TestEnds(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		end         func(p *Pipe)
		read, write error
		bytes       string
	}{
		"close write":            {func(p *Pipe) { p.CloseWrite(nil) }, io.EOF, io.ErrClosedPipe, "ab"},
		"close read":             {func(p *Pipe) { p.CloseRead(broken) }, io.ErrClosedPipe, broken, ""},
		"break":                  {func(p *Pipe) { p.Break(broken) }, broken, broken, ""},
		"break after close":      {func(p *Pipe) { p.CloseWrite(nil); p.Break(broken) }, broken, io.ErrClosedPipe, ""},
		"close after break":      {func(p *Pipe) { p.Break(broken); p.CloseWrite(nil) }, broken, broken, ""},
		"second close is no end": {func(p *Pipe) { p.CloseWrite(broken); p.CloseWrite(nil) }, broken, io.ErrClosedPipe, "ab"},
	} {
		p := New(10)
		p.Write([]byte("ab"))
		c.end(p)
		got, err := io.ReadAll(p)
		if err == nil {
			err = io.EOF
		}
		if string(got) != c.bytes || err != c.read {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
		if _, err := p.Write([]byte("x")); err != c.write {
			t.Errorf("%s: write gave %v", name, err)
		}
	}
}

func TestBreakWakesBothSides(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		full, empty := New(1), New(1)
		full.Write([]byte("x"))
		woken := make(chan error, 2)
		go func() { _, err := full.Write([]byte("y")); woken <- err }()
		go func() { _, err := empty.Read(make([]byte, 1)); woken <- err }()
		synctest.Wait()
		full.Break(io.ErrUnexpectedEOF)
		empty.Break(io.ErrUnexpectedEOF)
		for range 2 {
			if err := <-woken; err != io.ErrUnexpectedEOF {
				t.Fatal(err)
			}
		}
	})
}
