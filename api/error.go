package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Error is a shoal.Error in JSON.
type Error struct {
	Kind    string  `json:"kind"`
	What    string  `json:"what,omitempty"`
	Why     string  `json:"why,omitempty"`
	Try     string  `json:"try,omitempty"`
	RetryS  float64 `json:"retry_after_s,omitempty"`
	Message string  `json:"message"`
}

// status maps each kind to an HTTP status.
func status(k shoal.Kind) int {
	switch k {
	case shoal.Invalid:
		return http.StatusBadRequest
	case shoal.NotFound:
		return http.StatusNotFound
	case shoal.Refused:
		return http.StatusForbidden
	case shoal.Timeout:
		return http.StatusGatewayTimeout
	case shoal.Canceled:
		return 499 // client closed request, as nginx has it
	case shoal.Unavailable:
		return http.StatusServiceUnavailable
	case shoal.Overloaded:
		return http.StatusTooManyRequests
	case shoal.Full:
		return http.StatusInsufficientStorage
	case shoal.Exists:
		return http.StatusConflict
	case shoal.Failed:
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}

// ErrorOf describes an error for JSON.
func ErrorOf(err error) *Error {
	var e *shoal.Error
	if !errors.As(err, &e) {
		k := shoal.KindOf(err)
		return &Error{Kind: k.String(), Why: err.Error(), Message: err.Error()}
	}
	// The outermost message tells most; the advice and kind are the innermost's.
	return &Error{
		Kind: e.Kind.String(), What: e.What, Why: e.Why, Try: e.Try,
		RetryS: e.RetryAfter.Seconds(), Message: err.Error(),
	}
}

func (e *Error) err() error {
	out := &shoal.Error{
		What: e.What, Why: e.Why, Try: e.Try,
		RetryAfter: time.Duration(e.RetryS * float64(time.Second)),
	}
	for k := shoal.Internal; k <= shoal.Failed; k++ {
		if k.String() == e.Kind {
			out.Kind = k
		}
	}
	if out.What == "" && out.Why == "" {
		out.Why = e.Message
	}
	return out
}

// writeError answers with err and the status of its kind.
func writeError(w http.ResponseWriter, err error) {
	if errors.Is(err, context.Canceled) {
		err = shoal.Wrap(shoal.Canceled, "request", err)
	}
	writeErrorAs(w, status(shoal.KindOf(err)), err)
}

func writeErrorAs(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]*Error{"error": ErrorOf(err)})
}
