package call

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/shoal-fabric/shoal/bench/plain"
)

const (
	subject  = "bench.echo"
	natsWait = 10 * time.Second // for the broker to come up, and for a reply
)

func brokerNATS(s setup) (ready, func(), error) {
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true}
	var at ready
	if s.Kind == "nats-tls" {
		cert, pem, err := plain.Certificate()
		if err != nil {
			return at, nil, err
		}
		at.CA = pem
		o.TLS = true
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	}
	srv, err := server.NewServer(o)
	if err != nil {
		return at, nil, err
	}
	go srv.Start() // until Shutdown
	if !srv.ReadyForConnections(natsWait) {
		return at, nil, errors.New("the broker does not come up")
	}
	at.Address = srv.ClientURL()
	return at, srv.Shutdown, nil
}

func connectNATS(at ready) (*nats.Conn, error) {
	var o []nats.Option
	if at.CA != nil {
		trust, err := plain.Trusting(at.CA)
		if err != nil {
			return nil, err
		}
		o = append(o, nats.Secure(trust))
	}
	return nats.Connect(at.Address, o...)
}

func answerNATS(_ context.Context, s setup) (ready, func(), error) {
	conn, err := connectNATS(s.At)
	if err != nil {
		return ready{}, nil, err
	}
	if _, err := conn.Subscribe(subject, func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		return ready{}, nil, err
	}
	return s.At, conn.Close, conn.Flush()
}

func askNATS(_ context.Context, s setup) (func() (caller, error), func(), error) {
	conn, err := connectNATS(s.At)
	if err != nil {
		return nil, nil, err
	}
	return func() (caller, error) {
		return func(_ context.Context, body []byte) ([]byte, error) {
			m, err := conn.Request(subject, body, natsWait)
			if err != nil {
				return nil, err
			}
			return m.Data, nil
		}, nil
	}, conn.Close, nil
}
