package node

import (
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// Status describes this node.
type Status struct {
	PeerID     shoal.PeerID     `json:"peer_id"`
	Fabric     string           `json:"fabric"`
	Root       shoal.PeerID     `json:"root"` // the fabric's first owner
	Addresses  []string         `json:"addresses"`
	Members    int              `json:"members"` // known members that are not gone, this node included
	Connected  int              `json:"connected"`
	Version    string           `json:"version"`
	Dir        string           `json:"dir"`
	UptimeS    float64          `json:"uptime_s"`
	Attributes shoal.Attributes `json:"attributes"`
	Load       shoal.Load       `json:"load"`
	Pending    []shoal.PeerID   `json:"pending,omitempty"` // machines that wait for 'shoal invite approve'
	Devices    []reserve.State  `json:"devices,omitempty"` // of a node with executors: who has them
	Unrestored int              `json:"unrestored"`        // copies of partitions that are missing, of datasets that this node has a part in
	Lost       int              `json:"lost"`              // partitions of them that nobody who can be reached keeps
	Restored   uint64           `json:"restored"`          // copies this node has had made anew since it started
	Datasets   int              `json:"datasets"`          // that this node keeps a part of
	RestoreS   float64          `json:"restore_within_s"`  // a holder that is gone is replaced within that time, and what copying takes
	Extra      int              `json:"extra_copies"`      // of partitions, kept here beyond the replicas while that pays
	ExtraBytes uint64           `json:"extra_bytes"`       // that they take
}

// PeerInfo describes another member, as this node knows it.
type PeerInfo struct {
	PeerID     shoal.PeerID      `json:"peer_id"`
	State      shoal.MemberState `json:"state"`
	Addresses  []string          `json:"addresses"`
	Attributes shoal.Attributes  `json:"attributes"`
	Load       shoal.Load        `json:"load"`
	AgeS       float64           `json:"age_s"` // since the last news of it
	RTTms      float64           `json:"rtt_ms,omitempty"`
	RateMBs    float64           `json:"rate_mbs,omitempty"` // measured, 0: not yet
}

func (n *Node) peerInfo(m shoal.Member) PeerInfo {
	l := n.rooms.rpc.Link(m.ID)
	return PeerInfo{
		PeerID: m.ID, State: m.State, Addresses: m.Addresses, Attributes: m.Attributes, Load: m.Load,
		AgeS: max(0, time.Since(m.Seen).Seconds()), RTTms: l.RTT.Seconds() * 1e3, RateMBs: l.Rate / 1e6,
	}
}

// Status describes this node.
func (n *Node) Status() Status {
	r := n.rooms
	self := r.members.Self()
	members := 1
	for _, m := range r.members.Table() {
		if m.State == shoal.Alive || m.State == shoal.Suspect || m.State == shoal.Down {
			members++
		}
	}
	st := Status{
		PeerID: n.ID(), Fabric: r.members.Fabric(), Root: r.members.Root(), Addresses: r.host.Addresses(),
		Members: members, Connected: n.connected(), Version: Version, Dir: n.cfg.Dir, UptimeS: time.Since(n.begun).Seconds(),
		Attributes: self.Attributes, Load: n.load(), Devices: r.native.Devices(),
	}
	copies := r.data.Stats()
	st.Datasets, st.Unrestored, st.Lost, st.Restored = copies.Datasets, copies.Below, copies.Lost, copies.Repaired
	st.RestoreS = r.data.RestoreWithin().Seconds()
	st.Extra, st.ExtraBytes = r.data.Extras()
	for _, p := range r.members.Pending() {
		st.Pending = append(st.Pending, p.Peer)
	}
	return st
}

// connected counts the members with a connection.
func (n *Node) connected() (count int) {
	for _, p := range n.rooms.host.Connected() {
		if n.rooms.members.Known(p) {
			count++
		}
	}
	return count
}

// Traffic is what streams brought in, by what they carried, in bytes as the connections counted them.
type Traffic struct {
	Code   uint64 `json:"code"`   // modules
	Data   uint64 `json:"data"`   // inputs of tasks, and copies
	Result uint64 `json:"result"` // outputs of tasks
	Other  uint64 `json:"other"`  // calls, DHT, gossip, ...
}

// Plus returns the sum.
func (t Traffic) Plus(u Traffic) Traffic {
	return Traffic{t.Code + u.Code, t.Data + u.Data, t.Result + u.Result, t.Other + u.Other}
}

// Minus returns the difference to an earlier reading; a node that is gone since counts as nothing.
func (t Traffic) Minus(u Traffic) Traffic {
	sub := func(a, b uint64) uint64 { return a - min(a, b) }
	return Traffic{sub(t.Code, u.Code), sub(t.Data, u.Data), sub(t.Result, u.Result), sub(t.Other, u.Other)}
}

// Traffic returns the counters of this node's host since it started. Members copy blocks to each
// other on streams named by what these carry; bitswap counts as data.
func (n *Node) Traffic() (t Traffic) {
	for protocol, c := range n.rooms.host.Traffic() {
		in := uint64(max(c.In, 0))
		switch {
		case strings.Contains(protocol, "/stream/code."):
			t.Code += in
		case strings.Contains(protocol, "/stream/data."), strings.Contains(protocol, "/bitswap"):
			t.Data += in
		case strings.Contains(protocol, "/stream/result."):
			t.Result += in
		default:
			t.Other += in
		}
	}
	return t
}
