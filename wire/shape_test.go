package wire

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"
)

type inner struct {
	Name string `cbor:"name"`
	N    int8   `cbor:"n,omitempty"`
}

// Embedded has a name of its own where it is embedded.
type Embedded struct {
	E string `cbor:"e,omitempty"`
}

// shaped has all that shapes have.
type shaped struct {
	Embedded              `cbor:"emb"`
	Text                  string        `cbor:"t,omitempty"`
	Bytes                 []byte        `cbor:"b"`
	Flag                  bool          `cbor:"flag,omitempty"`
	Always                bool          `cbor:"always"`
	U                     uint64        `cbor:"u"`
	Small                 uint8         `cbor:"s,omitempty"`
	I                     int64         `cbor:"i"`
	D                     time.Duration `cbor:"d,omitempty"`
	In                    inner         `cbor:"in"`
	List                  []inner       `cbor:"list,omitempty"`
	Names                 []string      `cbor:"names"`
	Blobs                 [][]byte      `cbor:"blobs,omitempty"`
	Hidden                string        `cbor:"-"`
	ZeroIn                inner         `cbor:"zi,omitzero"`
	ZeroBytes             []byte        `cbor:"zb,omitzero"`
	ZeroU                 uint64        `cbor:"zu,omitzero"`
	ZeroText              string        `cbor:"zt,omitzero"`
	Pointer               *inner        `cbor:"p,omitempty"`
	ZeroPointer           *inner        `cbor:"zp,omitzero"`
	LongestOfAllNamesHere uint16        `cbor:"a name of more than twenty-three bytes"`
}

func TestShapesWriteWhatTheLibraryWrites(t *testing.T) {
	if shapeFor(reflect.TypeFor[shaped]()) == nil {
		t.Fatal("the type under test has no shape")
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.Custom(func(t *rapid.T) inner {
			return inner{rapid.String().Draw(t, "name"), rapid.Int8().Draw(t, "n")}
		})
		v := shaped{
			Embedded: Embedded{rapid.String().Draw(t, "e")},
			Text:     rapid.String().Draw(t, "t"), Bytes: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "b"),
			Flag: rapid.Bool().Draw(t, "flag"), Always: rapid.Bool().Draw(t, "always"),
			U: rapid.Uint64().Draw(t, "u"), Small: rapid.Uint8().Draw(t, "s"), I: rapid.Int64().Draw(t, "i"),
			D: time.Duration(rapid.Int64().Draw(t, "d")), In: in.Draw(t, "in"), List: rapid.SliceOfN(in, 0, 30).Draw(t, "list"),
			Names:                 rapid.SliceOf(rapid.String()).Draw(t, "names"),
			Blobs:                 rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "blobs"),
			LongestOfAllNamesHere: rapid.Uint16().Draw(t, "long"),
			ZeroIn:                in.Draw(t, "zi"),
			ZeroBytes:             rapid.SliceOfN(rapid.Byte(), 0, 2).Draw(t, "zb"),
			ZeroU:                 rapid.Uint64Max(2).Draw(t, "zu"),
			ZeroText:              rapid.StringN(0, 2, -1).Draw(t, "zt"),
			Pointer:               rapid.Ptr(in, true).Draw(t, "p"),
			ZeroPointer:           rapid.Ptr(in, true).Draw(t, "zp"),
		}
		want, err := encoder().Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got := Marshal(v)
		if !bytes.Equal(got, want) {
			t.Fatalf("got  %x\nwant %x", got, want)
		}
		same(t, got)
	})
}

// same checks that b decodes, or is refused, as by the library.
func same(t rapid.TB, b []byte) {
	var got, want shaped
	err, wantErr := Unmarshal("shaped", b, &got), decoder().Unmarshal(b, &want)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%x: got %v, the library %v", b, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%x:\ngot  %+v\nwant %+v", b, got, want)
	}
	var view shaped
	if err := View("shaped", b, &view); (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(view, want) {
		t.Fatalf("%x: the view is %+v, %v\nwant %+v", b, view, err, want)
	}
}

