package data

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

// holder has the files.
type holder struct {
	ready   ready
	prepare func(ctx context.Context, name string) error // before the clock starts; may be nil
	close   func()
}

// fetcher gets them.
type fetcher struct {
	fetch func(ctx context.Context, name, into string) error
	clean func(ctx context.Context) error // after the clock has stopped; may be nil
	close func()
}

type kind struct {
	hold  func(ctx context.Context, s setup) (*holder, error)
	fetch func(ctx context.Context, s setup) (*fetcher, error)
}

var kinds = map[string]kind{
	"shoal":          {holdShoal, fetchShoal},
	"stream":         {holdStream, fetchStream},
	"bitswap":        {holdBitswap, fetchBitswap},
	"bitswap-reader": {holdBitswap, fetchBitswap},
}

func hold(ctx context.Context, s setup) (*rig.Worker, error) {
	h, err := kinds[s.Kind].hold(ctx, s)
	if err != nil {
		return nil, err
	}
	return &rig.Worker{Ready: h.ready, Close: h.close, Do: map[string]func(context.Context, json.RawMessage) (any, error){
		"prepare": rig.Verb(func(ctx context.Context, t transfer) (struct{}, error) {
			if h.prepare == nil {
				return struct{}{}, nil
			}
			return struct{}{}, h.prepare(ctx, t.Name)
		}),
	}}, nil
}

func fetch(ctx context.Context, s setup) (*rig.Worker, error) {
	f, err := kinds[s.Kind].fetch(ctx, s)
	if err != nil {
		return nil, err
	}
	return &rig.Worker{Close: f.close, Do: map[string]func(context.Context, json.RawMessage) (any, error){
		"fetch": rig.Verb(func(ctx context.Context, t transfer) (d done, err error) {
			start := time.Now()
			if err := f.fetch(ctx, t.Name, t.Into); err != nil {
				return d, err
			}
			d.Seconds = time.Since(start).Seconds()
			if d.SHA256, err = sumOf(t.Into); err != nil {
				return d, err
			}
			return d, os.Remove(t.Into)
		}),
		"clean": rig.Verb(func(ctx context.Context, _ *transfer) (struct{}, error) {
			if f.clean == nil {
				return struct{}{}, nil
			}
			return struct{}{}, f.clean(ctx)
		}),
	}}, nil
}

func sumOf(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, onlyReader{f}, make([]byte, piece)); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// onlyReader and onlyWriter hide methods that would have io.CopyBuffer use smaller pieces.
type onlyReader struct{ io.Reader }

type onlyWriter struct{ io.Writer }
