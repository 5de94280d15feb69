package topicdurable

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shoal-fabric/shoal/bench/agent"
	"github.com/shoal-fabric/shoal/bench/rig"
)

const streamWait = 20 * time.Second

// client publishes at the stream's leader. at are the servers' addresses by name.
func client(ctx context.Context, at map[string]string) (*rig.Worker, error) {
	leader, err := agent.MakeStream(ctx, at["s0"])
	if err != nil {
		return nil, err
	}
	conn, err := nats.Connect(at[leader])
	if err != nil {
		return nil, err
	}
	js, err := conn.JetStream(nats.MaxWait(streamWait))
	if err != nil {
		return nil, err
	}
	p := newPublishing()
	return &rig.Worker{Close: conn.Close, Do: map[string]func(context.Context, json.RawMessage) (any, error){
		"ring": rig.Verb(func(ctx context.Context, o order) (rig.Figures, error) {
			return p.ring(ctx, o, func(_ context.Context, body []byte) error {
				_, err := js.Publish("bench.all", body)
				return err
			})
		}),
		"check": rig.Verb(func(_ context.Context, _ any) (int, error) {
			return p.check(func(see func([]byte) error) error {
				sub, err := js.SubscribeSync("bench.all", nats.OrderedConsumer(), nats.DeliverAll())
				if err != nil {
					return err
				}
				for {
					m, err := sub.NextMsg(2 * time.Second)
					if errors.Is(err, nats.ErrTimeout) {
						return nil
					}
					if err != nil {
						return err
					}
					if err := see(m.Data); err != nil {
						return err
					}
				}
			})
		}),
	}}, nil
}