// A view says the same as a copy; what it lends cannot grow into its neighbours.
func TestView(t *testing.T) {
	b := Marshal(shaped{Bytes: []byte("bytes"), Text: "text", Blobs: [][]byte{{1}, {2, 3}}, Names: []string{"n"}})
	var want, v shaped
	if err := Unmarshal("shaped", b, &want); err != nil {
		t.Fatal(err)
	}
	if err := View("shaped", b, &v); err != nil || !reflect.DeepEqual(v, want) {
		t.Fatalf("got %+v, %v; want %+v", v, err, want)
	}
	before := bytes.Clone(b)
	_, _ = append(v.Bytes, "others"...), append(v.Blobs[0], 9)
	if !bytes.Equal(b, before) {
		t.Error("appending to a part wrote over what follows it")
	}
	clear(b)
	if !bytes.Equal(want.Bytes, []byte("bytes")) || !bytes.Equal(v.Bytes, make([]byte, 5)) || v.Text != "text" {
		t.Errorf("when the bytes change, a copy is %q, a view %q and %q", want.Bytes, v.Bytes, v.Text)
	}
}

func TestShapesEnds(t *testing.T) {
	for _, v := range []shaped{
		{},
		{ZeroBytes: []byte{}, Pointer: &inner{}, ZeroPointer: &inner{}},
		{I: math.MinInt64, U: math.MaxUint64, D: -1, In: inner{N: -128}, Names: []string{""}, Blobs: [][]byte{nil, {}}},
		{I: -24, D: -25, Bytes: make([]byte, 23), Text: strings.Repeat("x", 256)},
		{I: 1 << 16, U: 1 << 32, Bytes: make([]byte, 1<<16)},
		{List: make([]inner, shapeList+1), Names: make([]string, 24)},
		{ZeroBytes: []byte{}, ZeroIn: inner{N: 1}},
	} {
		want, _ := encoder().Marshal(v)
		if got := Marshal(v); !bytes.Equal(got, want) {
			t.Errorf("got  %x\nwant %x", got, want)
		}
		same(t, want)
	}
}

// zeroing says itself when it is zero.
type zeroing struct {
	N int `cbor:"n"`
}

func (z zeroing) IsZero() bool { return z.N == 7 }

// TestNoShape: types with an encoding of their own, or with tags that shapes do not know, are the library's.
func TestNoShape(t *testing.T) {
	for _, v := range []any{
		struct {
			A cid.Cid `cbor:"a"`
		}{},
		struct {
			A time.Time `cbor:"a"`
		}{},
		struct {
			A int `cbor:"a,keyasint"`
		}{},
		struct {
			_ struct{} `cbor:",toarray"`
			A int      `cbor:"a"`
		}{},
		struct {
			A int `json:"a"`
		}{},
		struct {
			A inner `cbor:"a,omitempty"`
		}{},
		struct {
			A *inner `cbor:"a"`
		}{},
		struct {
			A *int `cbor:"a,omitempty"`
		}{},
		struct {
			A zeroing `cbor:"a,omitzero"`
		}{},
		struct {
			A int `cbor:"a"`
			B int `cbor:"a"`
		}{},
		struct{ inner }{},
		struct{ Embedded }{},
		struct {
			inner `cbor:"a"`
		}{},
		struct {
			A knowing `cbor:"a,omitzero"`
		}{},
		struct {
			A int `cbor:"a,omitempty,omitzero"`
		}{},
		struct {
			A []uint8Alike `cbor:"a"`
		}{},
		"text", 1,
		[]string{"a"},
	} {
		if shapeFor(reflect.TypeOf(v)) != nil {
			t.Errorf("%T has a shape", v)
		}
	}
}

type uint8Alike uint8

type knowing int

func (k knowing) IsZero() bool { return k == 7 }

// FuzzShapes: what a peer sends is understood, or refused, as the library alone would.
func FuzzShapes(f *testing.F) {
	f.Add(Marshal(shaped{}))
	f.Add(Marshal(shaped{Text: "t", Bytes: []byte{1}, Flag: true, U: 300, I: -1, List: []inner{{"x", 1}}, Names: []string{"a", "b"}}))
	f.Add([]byte{0xa1, 0x61, 'b', 0x58, 0x01, 0x00})
	f.Add([]byte{0xa2, 0x61, 'i', 0x01, 0x61, 'b', 0xf6})
	f.Fuzz(func(t *testing.T, b []byte) { same(t, b) })
}
