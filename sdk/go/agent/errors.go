package agent

import "errors"

// Kind says what sort of failure an error is. The numbers are the fabric's.
type Kind int32

// The kinds. After Timeout, Canceled and Unavailable of a Call nobody knows whether it was processed.
const (
	Invalid     Kind = 1
	NotFound    Kind = 2
	Refused     Kind = 3
	Timeout     Kind = 4
	Canceled    Kind = 5
	Unavailable Kind = 6
	Overloaded  Kind = 7
	Full        Kind = 8
	Corrupt     Kind = 9
	Exists      Kind = 10
	Failed      Kind = 11
	Internal    Kind = 64
	Fault       Kind = 65
	NoTurn      Kind = 66
)

// Error is what a host call failed with.
type Error struct {
	Kind Kind
	Text string
}

func (e *Error) Error() string { return e.Text }

// KindOf returns the kind of the Error in err's chain, Failed for another error, 0 for none.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Kind
	}
	return Failed
}
