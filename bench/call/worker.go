package call

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/node"
)

// caller makes one call: it sends body and returns what came back.
type caller func(ctx context.Context, body []byte) ([]byte, error)

// kind is one way to ask.
type kind struct {
	broker func(s setup) (ready, func(), error) // nil: it needs none
	answer func(ctx context.Context, s setup) (ready, func(), error)
	ask    func(ctx context.Context, s setup) (newCaller func() (caller, error), close func(), err error)
	room   bool // its processes hold the collector back as `shoal up` does
}

var kinds = map[string]kind{
	"shoal":       {answer: answerShoal, ask: askShoal, room: true},
	"stream":      {answer: answerStream, ask: askStream},
	"stream-room": {answer: answerStream, ask: askStream, room: true},
	"grpc":        {answer: answerGRPC, ask: askGRPC},
	"grpc-room":   {answer: answerGRPC, ask: askGRPC, room: true},
	"grpc-tls":    {answer: answerGRPC, ask: askGRPC},
	"nats":        {broker: brokerNATS, answer: answerNATS, ask: askNATS},
	"nats-room":   {broker: brokerNATS, answer: answerNATS, ask: askNATS, room: true},
	"nats-tls":    {broker: brokerNATS, answer: answerNATS, ask: askNATS},
}

// settle gives a worker's process the collector of its kind, until the worker ends.
func settle(s setup, w *rig.Worker) *rig.Worker {
	if !kinds[s.Kind].room {
		return w
	}
	release, end := node.Headroom(), w.Close
	w.Close = func() {
		defer release()
		if end != nil {
			end()
		}
	}
	return w
}

func broker(_ context.Context, s setup) (*rig.Worker, error) {
	at, end, err := kinds[s.Kind].broker(s)
	return settle(s, &rig.Worker{Ready: at, Close: end}), err
}

func answer(ctx context.Context, s setup) (*rig.Worker, error) {
	at, end, err := kinds[s.Kind].answer(ctx, s)
	return settle(s, &rig.Worker{Ready: at, Close: end}), err
}

func ask(ctx context.Context, s setup) (*rig.Worker, error) {
	newCaller, end, err := kinds[s.Kind].ask(ctx, s)
	if err != nil {
		return nil, err
	}
	all := make([]caller, callers)
	bodies := make([][]byte, callers)
	rng := rand.NewChaCha8([32]byte{byte(s.Seed), byte(s.Seed >> 8), 'c', 'a', 'l', 'l'})
	for i := range all {
		if all[i], err = newCaller(); err != nil {
			return nil, err
		}
		bodies[i] = make([]byte, bodyBytes)
		rng.Read(bodies[i])
	}
	measure := func(n int) func(context.Context, time.Duration) (figures, error) {
		return func(ctx context.Context, d time.Duration) (figures, error) {
			warm, err := ring(ctx, all[:n], bodies, d/10)
			if err != nil {
				return figures{}, err
			}
			f, err := ring(ctx, all[:n], bodies, d)
			f.Calls += warm.Calls
			return f, err
		}
	}
	return settle(s, &rig.Worker{
		Ready: ready{}, Close: end,
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"latency": rig.Verb(measure(1)), "rate": rig.Verb(measure(callers)),
		},
	}), nil
}

// ring has all callers call, each as soon as its last call was answered, for d.
func ring(ctx context.Context, all []caller, bodies [][]byte, d time.Duration) (figures, error) {
	times := make([][]time.Duration, len(all))
	errs := make([]error, len(all))
	start := time.Now()
	end := start.Add(d)
	var done sync.WaitGroup
	for i, call := range all {
		done.Go(func() { times[i], errs[i] = callUntil(ctx, end, call, bodies[i]) })
	}
	done.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return figures{}, err
	}
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	us := func(k int) float64 { return float64(sorted[k].Nanoseconds()) / 1e3 }
	return figures{
		Calls: len(sorted), P50: us(len(sorted) / 2), P99: us(len(sorted) * 99 / 100),
		Rate: float64(len(sorted)) / took.Seconds(),
	}, nil
}

func callUntil(ctx context.Context, end time.Time, call caller, body []byte) (times []time.Duration, err error) {
	at := time.Now()
	for {
		reply, err := call(ctx, body)
		if err != nil {
			return times, err
		}
		now := time.Now()
		times = append(times, now.Sub(at))
		if !bytes.Equal(reply, body) {
			return times, errors.New("the reply is not what was sent")
		}
		if at = now; now.After(end) {
			return times, nil
		}
	}
}
