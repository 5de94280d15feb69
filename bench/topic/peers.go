package topic

import (
	"context"
	"errors"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/shoal-fabric/shoal/bench/plain"
)

const (
	subject  = "bench.topic"
	natsWait = 10 * time.Second // for the server to come up
)

// gossipWorld is plain gossipsub.
func gossipWorld(ctx context.Context, _ setup, deliver func(int, []byte)) (_ *world, err error) {
	g := &group{}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	life, stop := context.WithCancel(context.Background())
	g.add(stop)
	var addresses []string
	var all []*pubsub.Topic
	for i := range subscribers + 1 {
		h, address, err := plain.New()
		if err != nil {
			return nil, err
		}
		g.add(func() { h.Close() })
		ps, err := pubsub.NewGossipSub(life, h, pubsub.WithPeerOutboundQueueSize(1024), pubsub.WithValidateQueueSize(1024))
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if _, err := plain.Connect(ctx, h, a); err != nil {
				return nil, err
			}
		}
		addresses = append(addresses, address)
		t, err := ps.Join(subject)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
		if i == subscribers {
			break // it publishes
		}
		sub, err := t.Subscribe(pubsub.WithBufferSize(1024))
		if err != nil {
			return nil, err
		}
		go func() {
			for {
				m, err := sub.Next(life)
				if err != nil {
					return
				}
				deliver(i, m.Data)
			}
		}()
	}
	time.Sleep(3 * time.Second) // the mesh forms
	t := all[subscribers]
	return &world{publish: func(ctx context.Context, b []byte) error { return t.Publish(ctx, b) }, close: g.close}, nil
}

// natsWorld is NATS core.
func natsWorld(_ context.Context, _ setup, deliver func(int, []byte)) (_ *world, err error) {
	g := &group{}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, err
	}
	go srv.Start() // until Shutdown
	g.add(srv.Shutdown)
	if !srv.ReadyForConnections(natsWait) {
		return nil, errors.New("the server does not come up")
	}
	for i := range subscribers {
		conn, err := nats.Connect(srv.ClientURL())
		if err != nil {
			return nil, err
		}
		g.add(conn.Close)
		if _, err := conn.Subscribe(subject, func(m *nats.Msg) { deliver(i, m.Data) }); err != nil {
			return nil, err
		}
		if err := conn.Flush(); err != nil {
			return nil, err
		}
	}
	conn, err := nats.Connect(srv.ClientURL())
	if err != nil {
		return nil, err
	}
	g.add(conn.Close)
	return &world{publish: func(_ context.Context, b []byte) error { return conn.Publish(subject, b) }, close: g.close}, nil
}
