package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/shoal-fabric/shoal"
)

// maxBody bounds a JSON body, and each line of a body of lines.
const maxBody = 4 << 20

// decode reads a JSON body.
func decode(r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	dec.DisallowUnknownFields()
	return malformed(r, dec.Decode(v))
}

// malformed says what is wrong with a body.
func malformed(r *http.Request, err error) error {
	if err == nil {
		return nil
	}
	e := &shoal.Error{
		Kind: shoal.Invalid, What: r.Method + " " + r.URL.Path, Why: "malformed body: " + err.Error(),
		Try: "send the JSON object that docs/api.md describes", Err: err,
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		e.Why, e.Try = fmt.Sprintf("the body is larger than %d KiB", large.Limit>>10), "send less at once"
	}
	return e
}

// lineReader bounds each value that a decoder reads from a body of unbounded length, so that one line
// cannot fill the memory: next makes room for another.
type lineReader struct {
	r    io.Reader
	left int64
}

func (l *lineReader) next() { l.left = maxBody }

func (l *lineReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, &http.MaxBytesError{Limit: maxBody}
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
