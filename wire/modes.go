package wire

import (
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// encoder and decoder build the modes once, on first use; both are immutable afterwards.
var (
	encoder = sync.OnceValue(func() cbor.EncMode {
		o := cbor.CoreDetEncOptions()
		o.Time = cbor.TimeUnixMicro
		o.NilContainers = cbor.NilContainerAsEmpty
		return must(o.EncMode())
	})
	decoder = sync.OnceValue(func() cbor.DecMode {
		return must(cbor.DecOptions{
			DupMapKey:         cbor.DupMapKeyEnforcedAPF,
			FieldNameMatching: cbor.FieldNameMatchingCaseSensitive, // one spelling, as there is one encoding
			IndefLength:       cbor.IndefLengthForbidden,
			MaxNestedLevels:   16,
			MaxArrayElements:  MaxElements,
			MaxMapPairs:       MaxElements,
			TagsMd:            cbor.TagsAllowed,
		}.DecMode())
	})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic("wire: " + err.Error())
	}
	return v
}
