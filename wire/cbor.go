package wire

import (
	"fmt"
	"reflect"

	"github.com/shoal-fabric/shoal"
)

// Marshal returns the one canonical encoding of v. Struct fields are named by their `cbor` tags.
// It panics on a type that can never be encoded (a channel, a function): that is a fault of ours.
func Marshal(v any) []byte {
	if r := reflect.ValueOf(v); r.IsValid() {
		if s := shapeFor(r.Type()); s != nil {
			return s.append(make([]byte, 0, s.size(r)), r)
		}
	}
	b, err := encoder().Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("wire: cannot encode %T: %v", v, err))
	}
	return b
}

// Unmarshal decodes b, which must be one whole value, into v. what names the message for the
// error, which has kind Invalid. Byte slices in v are copies. A field that is absent keeps its zero
// value: a CID is then undefined, which the receiving room checks, and which Marshal's bytes cannot say.
func Unmarshal(what string, b []byte, v any) error { return unmarshal(what, b, v, false) }

// View is Unmarshal without the copies: byte slices in v may be parts of b. It is for those to whom b
// belongs, as a request belongs to its handler and a reply to its asker: b must not change as long as v is
// used, and v keeps all of b from the collector. Appending to a slice of v does not touch b.
func View(what string, b []byte, v any) error { return unmarshal(what, b, v, true) }

func unmarshal(what string, b []byte, v any, lent bool) error {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && !r.IsNil() {
		if s := shapeFor(r.Type().Elem()); s != nil {
			if rest, ok := s.read(b, r.Elem(), lent); ok && len(rest) == 0 {
				return nil
			}
		}
	}
	if err := decoder().Unmarshal(b, v); err != nil {
		return &shoal.Error{
			Kind: shoal.Invalid, What: what, Why: "malformed message: " + err.Error(),
			Try: "check that both nodes run the same version of shoal", Err: err,
		}
	}
	return nil
}
