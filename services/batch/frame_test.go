package batch

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// answer is what a program that returns what it gets writes, and fails for what begins with '!'.
func answer(b []byte) []byte {
	n := binary.LittleEndian.Uint32(b)
	out := binary.LittleEndian.AppendUint32(nil, n)
	for b = b[4:]; len(b) > 0; {
		size := binary.LittleEndian.Uint32(b)
		p := b[4 : 4+size]
		b = b[4+size:]
		kind := uint32(good)
		if bytes.HasPrefix(p, []byte("!")) {
			kind = bad
		}
		out = binary.LittleEndian.AppendUint32(out, kind)
		out = binary.LittleEndian.AppendUint32(out, size)
		out = append(out, p...)
	}
	return out
}

func TestFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payloads := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 40), 1, 20).Draw(t, "payloads")
		packed := Pack(payloads)
		room := 4
		for _, p := range payloads {
			room += Room(p)
		}
		if len(packed) != room {
			t.Fatalf("%d bytes, not %d", len(packed), room)
		}
		reply := answer(packed)
		got, err := Unpack(len(payloads), reply)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range got {
			failed := bytes.HasPrefix(payloads[i], []byte("!"))
			if a.Failed != failed || failed && a.Why != string(payloads[i]) || !failed && !bytes.Equal(a.Reply, payloads[i]) {
				t.Fatalf("%q: %+v", payloads[i], a)
			}
		}
		if _, err := Unpack(len(payloads)+1, reply); err == nil {
			t.Fatal("an answer too few is taken")
		}
		cut := rapid.IntRange(0, len(reply)-1).Draw(t, "cut")
		if _, err := Unpack(len(payloads), reply[:cut]); err == nil {
			t.Fatalf("the first %d of %d bytes are taken", cut, len(reply))
		}
		if _, err := Unpack(len(payloads), append(reply, 0)); err == nil {
			t.Fatal("a byte too many is taken")
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add(1, []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'x'})
	f.Add(1, []byte{1, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, n int, b []byte) {
		n = max(0, min(n, 1000))
		got, err := Unpack(n, b)
		if err == nil && len(got) != n {
			t.Fatalf("%d answers of %d", len(got), n)
		}
	})
}
