package rpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/wire"
)

func TestFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "body")
		f := frame{
			kind: rapid.SampledFrom([]byte{frameAsk, frameMore, frameReply, frameFail, frameCancel}).Draw(t, "kind"),
			id:   rapid.Uint64().Draw(t, "id"),
			body: body,
		}
		switch f.kind {
		case frameAsk:
			f.budget = time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "budget")) * time.Microsecond
			f.method = []byte(rapid.StringN(0, 40, maxMethod).Draw(t, "method"))
			f.total = len(body) + rapid.IntRange(0, 1000).Draw(t, "more")
		case frameReply:
			f.spent = time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "spent")) * time.Microsecond
			f.total = len(body) + rapid.IntRange(0, 1000).Draw(t, "more")
		case frameCancel:
			f.body = nil
		}
		got, err := readFrame(bufio.NewReader(bytes.NewReader(appendFrame(nil, &f))))
		if err != nil || got.kind != f.kind || got.id != f.id || got.budget != f.budget || got.spent != f.spent ||
			got.total != f.total || !bytes.Equal(got.method, f.method) || !bytes.Equal(got.body, f.body) {
			t.Fatalf("got %+v, %v; want %+v", got, err, f)
		}
	})
}

func TestFramesRefused(t *testing.T) {
	ask := func(total int, body string) []byte {
		return appendFrame(nil, &frame{kind: frameAsk, id: 1, total: total, method: []byte("a.b"), body: []byte(body)})
	}
	for name, b := range map[string][]byte{
		"empty":                  {0},
		"unknown kind":           {2, 77, 1},
		"no ID":                  {1, frameMore},
		"body over the limit":    ask(wire.MaxFrame+1, "x"),
		"body longer than said":  ask(1, "xy"),
		"no first part":          ask(1, ""),
		"empty part":             appendFrame(nil, &frame{kind: frameMore, id: 1}),
		"cancel with a body":     appendFrame(nil, &frame{kind: frameCancel, id: 1, body: []byte("x")}),
		"error over the limit":   appendFrame(nil, &frame{kind: frameFail, id: 1, body: make([]byte, maxFail+1)}),
		"frame over the limit":   appendFrame(nil, &frame{kind: frameMore, id: 1, body: make([]byte, maxFrame+1)}),
		"method over the limit":  {6, frameAsk, 1, 0, 0, 0xff, 0x7f},
		"method longer than all": {6, frameAsk, 1, 0, 0, 9, 'a'},
		"endless number":         append([]byte{12, frameMore}, bytes.Repeat([]byte{0xff}, 11)...),
	} {
		if f, err := readFrame(bufio.NewReader(bytes.NewReader(b))); err != errFrame {
			t.Errorf("%s: got %+v, %v", name, f, err)
		}
	}
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(ask(1, "x")[:5]))); err != io.ErrUnexpectedEOF {
		t.Errorf("cut off: got %v", err)
	}
}

// slowWriter takes one Write at a time, when told.
type slowWriter struct {
	got  chan []byte
	next chan error
}

func (w *slowWriter) Write(b []byte) (int, error) {
	w.got <- bytes.Clone(b)
	return len(b), <-w.next
}

func framesOf(t *testing.T, b []byte) (out []frame) {
	t.Helper()
	for in := bufio.NewReader(bytes.NewReader(b)); ; {
		f, err := readFrame(in)
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
}

// TestSmallFramesPassLargeBodies pins what one write holds: all small frames that wait, and one part
// each of two large bodies.
func TestSmallFramesPassLargeBodies(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		out := &slowWriter{make(chan []byte), make(chan error)}
		w := newWriter(out, func(w *writer) { go w.run() }, func(error) {})
		large := make([]byte, wire.MaxFrame)
		sent := make([]bool, 4)
		for id := range uint64(3) {
			f := frame{kind: frameReply, id: id, total: len(large)}
			if err := w.put(t.Context(), &f, large, func() { sent[id] = true }, crowd); err != nil {
				t.Fatal(err)
			}
		}
		got := map[uint64]int{}
		note := func(frames []frame) []frame {
			for _, f := range frames {
				got[f.id] += len(f.body)
			}
			return frames
		}
		note(framesOf(t, <-out.got))
		for range 10 {
			f := frame{kind: frameReply, id: 3, total: 2}
			if err := w.put(t.Context(), &f, []byte("ab"), func() { sent[3] = true }, crowd); err != nil {
				t.Fatal(err)
			}
		}
		out.next <- nil
		second := note(framesOf(t, <-out.got))
		if len(second) != 12 || second[9].id != 3 || second[10].id == second[11].id {
			t.Fatalf("the second write holds %d frames, want 10 small ones and 2 parts of different bodies", len(second))
		}
		w.drop(2)
		dropped := got[2]
		out.next <- nil
		for got[0] < len(large) || got[1] < len(large) {
			note(framesOf(t, <-out.got))
			out.next <- nil
		}
		synctest.Wait()
		if got[2] != dropped || !sent[0] || !sent[1] || sent[2] || !sent[3] {
			t.Fatalf("bytes %v, sent %v: want all of 0 and 1, and no more of 2 than %d", got, sent, dropped)
		}
		w.fail(io.ErrClosedPipe)
		w.wait()
	})
}

