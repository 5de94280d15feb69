package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/shoal-fabric/shoal/bench/plain"
	"github.com/shoal-fabric/shoal/bench/rig"
)

const streamWait = 20 * time.Second // for servers to come up and agree

// StreamNode is what a server's process is told.
type StreamNode struct {
	Name, Dir string
	Route     string   // its address for other servers
	Routes    []string // all of them
	Lazy      bool     // it syncs as it does by default: every two minutes
}

// StreamServer is the role of a server of JetStream, ready with its address for clients.
func StreamServer(_ context.Context, s StreamNode) (*rig.Worker, error) {
	cert, _, err := plain.Certificate()
	if err != nil {
		return nil, err
	}
	route, err := net.ResolveTCPAddr("tcp", s.Route)
	if err != nil {
		return nil, err
	}
	o := &server.Options{
		ServerName: s.Name, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: s.Dir, SyncAlways: !s.Lazy,
		Cluster: server.ClusterOpts{Name: "bench", Host: route.IP.String(), Port: route.Port, TLSTimeout: 5, TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, // each signed its own
		}},
	}
	for _, at := range s.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: at})
	}
	srv, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	go srv.Start() // until Shutdown
	if !srv.ReadyForConnections(streamWait) {
		return nil, errors.New("the server does not come up")
	}
	return &rig.Worker{Ready: srv.ClientURL(), Close: srv.Shutdown}, nil
}

// streamClient publishes at the stream's leader. at are the servers' addresses by name.
func streamClient(ctx context.Context, at map[string]string) (*rig.Worker, error) {
	leader, err := MakeStream(ctx, at["s0"])
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
	var all []func(context.Context) error
	for i := range callers {
		subject := fmt.Sprintf("bench.%02d", i)
		n := 0
		all = append(all, func(context.Context) error {
			n++
			_, err := js.Publish(subject, fmt.Appendf(nil, "%08d", n))
			return err
		})
	}
	return &rig.Worker{Close: conn.Close, Do: map[string]func(context.Context, json.RawMessage) (any, error){
		"ring": rig.Verb(func(ctx context.Context, o calling) (rig.Figures, error) {
			return rig.Ring(ctx, o.Time, all[:o.Callers])
		}),
	}}, nil
}

// MakeStream makes the stream, of the subjects bench.*, once the servers agree on a leader of their own, and returns who leads it.
func MakeStream(ctx context.Context, at string) (leader string, err error) {
	conn, err := nats.Connect(at)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	js, err := conn.JetStream(nats.MaxWait(time.Second))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, streamWait)
	defer cancel()
	for {
		var info *nats.StreamInfo
		info, err = js.AddStream(&nats.StreamConfig{
			Name: "bench", Subjects: []string{"bench.*"}, Storage: nats.FileStorage, Replicas: keepers,
		})
		if err == nil && info.Cluster != nil && info.Cluster.Leader != "" {
			return info.Cluster.Leader, nil
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return "", fmt.Errorf("jetstream: no stream: %w", err)
		}
	}
}

// StreamNodes are the servers of a cluster whose files go to dir.
func StreamNodes(dir string) (all []StreamNode, err error) {
	routes := make([]string, keepers)
	for i := range routes {
		if routes[i], err = FreePort(); err != nil {
			return nil, err
		}
	}
	for i, route := range routes {
		name := fmt.Sprint("s", i)
		all = append(all, StreamNode{Name: name, Dir: filepath.Join(dir, name), Route: route, Routes: routes})
	}
	return all, nil
}

// startStream brings up the servers and the client.
func startStream(ctx context.Context, r *rig.Run, kinds map[string]peer) error {
	all, err := StreamNodes(filepath.Join(r.Work, "jetstream"))
	if err != nil {
		return err
	}
	var procs []*rig.Proc
	at := map[string]string{}
	for _, n := range all {
		is := ""
		p, err := r.Procs.Start(ctx, "jetstream", rig.AnyCore, n, &is)
		if err != nil {
			return err
		}
		procs, at[n.Name] = append(procs, p), is
	}
	c, err := r.Procs.Start(ctx, "jetstream-client", rig.AnyCore, at, nil)
	if err != nil {
		return err
	}
	kinds["jetstream"] = clientOf(append(procs, c))
	return nil
}
