package call

import (
	"context"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/host"
	"github.com/shoal-fabric/shoal/members"
	"github.com/shoal-fabric/shoal/rpc"
	"github.com/shoal-fabric/shoal/storage"
	"github.com/shoal-fabric/shoal/wire"
)

// member is the part of a node that a call passes: its rooms are wired as package node does it.
type member struct {
	disk    *storage.Storage
	host    *host.Host
	members *members.Members
	rpc     *rpc.RPC
	stop    context.CancelFunc
	ran     chan error
}

// message is the body of a request and of its reply.
type message struct {
	Body []byte `cbor:"b"`
}

const method = "bench.echo"

// newMember founds a fabric, or joins one by an invite.
func newMember(ctx context.Context, dir, invite string) (m *member, err error) {
	m = &member{stop: func() {}, ran: make(chan error, 1)}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.disk, err = storage.Open(dir, storage.Options{}); err != nil {
		return m, err
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return m, err
	}
	m.host, err = host.New(host.Config{Key: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		return m, err
	}
	m.members, err = members.New(members.Config{Key: key, Table: true},
		members.Deps{Door: m.host, Network: m.host, KV: m.disk.KV("members")})
	if err != nil {
		return m, err
	}
	m.host.SetAdmit(m.members.Admit)
	if invite == "" {
		err = m.members.Found()
	} else {
		err = m.members.Join(ctx, invite)
	}
	if err != nil {
		return m, err
	}
	m.rpc = rpc.New(m.host.Libp2p(), rpc.Config{Fabric: m.members.Fabric(), Connect: m.connect})
	m.rpc.Handle(method, echo)
	m.members.Attach(m.rpc)
	life, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() { m.ran <- m.members.Run(life) }()
	return m, nil
}

func (m *member) connect(ctx context.Context, p shoal.PeerID) error {
	return m.host.Connect(ctx, p, m.members.Addresses(p))
}

func (m *member) close() {
	m.stop()
	if m.rpc != nil {
		<-m.ran
		m.rpc.Close()
	}
	if m.host != nil {
		m.host.Close()
	}
	if m.disk != nil {
		m.disk.Close()
	}
}

func echo(_ context.Context, _ shoal.PeerID, request []byte) ([]byte, error) {
	var in message
	if err := wire.View("bench request", request, &in); err != nil {
		return nil, err
	}
	return wire.Marshal(message{Body: in.Body}), nil
}

func answerShoal(ctx context.Context, s setup) (ready, func(), error) {
	m, err := newMember(ctx, filepath.Join(s.Dir, "answer"), "")
	if err != nil {
		return ready{}, nil, err
	}
	invite, err := m.members.Invite(members.InviteOptions{TTL: time.Hour})
	return ready{Address: invite, Peer: string(m.host.ID())}, m.close, err
}

func askShoal(ctx context.Context, s setup) (func() (caller, error), func(), error) {
	m, err := newMember(ctx, filepath.Join(s.Dir, "ask"), s.At.Address)
	if err != nil {
		return nil, nil, err
	}
	to := shoal.PeerID(s.At.Peer)
	if m.host.ID() == to {
		return nil, m.close, errors.New("the node would ask itself")
	}
	return func() (caller, error) {
		return func(ctx context.Context, body []byte) ([]byte, error) {
			reply, err := m.rpc.Ask(ctx, to, method, wire.Marshal(message{Body: body}))
			if err != nil {
				return nil, err
			}
			var out message
			err = wire.View("bench reply", reply, &out)
			return out.Body, err
		}, nil
	}, m.close, nil
}