// TestWriterPushesBack: callers wait for a stream that does not move, as long as their context lasts.
func TestWriterPushesBack(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		out := &slowWriter{make(chan []byte), make(chan error)}
		w := newWriter(out, func(w *writer) { go w.run() }, func(error) {})
		f := frame{kind: frameMore, id: 1}
		put := func(ctx context.Context) error { return w.put(ctx, &f, make([]byte, partSize), nil, crowd) }
		put(t.Context())
		<-out.got // the write hangs
		for len(w.pile) <= pileLimit {
			if err := put(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := put(ctx); err != context.DeadlineExceeded {
			t.Fatalf("a put onto a full pile gave %v", err)
		}
		waited := make(chan error, 2)
		go func() { waited <- put(t.Context()) }()
		synctest.Wait()
		out.next <- nil
		<-out.got
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
		for len(w.pile) <= pileLimit {
			put(t.Context())
		}
		go func() { waited <- put(t.Context()) }()
		synctest.Wait()
		out.next <- io.ErrClosedPipe
		if err := <-waited; err != io.ErrClosedPipe {
			t.Fatalf("after a failed write: %v", err)
		}
	})
}

func TestGateKeepsItsBounds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const maxCount, maxBytes = 5, 100
		g := newGate(maxCount, maxBytes)
		var all sync.WaitGroup
		var mu sync.Mutex
		count, bytes, most := 0, int64(0), 0
		for i := range 200 {
			size := int64(i * 7 % 60)
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				if i%5 == 0 {
					time.AfterFunc(time.Duration(i)*time.Millisecond, cancel)
				}
				defer cancel()
				if g.enter(ctx, size) != nil {
					return
				}
				mu.Lock()
				count++
				bytes += size
				if most = max(most, count); count > maxCount || bytes > maxBytes {
					t.Errorf("%d with %d bytes are in", count, bytes)
				}
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
				mu.Lock()
				count--
				bytes -= size
				mu.Unlock()
				g.leave(size)
			})
		}
		all.Wait()
		if g.count != 0 || g.bytes != 0 || len(g.waiting) != 0 || most < 3 {
			t.Fatalf("left behind: %+v; at most %d were in", g, most)
		}
		if !g.try(1000) || g.try(0) {
			t.Fatal("one that is too large passes alone, and nothing beside it")
		}
	})
}

func TestMeasuring(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := &meter{}
		for range 60 {
			m.roundTrip(4*time.Millisecond, time.Now())
		}
		m.roundTrip(12*time.Millisecond, time.Now())
		if got := m.get().RTT; got < 4900*time.Microsecond || got > 5100*time.Microsecond {
			t.Fatalf("RTT %v, want 5ms", got)
		}
		f := flow{meter: m}
		for range 100 { // 10 MB/s in full chunks, then a pause behind a small one, which does not count
			f.begin(100_000)
			time.Sleep(10 * time.Millisecond)
			f.done(100_000)
		}
		f.begin(10)
		f.done(10)
		time.Sleep(time.Hour)
		bytes, d := heard(said(&f))
		if rate := m.get().Rate; rate < 9.9e6 || rate > 10.1e6 || bytes != 100*100_000 || d != time.Second {
			t.Fatalf("rate %.0f, told %d bytes in %v", rate, bytes, d)
		}
		small := flow{meter: &meter{}}
		small.begin(70_000)
		time.Sleep(time.Second)
		small.done(70_000)
		if small.finish(); small.meter.get().Rate != 0 {
			t.Fatal("a rate came out of 70 kB")
		}
	})
}

func TestErrorsAreBoundedOnTheWire(t *testing.T) {
	long := string(bytes.Repeat([]byte("long \xff "), 1<<14))
	b := encodeError(shoal.E(shoal.Full, long, long, long))
	if err := decodeError(b); len(b) > maxFail || shoal.KindOf(err) != shoal.Full {
		t.Fatalf("%d bytes, %.100v", len(b), err)
	}
	if err := decodeError([]byte("garbage")); !errors.Is(err, errFrame) {
		t.Fatal(err)
	}
}

// TestADirectFrameIsWrittenByItsCaller, who then leaves what came meanwhile to run.
func TestADirectFrameIsWrittenByItsCaller(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		out := &slowWriter{make(chan []byte), make(chan error)}
		var begun int
		broken := make(chan error, 1)
		w := newWriter(out, func(*writer) { begun++ }, func(err error) { broken <- err })
		put := func(id uint64, how how) {
			f := frame{kind: frameReply, id: id, total: 2}
			if err := w.put(t.Context(), &f, []byte("ab"), nil, how); err != nil {
				t.Error(err)
			}
		}
		returned := make(chan bool)
		go func() { put(1, direct); close(returned) }()
		if got := framesOf(t, <-out.got); len(got) != 1 || got[0].id != 1 {
			t.Fatalf("written without run: %+v", got)
		}
		put(2, direct) // somebody is at it: this caller does not wait
		put(3, crowd)
		synctest.Wait()
		select {
		case b := <-out.got:
			t.Fatalf("two write at once: %x", b)
		case <-returned:
			t.Fatal("it returned before its frame was written")
		default:
		}
		if begun != 0 {
			t.Fatal("run is wanted, while there is somebody at it")
		}
		out.next <- nil
		<-returned
		if begun != 1 {
			t.Fatalf("run was wanted %d times for what came meanwhile", begun)
		}
		go w.run()
		if got := framesOf(t, <-out.got); len(got) != 2 || got[0].id != 2 || got[1].id != 3 {
			t.Fatalf("what came meanwhile: %+v", got)
		}
		out.next <- nil
		synctest.Wait()
		go put(4, direct)
		<-out.got
		out.next <- io.ErrClosedPipe
		if err := <-broken; err != io.ErrClosedPipe {
			t.Fatalf("a direct write failed, and was told as %v", err)
		}
	})
}
