package wire

import (
	"errors"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Error is a shoal.Error on the wire; its cause stays behind.
type Error struct {
	Kind  uint8  `cbor:"k"`
	What  string `cbor:"w,omitempty"`
	Why   string `cbor:"y,omitempty"`
	Try   string `cbor:"t,omitempty"`
	Retry int64  `cbor:"r,omitempty"` // milliseconds
}

// FromError puts err into its wire form. Err must not be nil.
func FromError(err error) *Error {
	var e *shoal.Error
	if !errors.As(err, &e) {
		return &Error{Kind: uint8(shoal.KindOf(err)), Why: err.Error()}
	}
	return &Error{Kind: uint8(e.Kind), What: e.What, Why: e.Why, Try: e.Try, Retry: e.RetryAfter.Milliseconds()}
}

// Err returns the error that e describes.
func (e *Error) Err() error {
	return &shoal.Error{
		Kind: shoal.Kind(e.Kind), What: e.What, Why: e.Why, Try: e.Try,
		RetryAfter: time.Duration(e.Retry) * time.Millisecond,
	}
}
