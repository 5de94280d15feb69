package wire

import (
	"bytes"
	"encoding"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// A shape is the short way for small messages: structs of strings, bytes, numbers, flags, and slices and
// structs of these, and pointers to structs. It writes the very bytes that the library writes, and reads them only as they are
// written here, in their one order and shortest form. Whatever else there is to read or to refuse is left
// to the library, which looks at each message twice and at each field through tables.
type shape struct {
	kind   kind
	elem   *shape
	fields []member // in the order of the encoding
}

type member struct {
	key   []byte // encoded
	index int
	omit  omission
	shape *shape
}

// omission says when a field is left out.
type omission byte

const (
	never omission = iota
	ifEmpty
	ifZero
)

type kind byte

const (
	octets kind = iota
	text
	flag
	natural
	integer
	list
	record
	pointer // to a record; one that is nil is left out
)

// The major types of CBOR that shapes have.
const (
	majorNatural  = 0
	majorNegative = 1
	majorBytes    = 2
	majorText     = 3
	majorList     = 4
	majorMap      = 5

	simpleFalse = 0xf4
	simpleTrue  = 0xf5
)

const (
	shapeDepth = 6    // of structs and slices in one another
	shapeList  = 4096 // elements of a slice; a longer one is counted by the library before it takes memory
)

// shapes has the shape of each type that was asked for, nil for those that have none.
var shapes = sync.OnceValue(func() *sync.Map { return &sync.Map{} })

// shapeFor returns the shape of a struct type, or nil.
func shapeFor(t reflect.Type) *shape {
	if s, ok := shapes().Load(t); ok {
		return s.(*shape)
	}
	var s *shape
	if t.Kind() == reflect.Struct {
		s = shapeOf(t, shapeDepth)
	}
	shapes().Store(t, s)
	return s
}

func shapeOf(t reflect.Type, depth int) *shape {
	if depth == 0 || speaksForItself(t) || speaksForItself(reflect.PointerTo(t)) {
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		return &shape{kind: text}
	case reflect.Bool:
		return &shape{kind: flag}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &shape{kind: natural}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &shape{kind: integer}
	case reflect.Slice:
		if t.Elem() == reflect.TypeFor[byte]() {
			return &shape{kind: octets}
		}
		if elem := shapeOf(t.Elem(), depth-1); elem != nil && t.Elem().Kind() != reflect.Uint8 {
			return &shape{kind: list, elem: elem}
		}
	case reflect.Struct:
		return recordOf(t, depth)
	case reflect.Pointer:
		if elem := shapeOf(t.Elem(), depth-1); elem != nil && elem.kind == record {
			return &shape{kind: pointer, elem: elem}
		}
	}
	return nil
}

// speaksForItself reports whether a type has an encoding of its own.
func speaksForItself(t reflect.Type) bool {
	for _, i := range []reflect.Type{
		reflect.TypeFor[cbor.Marshaler](), reflect.TypeFor[cbor.Unmarshaler](),
		reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler](),
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
		reflect.TypeFor[interface{ IsZero() bool }](),
	} {
		if t.Implements(i) {
			return true
		}
	}
	return false
}

func recordOf(t reflect.Type, depth int) *shape {
	s := &shape{kind: record}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("cbor")
		name, options, _ := strings.Cut(tag, ",")
		// The tag of _ may be about the whole; of what is embedded without a name the fields are among these.
		if f.Name == "_" || f.Anonymous && (name == "" || !f.IsExported()) {
			return nil
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		m := member{index: i, shape: shapeOf(f.Type, depth-1)}
		switch options {
		case "omitempty":
			m.omit = ifEmpty
		case "omitzero":
			m.omit = ifZero
		}
		switch {
		case !ok || name == "" || options != "" && m.omit == never || m.shape == nil:
			return nil
		case m.shape.kind == record && m.omit == ifEmpty, m.shape.kind == pointer && m.omit == never:
			return nil
		}
		m.key = append(head(nil, majorText, uint64(len(name))), name...)
		s.fields = append(s.fields, m)
	}
	slices.SortFunc(s.fields, func(a, b member) int { return bytes.Compare(a.key, b.key) })
	for i := 1; i < len(s.fields); i++ {
		if bytes.Equal(s.fields[i-1].key, s.fields[i].key) {
			return nil
		}
	}
	return s
}

