package memnet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// twin is a direction of a stream as simple as can be: what was said, and when it is heard.
type twin struct {
	said     []word
	heard    int // bytes of said that were read
	writable bool
	over     string // why reading is over: the first reason counts
}

type word struct {
	at    time.Time
	bytes []byte
	end   bool // no more comes
	reset bool
}

const twinLat = 10 * time.Millisecond

func (w *twin) write(b []byte) bool {
	if !w.writable {
		return false
	}
	w.said = append(w.said, word{at: time.Now().Add(twinLat), bytes: b})
	return true
}

// read says what a read of at most k bytes brings now.
func (w *twin) read(k int) (got []byte, what string) {
	skip := w.heard
	end := false
	for _, s := range w.said {
		if s.at.After(time.Now()) {
			break
		}
		end = end || s.end
		n := min(skip, len(s.bytes))
		skip -= n
		got = append(got, s.bytes[n:]...)
	}
	switch {
	case w.over != "":
		return nil, w.over
	case len(got) > 0:
		got = got[:min(k, len(got))]
		w.heard += len(got)
		return got, ""
	case end:
		return nil, "end"
	}
	return nil, "later"
}

// step is one thing that somebody does.
type step struct {
	What   string
	Stream int
	Side   int // 0 opened the stream
	Bytes  int
	Wait   time.Duration
}

func verdict(err error) string {
	var s *network.StreamError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, io.EOF):
		return "end"
	case errors.As(err, &s):
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "later"
	}
	return "closed"
}

// Whatever two sides do with their streams, a read brings what a twin says that it must, at that moment.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				What: rapid.SampledFrom([]string{
					"write", "write", "write", "read", "read", "read", "read", "closeWrite", "closeRead", "close", "reset",
				}).Draw(t, "what"),
				Stream: rapid.IntRange(0, 2).Draw(t, "stream"), Side: rapid.IntRange(0, 1).Draw(t, "side"),
				Bytes: rapid.IntRange(1, 5000).Draw(t, "bytes"),
				Wait:  time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 10, 11, 30}).Draw(t, "ms")) * time.Millisecond,
			}
		}), 1, 60).Draw(rt, "steps")
		var fault string
		bubble.Test(t, func(t *testing.T) { fault = play(t, steps) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

func play(t *testing.T, steps []step) string {
	j := join(t, Config{Latency: same(twinLat)}, Place{}, Place{})
	defer j.close()
	var ends [3][2]network.MuxedStream
	var twins [3][2]twin // by who writes
	for i := range ends {
		ends[i][0], ends[i][1] = stream1(t, j.a, j.b)
		twins[i][0].writable, twins[i][1].writable = true, true
	}
	next := byte(0)
	for i, s := range steps {
		time.Sleep(s.Wait)
		synctest.Wait()
		end, out, in := ends[s.Stream][s.Side], &twins[s.Stream][s.Side], &twins[s.Stream][1-s.Side]
		fault := func(f string, a ...any) string { return fmt.Sprintf("step %d, %+v: ", i, s) + fmt.Sprintf(f, a...) }
		for side := range twins[s.Stream] { // a reset that came ends both directions
			if reset, _ := twins[s.Stream][side].peek(); reset {
				twins[s.Stream][side].end("reset")
				twins[s.Stream][1-side].writable = false
			}
		}
		shutWrite := func() {
			if out.writable {
				out.writable = false
				out.said = append(out.said, word{at: time.Now().Add(twinLat), end: true})
			}
		}
		switch s.What {
		case "write":
			b := make([]byte, s.Bytes)
			for k := range b {
				b[k] = next
				next++
			}
			n, err := end.Write(bytes.Clone(b))
			if ok := out.write(b); ok != (err == nil) || ok && n != len(b) {
				return fault("wrote %d, %v; right: %v", n, err, ok)
			}
		case "read":
			b := make([]byte, s.Bytes)
			end.SetReadDeadline(time.Now())
			n, err := end.Read(b)
			want, why := in.read(s.Bytes)
			if !bytes.Equal(b[:n], want) || verdict(err) != why {
				return fault("read %d bytes, %v; right: %d, %s", n, err, len(want), why)
			}
		case "closeWrite":
			end.CloseWrite()
			shutWrite()
		case "closeRead":
			end.CloseRead()
			in.end("closed")
		case "close":
			end.Close()
			shutWrite()
			in.end("closed")
		case "reset":
			_, ended := in.peek()
			over := !out.writable && (in.over != "" || ended)
			if end.Reset(); over { // all was said: it is a close
				in.end("closed")
				break
			}
			in.end("reset")
			out.writable = false
			out.said = append(out.said, word{at: time.Now().Add(twinLat), reset: true})
		}
	}
	return ""
}

// end ends reading.
func (w *twin) end(why string) {
	if w.over == "" {
		w.over = why
	}
}

// peek reports whether the end of what is said, or a reset, has come.
func (w *twin) peek() (reset, ended bool) {
	for _, s := range w.said {
		if !s.at.After(time.Now()) {
			reset, ended = reset || s.reset, ended || s.end
		}
	}
	return reset, ended
}
