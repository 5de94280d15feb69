package node

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/host"
)

// Peers find a node that comes back by the addresses they remember, so it comes back on the ports it
// had, also when these were any that were free.

// portOf matches a transport and its port in a multiaddr.
var portOf = regexp.MustCompile(`/(tcp|udp)/(\d+)`)

// openHost opens the host on the ports of its last life, or, when they are taken, on others.
func openHost(kv shoal.KV, cfg host.Config) (*host.Host, error) {
	again := cfg
	again.Listen = nil
	for _, l := range cfg.Listen {
		again.Listen = append(again.Listen, portOf.ReplaceAllStringFunc(l, func(m string) string {
			kind, port, _ := strings.Cut(m[1:], "/")
			if port != "0" {
				return m
			}
			return "/" + kind + "/" + lastPort(kv, kind)
		}))
	}
	if n, err := strconv.Atoi(lastPort(kv, "tcp")); err == nil && len(cfg.Listen) == 0 {
		again.Port = n
	}
	h, err := host.New(again)
	if err != nil {
		h, err = host.New(cfg)
	}
	if err != nil {
		return nil, err
	}
	for _, a := range h.Addresses() {
		m := portOf.FindStringSubmatch(a)
		if m == nil || strings.Contains(a, "/p2p-circuit") || lastPort(kv, m[1]) == m[2] {
			continue
		}
		if err := kv.Set("port/"+m[1], []byte(m[2])); err != nil {
			_ = h.Close()
			return nil, err
		}
	}
	return h, nil
}

func lastPort(kv shoal.KV, kind string) string {
	b, err := kv.Get("port/" + kind)
	if err != nil {
		return "0"
	}
	return string(b)
}