// head appends the head of an item: its major type and a number, in the shortest form.
func head(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return append(b, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(b, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, major|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// readHead is its twin. A longer form than needed is not ok, nor is a length without one.
func readHead(b []byte) (major byte, n uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, 0, nil, false
	}
	major, short := b[0]>>5, b[0]&31
	if short < 24 {
		return major, uint64(short), b[1:], true
	}
	size := 1 << (short - 24)
	if short > 27 || len(b) <= size {
		return 0, 0, nil, false
	}
	for _, c := range b[1 : 1+size] {
		n = n<<8 | uint64(c)
	}
	least := uint64(24)
	if short > 24 {
		least = 1 << (4 * size)
	}
	return major, n, b[1+size:], n >= least
}

// size is at least the number of bytes that append will append.
func (s *shape) size(v reflect.Value) int {
	n := 9
	switch s.kind {
	case octets, text:
		n += v.Len()
	case list:
		for i := range v.Len() {
			n += s.elem.size(v.Index(i))
		}
	case pointer:
		if !v.IsNil() {
			return s.elem.size(v.Elem())
		}
	case record:
		for i := range s.fields {
			n += len(s.fields[i].key) + s.fields[i].shape.size(v.Field(s.fields[i].index))
		}
	}
	return n
}

func (s *shape) append(b []byte, v reflect.Value) []byte {
	switch s.kind {
	case octets:
		return append(head(b, majorBytes, uint64(v.Len())), v.Bytes()...)
	case text:
		return append(head(b, majorText, uint64(v.Len())), v.String()...)
	case flag:
		if v.Bool() {
			return append(b, simpleTrue)
		}
		return append(b, simpleFalse)
	case natural:
		return head(b, majorNatural, v.Uint())
	case integer:
		if n := v.Int(); n < 0 {
			return head(b, majorNegative, uint64(^n))
		}
		return head(b, majorNatural, uint64(v.Int()))
	case list:
		b = head(b, majorList, uint64(v.Len()))
		for i := range v.Len() {
			b = s.elem.append(b, v.Index(i))
		}
		return b
	case pointer:
		return s.elem.append(b, v.Elem())
	}
	n := 0
	for i := range s.fields {
		if f := &s.fields[i]; !f.omits(v.Field(f.index)) {
			n++
		}
	}
	b = head(b, majorMap, uint64(n))
	for i := range s.fields {
		if f := &s.fields[i]; !f.omits(v.Field(f.index)) {
			b = f.shape.append(append(b, f.key...), v.Field(f.index))
		}
	}
	return b
}

// omits reports whether a field with that value is left out.
func (m *member) omits(v reflect.Value) bool {
	switch {
	case m.omit == never:
		return false
	case m.omit == ifEmpty && (m.shape.kind == octets || m.shape.kind == text || m.shape.kind == list):
		return v.Len() == 0
	}
	return v.IsZero()
}

// read decodes an item into v and returns what follows it; not ok: the library must look at it. Of bytes that
// are lent v gets parts, not copies.
func (s *shape) read(b []byte, v reflect.Value, lent bool) (rest []byte, ok bool) {
	if s.kind == flag {
		if len(b) == 0 || b[0] != simpleFalse && b[0] != simpleTrue {
			return nil, false
		}
		v.SetBool(b[0] == simpleTrue)
		return b[1:], true
	}
	if s.kind == pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return s.elem.read(b, v.Elem(), lent)
	}
	major, n, b, ok := readHead(b)
	if !ok {
		return nil, false
	}
	switch s.kind {
	case octets:
		if major != majorBytes || n == 0 || n > uint64(len(b)) {
			return nil, false
		}
		part := b[:n:n]
		if !lent {
			part = bytes.Clone(part)
		}
		v.SetBytes(part)
		return b[n:], true
	case text:
		if major != majorText || n > uint64(len(b)) || !utf8.Valid(b[:n]) {
			return nil, false
		}
		v.SetString(string(b[:n]))
		return b[n:], true
	case natural:
		if major != majorNatural || v.OverflowUint(n) {
			return nil, false
		}
		v.SetUint(n)
		return b, true
	case integer:
		x := int64(n)
		if major == majorNegative {
			x = ^x
		}
		if major > majorNegative || n > 1<<63-1 || v.OverflowInt(x) {
			return nil, false
		}
		v.SetInt(x)
		return b, true
	case list:
		return s.readList(major, n, b, v, lent)
	}
	return s.readRecord(major, n, b, v, lent)
}

func (s *shape) readList(major byte, n uint64, b []byte, v reflect.Value, lent bool) (rest []byte, ok bool) {
	if major != majorList || n == 0 || n > shapeList || n > uint64(len(b)) {
		return nil, false
	}
	all := reflect.MakeSlice(v.Type(), int(n), int(n))
	for i := range int(n) {
		if b, ok = s.elem.read(b, all.Index(i), lent); !ok {
			return nil, false
		}
	}
	v.Set(all)
	return b, true
}

func (s *shape) readRecord(major byte, n uint64, b []byte, v reflect.Value, lent bool) (rest []byte, ok bool) {
	if major != majorMap {
		return nil, false
	}
	next := s.fields
	for range n {
		for len(next) > 0 && !bytes.HasPrefix(b, next[0].key) {
			next = next[1:]
		}
		if len(next) == 0 {
			return nil, false
		}
		if b, ok = next[0].shape.read(b[len(next[0].key):], v.Field(next[0].index), lent); !ok {
			return nil, false
		}
		next = next[1:]
	}
	return b, true
}
