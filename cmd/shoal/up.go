package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/node"
)

func upCmd(s *shell) *cobra.Command {
	cfg := node.Config{}
	var labels, weights []string
	var apiAddr, table, gravity, level, config string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a node here: found a fabric, join one, or come back to it",
		Long: `In an empty directory up founds a fabric and prints an invite; with --join it joins one; in a directory
that has been up before it comes back to its fabric, by itself. It runs until it is interrupted.

For now every member may do everything in its fabric: invite only machines you trust.

A file for --config holds any of
  listen: [192.0.2.1:4170]
  labels: {zone: a, rack: "7"}
  slots: 4
  api: 127.0.0.1:7770
  mdns: false
  log: info
  members: {table: off}
  placement: {gravity: off, copies: off}   # agents stay where they are, whatever they read or call; no copies of data
                                  # beyond its replicas are kept, however often tasks here fetch it
  devices:                        # what the node cannot find out about
    - {vendor: google, model: Coral, memory: 8GiB, count: 2}
    - {id: "0000:03:00.0", model: Arc A770, memory: 16GiB}
  executors:                      # commands that any member may run here as this user, unconfined
    - name: train                 # 'shoal run exec:train --data CID -- ARGS' adds ARGS to the command
      command: [python3, /opt/train.py]
      devices: {gpus: 1}          # or {memory: 8GiB}: a share of one; vendor: nvidia, amd or intel
      env: {MODEL: /opt/model}    # besides this the command sees PATH, LANG, HOME, SHOAL_DATA, SHOAL_OUT,
                                  # and which devices are its own
      limits: {memory: 16GiB, processes: 64, time: 2h, output: 10GiB}`,
		Example: `  shoal up
  shoal up --join shoal1...
  shoal up --join lan                    # ask over the local network; approve there
  shoal up --dir /srv/b --label zone=a   # a second node on this machine`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config != "" {
				c, err := configure(cmd, config)
				if err != nil {
					return err
				}
				if cfg.Executors, err = c.executors(); err != nil {
					return shoal.Wrap(shoal.Invalid, "configuration "+config, err)
				}
				if cfg.Devices, err = c.devices(); err != nil {
					return err
				}
				if cfg.Placement, err = c.placement(); err != nil {
					return err
				}
			}
			cfg.Labels = map[string]string{}
			for _, l := range labels {
				k, v, ok := strings.Cut(l, "=")
				if !ok || k == "" {
					return usage(cmd, "--label wants KEY=VALUE, not '"+l+"'")
				}
				cfg.Labels[k] = v
			}
			cfg.Weights = map[shoal.PeerID]float64{}
			for _, w := range weights {
				p, v, _ := strings.Cut(w, "=")
				n, err := strconv.ParseFloat(v, 64)
				if err != nil || p == "" {
					return usage(cmd, "--weight wants PEER=NUMBER, not '"+w+"'")
				}
				cfg.Weights[shoal.PeerID(p)] = n
			}
			switch table {
			case "on":
			case "off":
				cfg.NoTable = true
			default:
				return usage(cmd, "--members-table is on or off, not '"+table+"'")
			}
			switch gravity {
			case "on":
			case "off":
				cfg.NoGravity = true
			default:
				return usage(cmd, "--placement-gravity is on or off, not '"+gravity+"'")
			}
			if cfg.Join == "lan" && cfg.NoMDNS {
				return usage(cmd, "--join lan finds the members by mDNS, which --no-mdns turns off")
			}
			var lv slog.Level
			if err := lv.UnmarshalText([]byte(level)); err != nil {
				return usage(cmd, "--log is debug, info, warn or error")
			}
			cfg.Dir, cfg.Measure = s.dir, true
			cfg.Log = slog.New(slog.NewTextHandler(s.errs, &slog.HandlerOptions{Level: lv}))
			return s.up(cmd.Context(), cfg, apiAddr)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Join, "join", "", "an invite, or 'lan' to ask the members on the local network")
	f.StringArrayVar(&cfg.Listen, "listen", nil, "address to listen on, as host:port or a multiaddr; may be repeated\n(default: all interfaces, TCP and QUIC, port 4170 or the next free one)")
	f.StringArrayVar(&labels, "label", nil, "KEY=VALUE that others can ask for; may be repeated")
	f.StringVar(&apiAddr, "api", "", "serve the HTTP API on this TCP address too, e.g. 127.0.0.1:7770; prints its token")
	f.IntVar(&cfg.Slots, "slots", 0, "tasks to run at once (default: the processors)")
	f.StringArrayVar(&weights, "weight", nil, "PEER=NUMBER: that member's tasks get so many times another's part of the slots\nwhile both wait (default: 1); may be repeated")
	f.BoolVar(&cfg.NoMDNS, "no-mdns", false, "neither announce on nor listen to the local network")
	f.StringVar(&table, "members-table", "on", "off: know the routing table only, as in a fabric of thousands")
	f.StringVar(&gravity, "placement-gravity", "on", "off: agents that this node leads do not move to what they keep reading or calling")
	f.StringVar(&config, "config", "", "read settings from this YAML file; flags win over them")
	f.StringVar(&level, "log", "warn", "what to log to the error stream: debug, info, warn or error")
	return cmd
}

