package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	_ "github.com/shoal-fabric/shoal/bench/protos"
	"github.com/shoal-fabric/shoal/bench/rig"
)

// member is what a process of etcd's is told.
type member struct {
	Name, Dir         string
	Peer, Plain, Safe string // its addresses: for members, for clients without and with TLS
	All               string // the cluster, in etcd's words
}

func etcdMember(ctx context.Context, m member) (*rig.Worker, error) {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.InitialCluster = m.Name, m.Dir, m.All
	cfg.LogLevel, cfg.LogOutputs = "error", []string{"stderr"}
	cfg.PeerAutoTLS, cfg.ClientAutoTLS = true, true
	at := func(raw ...string) (list []url.URL) {
		for _, s := range raw {
			u, _ := url.Parse(s) // made here
			list = append(list, *u)
		}
		return list
	}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = at(m.Peer), at(m.Peer)
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = at(m.Plain, m.Safe), at(m.Plain, m.Safe)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	return &rig.Worker{Close: e.Close, Do: map[string]func(context.Context, json.RawMessage) (any, error){
		"wait": rig.Verb(func(ctx context.Context, _ *int) (lead bool, err error) {
			select {
			case <-e.Server.ReadyNotify():
			case err := <-e.Err():
				return false, err
			case <-ctx.Done():
				return false, ctx.Err()
			}
			for e.Server.Leader() == 0 {
				if err := pause(ctx, 10*time.Millisecond); err != nil {
					return false, err
				}
			}
			return e.Server.Leader() == e.Server.MemberID(), nil
		}),
	}}, nil
}

// calling is an order to put or publish.
type calling struct {
	Callers int
	Time    time.Duration
}

// etcdClient puts at one member.
func etcdClient(ctx context.Context, at string) (*rig.Worker, error) {
	cfg := clientv3.Config{Endpoints: []string{at}, DialTimeout: 10 * time.Second}
	if strings.HasPrefix(at, "https") {
		cfg.TLS = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} // it signed its certificate itself
	}
	var all []func(context.Context) error
	var clients []*clientv3.Client
	for i := range callers {
		c, err := clientv3.New(cfg)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
		key := fmt.Sprintf("bench/%02d", i)
		n := 0
		all = append(all, func(ctx context.Context) error {
			n++
			_, err := c.Put(ctx, key, fmt.Sprintf("%08d", n))
			return err
		})
		if err := all[i](ctx); err != nil {
			return nil, err
		}
	}
	return &rig.Worker{
		Close: func() {
			for _, c := range clients {
				c.Close()
			}
		},
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"ring": rig.Verb(func(ctx context.Context, o calling) (rig.Figures, error) {
				return rig.Ring(ctx, o.Time, all[:o.Callers])
			}),
		},
	}, nil
}

// etcdMembers are the members of a cluster whose files go to dir.
func etcdMembers(dir string) ([]member, error) {
	var all []member
	var names []string
	for i := range keepers {
		m := member{Name: fmt.Sprint("m", i), Dir: filepath.Join(dir, fmt.Sprint("m", i))}
		for _, x := range []struct {
			scheme string
			to     *string
		}{{"https", &m.Peer}, {"http", &m.Plain}, {"https", &m.Safe}} {
			at, err := FreePort()
			if err != nil {
				return nil, err
			}
			*x.to = x.scheme + "://" + at
		}
		if err := os.MkdirAll(m.Dir, 0o700); err != nil {
			return nil, err
		}
		all, names = append(all, m), append(names, m.Name+"="+m.Peer)
	}
	for i := range all {
		all[i].All = strings.Join(names, ",")
	}
	return all, nil
}

// startEtcd brings up the members and their clients.
func startEtcd(ctx context.Context, r *rig.Run, kinds map[string]peer) error {
	all, err := etcdMembers(filepath.Join(r.Work, "etcd"))
	if err != nil {
		return err
	}
	var procs []*rig.Proc
	for _, m := range all {
		p, err := r.Procs.Start(ctx, "etcd", rig.AnyCore, m, nil)
		if err != nil {
			return err
		}
		procs = append(procs, p)
	}
	leader := -1
	for i, p := range procs {
		var leads bool
		if err := p.Do(ctx, "wait", nil, &leads); err != nil {
			return err
		}
		if leads {
			leader = i
		}
	}
	if leader < 0 {
		return errors.New("etcd: no member leads")
	}
	for kind, at := range map[string]string{"etcd": all[leader].Plain, "etcd-tls": all[leader].Safe} {
		if r.Skips(kind) {
			continue
		}
		c, err := r.Procs.Start(ctx, "etcd-client", rig.AnyCore, at, nil)
		if err != nil {
			return err
		}
		kinds[kind] = clientOf(append(procs[:len(procs):len(procs)], c))
	}
	return nil
}

// clientOf is a kind whose last process takes the order "ring".
func clientOf(procs []*rig.Proc) peer {
	return peer{procs, func(ctx context.Context, callers int, d time.Duration) (f rig.Figures, err error) {
		return f, procs[len(procs)-1].Do(ctx, "ring", calling{callers, d}, &f)
	}}
}
