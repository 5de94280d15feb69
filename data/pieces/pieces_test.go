package pieces

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// What was sealed or written is read as it was, whatever pieces it arrives in and whatever lay in the
// buffers before; a changed byte makes a block untrue.
func TestAnswersArrive(t *testing.T) {
	var pool Buffers
	rapid.Check(t, func(t *rapid.T) {
		var stream bytes.Buffer
		var want []Answer
		for range rapid.IntRange(1, 6).Draw(t, "answers") {
			data := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "data"), rapid.IntRange(0, 9000).Draw(t, "times"))
			a := Answer{Kind: Block, CID: shoal.BlockCID(data), Data: data, True: true}
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				a = Answer{Kind: Missing, CID: a.CID, Data: data[:min(len(data), MaxWhy)]}
			case 1:
				a = Answer{Kind: End}
			case 2: // another hash function
				c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x13}.Sum(data)
				if err != nil {
					t.Fatal(err)
				}
				a.CID = c
			case 3:
				if len(data) > 0 {
					a.Data = bytes.Clone(data)
					a.Data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= 1
					a.True = false
				}
			}
			want = append(want, a)
			if rapid.Bool().Draw(t, "seal") {
				b := pool.Get(HeadRoom + len(a.Data))
				copy(b[HeadRoom:], a.Data)
				stream.Write(Seal(b, a.Kind, a.CID, len(a.Data)))
				pool.Put(b)
			} else if err := Write(&stream, a.Kind, a.CID, a.Data); err != nil {
				t.Fatal(err)
			}
		}
		in := io.Reader(&stream)
		if rapid.Bool().Draw(t, "bit by bit") {
			in = iotest.HalfReader(in)
		}
		r := NewReader(in, &pool)
		for i, a := range want {
			got, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if got.Kind != a.Kind || got.CID != a.CID || got.True != a.True || !bytes.Equal(got.Data, a.Data) {
				t.Fatalf("answer %d: %v %s %v, %d bytes", i, got.Kind, got.CID, got.True, len(got.Data))
			}
			if got.Kind == Block {
				pool.Put(got.Data)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("the end: %v", err)
		}
	})
}

// Answers that break a limit are refused before anything is allocated for them.
func TestBadAnswers(t *testing.T) {
	c := shoal.BlockCID([]byte("x")).KeyString()
	frame := func(n int, kind Kind, name string) []byte {
		b := binary.AppendUvarint(nil, uint64(n))
		return append(append(b, byte(kind), byte(len(name))), name...)
	}
	for what, b := range map[string][]byte{
		"larger than a block":       frame(2+len(c)+wire.MaxBlock+1, Block, c),
		"much larger than a block":  frame(1<<50, Block, c),
		"shorter than its CID":      frame(1+len(c), Block, c),
		"too short":                 frame(1, Block, ""),
		"a long reason":             frame(2+len(c)+MaxWhy+1, Missing, c),
		"an end with content":       frame(3, End, ""),
		"an end with a CID":         frame(2+len(c), End, c),
		"no kind":                   frame(2+len(c), 0, c),
		"no CID":                    frame(2, Block, ""),
		"a CID that is none":        frame(2+3, Block, "abc"),
		"a CID longer than allowed": frame(2+200, Block, string(make([]byte, 200))),
	} {
		if _, err := NewReader(bytes.NewReader(b), nil).Next(); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	whole := frame(2+len(c)+1, Block, c)
	for n := range whole { // and one byte of content is missing at the end
		if _, err := NewReader(bytes.NewReader(whole[:n+1]), new(Buffers)).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v", n+1, err)
		}
	}
}

// Buffers are used again, never for more than they hold, and take nothing that is not theirs.
func TestBuffers(t *testing.T) {
	for _, n := range []int{
		0, 1, smallest / 2, smallest/2 + 1, smallest, smallest + 1, smallest + HeadRoom, smallest + HeadRoom + 1,
		1 << 20, 1<<20 + HeadRoom, 1<<20 + HeadRoom + 1, wire.MaxBlock, wire.MaxBlock + HeadRoom, wire.MaxBlock + HeadRoom + 1,
	} {
		var p Buffers
		b := p.Get(n)
		if len(b) != n || n > smallest && cap(b) > 2*n+HeadRoom {
			t.Errorf("%d bytes: %d with room for %d", n, len(b), cap(b))
		}
		p.Put(b)
		p.Put(b[:len(b)/2])
		for range 3 {
			if again := p.Get(n); len(again) != n {
				t.Errorf("again %d bytes: %d", n, len(again))
			}
		}
	}
	var p Buffers
	p.Put(make([]byte, 1<<20)) // without room for a head
	p.Put(nil)
	if b := p.Get(1<<20 + HeadRoom); len(b) != 1<<20+HeadRoom {
		t.Errorf("%d bytes", len(b))
	}
	// A transfer makes few buffers: the pool may lose some, not most.
	made := testing.AllocsPerRun(100, func() {
		for range 20 {
			p.Put(p.Get(1 << 20))
		}
	})
	if made > 30 { // one small allocation for each Put
		t.Errorf("%.0f allocations in 20 uses", made)
	}
}

func FuzzReader(f *testing.F) {
	c := shoal.BlockCID([]byte("x"))
	for _, a := range []Answer{{Kind: End}, {Kind: Missing, CID: c, Data: []byte("why")}, {Kind: Block, CID: c, Data: []byte("x")}} {
		var b bytes.Buffer
		if err := Write(&b, a.Kind, a.CID, a.Data); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b), new(Buffers))
		for {
			a, err := r.Next()
			if err != nil {
				if a.Data != nil || a.True {
					t.Fatal("content and an error")
				}
				return
			}
			got, err := a.CID.Prefix().Sum(a.Data)
			if a.Kind != End && !a.CID.Defined() || a.Kind == End && len(a.Data) > 0 || a.Kind == Missing && len(a.Data) > MaxWhy ||
				a.Kind == Block && a.True != (err == nil && got.Equals(a.CID)) {
				t.Fatalf("kind %d, %s, %d bytes, %v", a.Kind, a.CID, len(a.Data), a.True)
			}
		}
	})
}

func FuzzParseWant(f *testing.F) {
	f.Add(wire.Marshal(Want{Under: shoal.BlockCID(nil).Bytes()}))
	f.Add(wire.Marshal(Want{Blocks: [][]byte{shoal.BlockCID(nil).Bytes()}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		blocks, under, err := ParseWant(b)
		if err == nil && under.Defined() == (len(blocks) > 0) {
			t.Fatalf("%d blocks and %s", len(blocks), under)
		}
	})
}

// BenchmarkReader holds 1 MiB blocks against their CIDs; BenchmarkHash is the least that can cost.
func BenchmarkReader(b *testing.B) {
	data := make([]byte, 1<<20)
	var one bytes.Buffer
	if err := Write(&one, Block, shoal.BlockCID(data), data); err != nil {
		b.Fatal(err)
	}
	var pool Buffers
	b.SetBytes(1 << 20)
	for b.Loop() {
		a, err := NewReader(bufio.NewReader(bytes.NewReader(one.Bytes())), &pool).Next()
		if err != nil || !a.True {
			b.Fatal(err)
		}
		pool.Put(a.Data)
	}
}

func BenchmarkHash(b *testing.B) {
	data := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		sha256.Sum256(data)
	}
}
