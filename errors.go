package shoal

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Kind says what sort of failure an error is. The list is closed and append-only: the numbers
// cross the wire and decide the exit code of the command line.
type Kind uint8

// The kinds of failure.
const (
	Internal    Kind = 0  // a fault of this program
	Invalid     Kind = 1  // the request is malformed; a retry cannot help
	NotFound    Kind = 2  // nobody who was asked has it
	Refused     Kind = 3  // not allowed, or no peer fits
	Timeout     Kind = 4  // the deadline passed
	Canceled    Kind = 5  // the caller gave up
	Unavailable Kind = 6  // the peer or resource cannot be reached now; a retry may help
	Overloaded  Kind = 7  // a bounded queue is full; retry after RetryAfter
	Full        Kind = 8  // the disk is full
	Corrupt     Kind = 9  // bytes do not match their identifier or checksum
	Exists      Kind = 10 // there is one already
	Failed      Kind = 11 // the guest program failed (trap, limit); a retry gives the same
)

var kindNames = [...]string{
	"internal", "invalid", "not found", "refused", "timeout", "canceled", "unavailable",
	"overloaded", "full", "corrupt", "exists", "failed",
}

// String returns the kind's name, "internal" for a number this version does not know.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Internal]
}

// Error is the one error type of the fabric. It reads "what: why: what to try"; empty parts are
// left out. Err, the cause, stays on this node: the wire carries the other fields.
type Error struct {
	Kind       Kind
	What       string        // what failed, with the thing's name: "put photos/a.jpg"
	Why        string        // the reason, lower case
	Try        string        // what the user may do about it
	RetryAfter time.Duration // for Overloaded and Unavailable: a hint, zero for none
	Err        error
}

// ErrUnsent is in the chain of an error of Peers.Ask if the request surely never left this node: asking another peer, or again,
// does nothing twice.
var ErrUnsent = errors.New("the request was not sent")

// E makes an Error. try may be empty.
func E(kind Kind, what, why, try string) *Error {
	return &Error{Kind: kind, What: what, Why: why, Try: try}
}

// Wrap says what was being done when err happened. The kind, advice and retry hint of an *Error in
// err's chain are kept; the end of a context becomes Timeout or Canceled; anything else becomes
// kind. Wrap returns nil for nil.
func Wrap(kind Kind, what string, err error) error {
	if err == nil {
		return nil
	}
	out := &Error{Kind: kind, What: what, Why: err.Error(), Err: err}
	var e *Error
	switch {
	case errors.As(err, &e):
		out.Kind, out.Try, out.RetryAfter = e.Kind, e.Try, e.RetryAfter
		why := *e
		why.Try = ""
		out.Why = strings.TrimPrefix(why.Error(), what+": ") // said once is enough
	case errors.Is(err, context.DeadlineExceeded):
		out.Kind, out.Why = Timeout, "the deadline passed"
	case errors.Is(err, context.Canceled):
		out.Kind, out.Why = Canceled, "the caller gave up"
	}
	return out
}

// Error returns "what: why: what to try".
func (e *Error) Error() string {
	parts := make([]string, 0, 3)
	for _, p := range []string{e.What, e.Why, e.Try} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return e.Kind.String()
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err: that of the *Error in its chain, Timeout or Canceled for the end
// of a context, Internal for anything else.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Internal
}

// Retryable reports whether the same call, repeated later or elsewhere, may succeed.
func Retryable(err error) bool {
	switch KindOf(err) {
	case Timeout, Unavailable, Overloaded, Full, Corrupt, Internal:
		return true
	}
	return false
}
