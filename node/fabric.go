package node

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/members"
)

// How long, and how often, a node that founded a fabric looks for another one around.
const (
	lookFor   = 30 * time.Second
	lookEvery = 300 * time.Millisecond
)

// enter makes this node a member: of the fabric its directory belongs to, of the one that cfg.Join
// leads to, or of a new one.
func (n *Node) enter(ctx context.Context) error {
	m, join := n.rooms.members, n.cfg.Join
	switch {
	case join == "lan" && n.cfg.NoMDNS:
		return shoal.E(shoal.Invalid, "join", "the members on the local network are found by mDNS, which is turned off",
			"leave out --no-mdns, or join with an invite")
	case m.Fabric() != "" && join != "":
		if i, err := capability.ParseInvite(join); err == nil && i.Fabric == m.Fabric() {
			if n.start = CameBack; m.Standing() == nil {
				return nil
			}
			n.start = Joined // forgotten, it joins anew
			return m.Join(ctx, join)
		}
		return shoal.E(shoal.Refused, "join", "directory "+n.cfg.Dir+" belongs to fabric "+m.Fabric()+" already",
			"leave out --join to come back to it, or name a new directory with --dir")
	case m.Fabric() != "":
		n.start = CameBack
		return nil
	case n.cfg.stage().By != nil:
		n.start = Joined
		return m.JoinBy(n.cfg.Stage.By.rooms.members)
	case join == "lan":
		n.start = Joined
		return m.JoinLAN(ctx, n.cfg.OnCode)
	case join != "":
		n.start = Joined
		return m.Join(ctx, join)
	}
	n.start = Founded
	return m.Found()
}

// lookAround tells whoever founded a fabric when there is another one on the local network: perhaps that
// is the one that was meant.
func (n *Node) lookAround(ctx context.Context) error {
	end, tick := time.NewTimer(lookFor), time.NewTicker(lookEvery)
	defer end.Stop()
	defer tick.Stop()
	asked := map[shoal.PeerID]bool{}
	for {
		for _, nb := range n.rooms.members.Neighbours(ctx, asked) {
			asked[nb.Peer] = true
			if nb.Fabric == "" || nb.Fabric == n.rooms.members.Fabric() {
				continue
			}
			n.cfg.OnNote(fmt.Sprintf("There is another fabric on this network, %s (heard from %s). To join it instead of founding one,\n"+
				"stop this node, and in a new directory:\n  shoal up --join lan --dir DIR", nb.Fabric, nb.Peer.Short()))
			return nil
		}
		select {
		case <-tick.C:
		case <-end.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// belong returns nil while this node is a member, and else, Refused, why what cannot be done: other members
// no longer talk to it, so that the verb would fail late, or seem to succeed and keep nothing safe.
func (n *Node) belong(what string) error {
	if err := n.rooms.members.Standing(); err != nil {
		return shoal.Wrap(shoal.Refused, what, err)
	}
	return nil
}

// belongOrHold is belong for reading: all of a graph that is here can still be read.
func (n *Node) belongOrHold(ctx context.Context, what string, c cid.Cid) error {
	err := n.belong(what)
	if err == nil {
		return nil
	}
	if _, missing, bad := n.rooms.data.Missing(ctx, c); bad == nil && missing == 0 {
		return nil
	}
	return err
}

// InviteOptions limit an invite. Zero values: no limit.
type InviteOptions struct {
	TTL  time.Duration
	Uses int
}

// Invite makes an invite to this node's fabric.
func (n *Node) Invite(_ context.Context, o InviteOptions) (string, error) {
	if o.TTL < 0 || o.Uses < 0 {
		return "", shoal.E(shoal.Invalid, "invite", "a limit is negative", "leave it out, or give a positive one")
	}
	return n.rooms.members.Invite(members.InviteOptions{TTL: o.TTL, Uses: o.Uses})
}

// Approve admits the machine that shows code.
func (n *Node) Approve(ctx context.Context, code string) (shoal.PeerID, error) {
	return n.rooms.members.Approve(ctx, code)
}

// RootKey returns the fabric's root key in text, where this node has it.
func (n *Node) RootKey() (string, error) {
	k, err := n.rooms.members.RootKey()
	if err != nil {
		return "", err
	}
	return capability.RootKeyText(k), nil
}

// ImportRootKey keeps the fabric's root key on this node too.
func (n *Node) ImportRootKey(text string) error {
	k, err := capability.ParseRootKey(text)
	if err != nil {
		return err
	}
	return n.rooms.members.ImportRootKey(k)
}

// Forget declares a member dead for good. p is a peer ID, or the end of one.
func (n *Node) Forget(ctx context.Context, p string) (shoal.PeerID, error) {
	id, err := n.Member(p)
	if err != nil {
		return "", err
	}
	return id, n.rooms.members.Forget(ctx, id)
}

// Member finds the one member whose ID is p or ends with it.
func (n *Node) Member(p string) (shoal.PeerID, error) {
	if p == string(n.ID()) {
		return n.ID(), nil
	}
	var found []shoal.PeerID
	for _, m := range n.rooms.members.Table() {
		if string(m.ID) == p {
			return m.ID, nil
		}
		if len(p) >= 4 && strings.HasSuffix(string(m.ID), p) {
			found = append(found, m.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if _, err := capability.PublicKey(shoal.PeerID(p)); err == nil && n.cfg.NoTable {
			return shoal.PeerID(p), nil // it may well be a member that this node has not met
		}
		return "", shoal.E(shoal.NotFound, "peer '"+p+"'", "no member has this ID", "see 'shoal peers'")
	}
	return "", shoal.E(shoal.Invalid, "peer '"+p+"'", fmt.Sprintf("%d members' IDs end so", len(found)), "give the whole ID")
}

// hostPort turns "host:port" into multiaddrs for TCP and QUIC.
func hostPort(s string) ([]string, error) {
	bad := func(why string) error {
		return shoal.E(shoal.Invalid, "address '"+s+"'", why, "write host:port, as in 192.0.2.1:4170, or a multiaddr")
	}
	h, port, err := net.SplitHostPort(s)
	if err != nil {
		return nil, bad("it is no host:port")
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return nil, bad("'" + port + "' is no port")
	}
	if h == "" {
		h = "0.0.0.0"
	}
	ip := net.ParseIP(h)
	if ip == nil {
		list, err := net.LookupIP(h)
		if err != nil || len(list) == 0 {
			return nil, bad("'" + h + "' is no address of this machine")
		}
		ip = list[0]
	}
	kind := "ip4"
	if ip.To4() == nil {
		kind = "ip6"
	}
	return []string{
		fmt.Sprintf("/%s/%s/tcp/%s", kind, ip, port),
		fmt.Sprintf("/%s/%s/udp/%s/quic-v1", kind, ip, port),
	}, nil
}
