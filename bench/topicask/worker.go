package topicask

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/bench/agent"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// ask sends a request and returns the reply.
type ask func(ctx context.Context, body []byte) ([]byte, error)

func worker(ctx context.Context, s setup) (*rig.Worker, error) {
	release := func() {}
	kind, room := strings.CutSuffix(s.Kind, "-room")
	if room || kind == "shoal" {
		release = node.Headroom()
	}
	open := askNATS
	if kind == "shoal" {
		open = askShoal
	}
	byVerb, end, err := open(ctx, s.Dir)
	if err != nil {
		end()
		release()
		return nil, err
	}
	do := map[string]func(context.Context, json.RawMessage) (any, error){}
	for verb, f := range byVerb {
		do[verb] = rig.Verb(func(ctx context.Context, d time.Duration) (figures, error) { return measure(ctx, d, f) })
	}
	return &rig.Worker{Ready: struct{}{}, Close: func() { end(); release() }, Do: do}, nil
}

// measure asks one after the other for d, after a tenth of that to warm up.
func measure(ctx context.Context, d time.Duration, f ask) (figures, error) {
	body := bytes.Repeat([]byte("0123456789abcdef"), bodyBytes/16)
	var times []time.Duration
	for _, d := range []time.Duration{d / 10, d} {
		times = times[:0]
		for end := time.Now().Add(d); time.Now().Before(end); {
			begun := time.Now()
			reply, err := f(ctx, body)
			if err != nil {
				return figures{}, err
			}
			times = append(times, time.Since(begun))
			if !bytes.Equal(reply, body) {
				return figures{}, errors.New("the reply is another")
			}
		}
	}
	slices.Sort(times)
	us := func(k int) float64 { return float64(times[k].Nanoseconds()) / 1e3 }
	return figures{Asked: len(times), P50: us(len(times) / 2), P99: us(len(times) * 99 / 100)}, nil
}

// askShoal makes a fabric and an agent that answers.
func askShoal(ctx context.Context, dir string) (_ map[string]ask, end func(), err error) {
	var all []*node.Node
	end = func() {
		for _, n := range slices.Backward(all) {
			n.Close()
		}
	}
	invite := ""
	for i := range nodes {
		n, err := node.Open(ctx, node.Config{Dir: filepath.Join(dir, fmt.Sprint(i)), Join: invite, Listen: []string{"127.0.0.1:0"}, NoMDNS: true})
		if err != nil {
			return nil, end, err
		}
		all = append(all, n)
		if invite == "" {
			if invite, err = n.Invite(ctx, node.InviteOptions{TTL: time.Hour}); err != nil {
				return nil, end, err
			}
		}
	}
	for _, n := range all { // all are in touch with all
		for n.Status().Connected < nodes-1 {
			if err := ctx.Err(); err != nil {
				return nil, end, err
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	asker := all[nodes-1]
	var keepers []shoal.PeerID
	for _, n := range all[:nodes-1] {
		keepers = append(keepers, n.ID())
	}
	code, _, err := all[0].Upload(ctx, "echo.wasm", agent.Echo())
	if err != nil {
		return nil, end, err
	}
	if _, err := all[0].CreateAgent(ctx, code.String(), cid.Undef, agents.CreateOptions{Name: "echo", Near: keepers}); err != nil {
		return nil, end, err
	}
	if _, err := asker.CreateTopic(ctx, "asked", topic.Definition{}, 0); err != nil {
		return nil, end, err
	}
	p, err := asker.Topics()
	if err != nil {
		return nil, end, err
	}
	if _, err := p.Bind(ctx, "asked", topic.Binding{Kind: topic.Agent, To: "echo", Method: "echo", Mode: topic.Ask, Read: true}); err != nil {
		return nil, end, err
	}
	show, err := asker.ShowAgent(ctx, "echo")
	if err == nil && slices.Contains(show.Keepers, asker.ID()) {
		err = errors.New("the asker keeps the agent")
	}
	if err == nil && len(show.Keepers) != 3 {
		err = fmt.Errorf("the agent has %d keepers", len(show.Keepers))
	}
	return map[string]ask{
		"ask": func(ctx context.Context, b []byte) ([]byte, error) {
			return p.Ask(ctx, "asked", topic.Message{Body: b})
		},
		"call": func(ctx context.Context, b []byte) ([]byte, error) {
			return asker.CallAgent(ctx, "echo", shoal.CallRequest{Method: "echo", Payload: b, Read: true})
		},
	}, end, err
}

// askNATS is NATS core.
func askNATS(context.Context, string) (_ map[string]ask, end func(), err error) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, func() {}, err
	}
	end = srv.Shutdown
	go srv.Start() // until Shutdown
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, end, errors.New("the server does not come up")
	}
	answers, err := nats.Connect(srv.ClientURL())
	if err != nil {
		return nil, end, err
	}
	asks, err := nats.Connect(srv.ClientURL())
	if err != nil {
		answers.Close()
		return nil, end, err
	}
	end = func() { asks.Close(); answers.Close(); srv.Shutdown() }
	if _, err = answers.Subscribe("asked", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err == nil {
		err = answers.Flush()
	}
	return map[string]ask{"ask": func(ctx context.Context, b []byte) ([]byte, error) {
		m, err := asks.RequestWithContext(ctx, "asked", b)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	}}, end, err
}
