package call

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
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
	checked := make([]func(context.Context) error, callers)
	for i, call := range all {
		checked[i] = func(ctx context.Context) error {
			reply, err := call(ctx, bodies[i])
			if err == nil && !bytes.Equal(reply, bodies[i]) {
				err = errors.New("the reply is not what was sent")
			}
			return err
		}
	}
	measure := func(n int) func(context.Context, time.Duration) (rig.Figures, error) {
		return func(ctx context.Context, d time.Duration) (rig.Figures, error) { return rig.Ring(ctx, d, checked[:n]) }
	}
	return settle(s, &rig.Worker{
		Ready: ready{}, Close: end,
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"latency": rig.Verb(measure(1)), "rate": rig.Verb(measure(callers)),
		},
	}), nil
}
