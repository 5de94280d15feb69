package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/shoal-fabric/shoal"
)

type sample struct {
	A  string            `cbor:"a"`
	B  []byte            `cbor:"b,omitempty"`
	M  map[string]uint64 `cbor:"m,omitempty"`
	M2 *shoal.Manifest   `cbor:"n,omitempty"`
}

func TestMarshalIsCanonical(t *testing.T) {
	v := sample{A: "x", M: map[string]uint64{"z": 1, "a": 2, "mm": 3}}
	first := Marshal(v)
	for range 50 {
		if !bytes.Equal(first, Marshal(v)) {
			t.Fatal("two encodings of one value differ")
		}
	}
	var back sample
	if err := Unmarshal("sample", first, &back); err != nil || !reflect.DeepEqual(v, back) {
		t.Fatalf("got %+v, %v; want %+v", back, err, v)
	}
}

func TestManifestRoundTrip(t *testing.T) {
	c := shoal.BlockCID([]byte("x"))
	v := sample{M2: &shoal.Manifest{Root: c, Name: "n", Partitions: []shoal.Partition{{CID: c, Bytes: 3}}}}
	var back sample
	if err := Unmarshal("sample", Marshal(v), &back); err != nil || !reflect.DeepEqual(v, back) {
		t.Fatalf("got %+v, %v; want %+v", back, err, v)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":         {},
		"truncated":     Marshal(sample{A: "abc"})[:3],
		"trailing":      append(Marshal(sample{}), 0),
		"duplicate key": {0xa2, 0x61, 'a', 0x61, 'x', 0x61, 'a', 0x61, 'y'},
		"huge array":    {0xa1, 0x61, 'b', 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"indefinite":    {0xbf, 0xff},
		"wrong type":    {0xa1, 0x61, 'a', 0x01},
	} {
		var v sample
		if err := Unmarshal("sample", b, &v); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%s: got %v, want an Invalid error", name, err)
		}
	}
}

func TestFrames(t *testing.T) {
	var buf bytes.Buffer
	payloads := [][]byte{{}, []byte("a"), bytes.Repeat([]byte("xyz"), 100_000)}
	for _, p := range payloads {
		if err := WriteFrame(&buf, p, MaxFrame); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(&buf)
	for _, p := range payloads {
		got, err := ReadFrame(r, MaxFrame)
		if err != nil || !bytes.Equal(got, p) {
			t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(p))
		}
	}
	if _, err := ReadFrame(r, MaxFrame); err != io.EOF {
		t.Fatalf("at the end: %v", err)
	}
	if err := WriteFrame(io.Discard, make([]byte, 11), 10); shoal.KindOf(err) != shoal.Invalid {
		t.Fatalf("oversized write: %v", err)
	}
	if _, err := ReadFrame(bufio.NewReader(bytes.NewReader(AppendFrame(nil, make([]byte, 11)))), 10); shoal.KindOf(err) != shoal.Invalid {
		t.Fatalf("oversized read: %v", err)
	}
	if _, err := ReadFrame(bufio.NewReader(bytes.NewReader([]byte{9, 1, 2})), 10); err != io.ErrUnexpectedEOF {
		t.Fatalf("cut frame: %v", err)
	}
}

func TestErrorCrossesTheWire(t *testing.T) {
	in := &shoal.Error{Kind: shoal.Overloaded, What: "run", Why: "queue full", Try: "later", RetryAfter: 2e9}
	out := FromError(shoal.Wrap(shoal.Internal, "ask", in)).Err()
	var e *shoal.Error
	if !errors.As(out, &e) || e.Kind != in.Kind || e.Try != in.Try || e.RetryAfter != in.RetryAfter {
		t.Fatalf("got %#v", out)
	}
	if got, want := out.Error(), "ask: run: queue full: later"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// defined reports whether m has all its CIDs: absent ones have no encoding.
func defined(m *shoal.Manifest) bool {
	return m == nil || m.Root.Defined() &&
		!slices.ContainsFunc(m.Partitions, func(p shoal.Partition) bool { return !p.CID.Defined() })
}

func TestFieldNamesHaveOneSpelling(t *testing.T) {
	var v sample
	if err := Unmarshal("sample", []byte{0xa1, 0x61, 'A', 0x61, 'x'}, &v); err != nil || v.A != "" {
		t.Errorf("got %+v, %v: field 'A' is not field 'a'", v, err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add(Marshal(sample{A: "a", B: []byte{1}, M: map[string]uint64{"k": 1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v sample
		if Unmarshal("sample", b, &v) == nil && defined(v.M2) {
			var again sample
			if err := Unmarshal("sample", Marshal(v), &again); err != nil {
				t.Fatalf("re-encoding does not decode: %v", err)
			}
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(AppendFrame(nil, []byte("hello")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			p, err := ReadFrame(r, 1<<16)
			if err != nil {
				return
			}
			if len(p) > len(b) {
				t.Fatal("frame longer than the input")
			}
		}
	})
}