// up runs a node until ctx ends or the node has left its fabric.
func (s *shell) up(ctx context.Context, cfg node.Config, apiAddr string) error {
	cfg.OnCode = func(code string) {
		if s.json {
			_ = s.print(map[string]string{"event": "code", "code": code})
			return
		}
		s.printf("to admit this machine, run on a member:  shoal invite approve %s\n", code)
	}
	cfg.Compiler, cfg.Warden = helper(compileVerb), helper(native.Verb)
	defer node.Headroom()()
	notes := &notes{s: s}
	cfg.OnNote = notes.add
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	srv, err := api.Serve(n, api.ServerConfig{Dir: cfg.Dir, TCP: apiAddr, Log: cfg.Log})
	if err != nil {
		_ = n.Close()
		return err
	}
	st := n.Status()
	if err := s.greet(ctx, n, st, srv); err != nil {
		_ = srv.Close()
		_ = n.Close()
		return err
	}
	notes.show()
	select {
	case <-ctx.Done():
		s.note("stopping; 'shoal up' in the same directory comes back")
	case <-n.Done():
	}
	done := make(chan error, 1)
	go func() { _ = srv.Close(); done <- n.Close() }()
	select {
	case err = <-done:
	case <-time.After(15 * time.Second):
		err = fmt.Errorf("node: it did not stop within 15 s: what was acknowledged is safe")
	}
	return err
}

// greet prints what a person, or a script, wants to know of a node that has come up.
func (s *shell) greet(ctx context.Context, n *node.Node, st node.Status, srv *api.Server) error {
	how := n.Start()
	var invite string
	if how == node.Founded {
		var err error
		if invite, err = n.Invite(ctx, node.InviteOptions{}); err != nil {
			return err
		}
	}
	if s.json {
		return s.print(map[string]any{
			"event": "up", "peer_id": st.PeerID, "fabric": st.Fabric, "addresses": st.Addresses, "start": how,
			"invite": invite, "api": srv.Addr(), "token": srv.Token(),
		})
	}
	s.printf("shoal %s, %s fabric %s as %s\n", node.Version, how, st.Fabric, st.PeerID)
	for _, a := range st.Addresses {
		s.printf("  listening on %s\n", strings.TrimSuffix(a, "/p2p/"+string(st.PeerID)))
	}
	if srv.Addr() != "" {
		s.printf("  API on http://%s/v1, SHOAL_TOKEN=%s\n", srv.Addr(), srv.Token())
	}
	if len(st.Attributes.Executors) > 0 {
		s.printf("  any member may run here, as this user: exec:%s\n", strings.Join(st.Attributes.Executors, ", exec:"))
	}
	if invite != "" {
		s.printf("\nOn another machine:\n  shoal up --join %s\n", invite)
		s.printf("\nEvery member may do everything in this fabric: give the invite only to machines you trust.\n")
	}
	s.printf("\nIt runs until you press Ctrl-C. In another terminal: shoal status, shoal put PATH, shoal help\n")
	return nil
}

// notes are what a node tells people. They come at any time, and are shown after the greeting, whose line
// is the first that scripts wait for.
type notes struct {
	s  *shell
	mu sync.Mutex

	ready bool
	early []string
}

func (n *notes) add(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.early = append(n.early, text); n.ready {
		n.flush()
	}
}

// show shows those that came so far; later ones are shown at once.
func (n *notes) show() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = true
	n.flush()
}

// flush prints what was kept. n.mu is held.
func (n *notes) flush() {
	for _, text := range n.early {
		if n.s.json {
			_ = n.s.print(map[string]string{"event": "note", "text": text})
			continue
		}
		n.s.printf("\n%s\n", text)
	}
	n.early = nil
}
