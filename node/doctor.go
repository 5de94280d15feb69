package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Levels of a finding.
const (
	Fine    = "ok"
	Warning = "warning"
	Fault   = "fault"
)

// Finding is one thing that doctor looked at.
type Finding struct {
	Level string `json:"level"`
	What  string `json:"what"`
	Why   string `json:"why"`
	Try   string `json:"try,omitempty"`
}

// Bounds that doctor holds facts against.
const (
	skewWarn  = 30 * time.Second
	skewFault = 5 * time.Minute
	diskWarn  = 2 << 30   // bytes
	diskFault = 200 << 20 // bytes
)

// Doctor looks for faults of this node. It takes a few seconds when peers do not answer.
func (n *Node) Doctor(ctx context.Context) []Finding {
	var out []Finding
	for _, look := range []func(context.Context) []Finding{
		n.lookMembership, n.lookAddresses, n.lookPeers, n.lookClock, n.lookDisk, n.lookDirectory, n.lookCopies, n.lookInPlace,
	} {
		out = append(out, look(ctx)...)
	}
	return out
}

func one(level, what, why, try string) []Finding { return []Finding{{level, what, why, try}} }

func (n *Node) lookMembership(context.Context) []Finding {
	if err := n.rooms.members.Standing(); err != nil {
		return one(Fault, "membership", err.Error(), "")
	}
	return one(Fine, "membership", "member of fabric "+n.rooms.members.Fabric(), "")
}

func (n *Node) lookAddresses(context.Context) []Finding {
	addrs := n.rooms.host.Addresses()
	if len(addrs) == 0 {
		return one(Fault, "addresses", "no listening address", "give one with 'shoal up --listen'; see the log for why the default failed")
	}
	open := slices.IndexFunc(addrs, func(a string) bool {
		return !strings.HasPrefix(a, "/ip4/127.") && !strings.HasPrefix(a, "/ip6/::1/")
	})
	if open < 0 {
		return one(Warning, "addresses", "this node listens on loopback only: no other machine can reach it",
			"start it without --listen 127.0.0.1 to reach others")
	}
	return one(Fine, "addresses", fmt.Sprintf("%d, the first is %s", len(addrs), addrs[0]), "")
}

func (n *Node) lookPeers(ctx context.Context) []Finding {
	table := n.rooms.members.Table()
	if len(table) == 0 {
		return one(Warning, "members", "no members but this node: what it keeps exists once",
			"let another machine join: 'shoal invite'")
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var wait sync.WaitGroup
	errs := make([]error, len(table))
	for i, m := range table {
		if n.rooms.host.IsConnected(m.ID) || len(table) > 64 && m.State == shoal.Alive {
			continue
		}
		wait.Go(func() { errs[i] = n.connect(ctx, m.ID) })
	}
	wait.Wait()
	var out []Finding
	reached := 0
	for i, m := range table {
		if errs[i] == nil {
			reached++
			continue
		}
		out = append(out, Finding{
			Warning, "peer " + m.ID.Short(), fmt.Sprintf("unreachable, last heard of %s ago: %s", time.Since(m.Seen).Round(time.Second), oneLine(errs[i])),
			"check that it runs and that no firewall is between; 'shoal forget " + m.ID.Short() + "' if it will not return",
		})
	}
	if reached == 0 {
		return append(one(Fault, "members", fmt.Sprintf("none of %d other members can be reached", len(table)),
			"check this machine's network"), out...)
	}
	return append(one(Fine, "members", fmt.Sprintf("%d of %d others reached", reached, len(table)), ""), out...)
}

// oneLine tells why something failed, in one line: what failed is clear, and a list of addresses, each with
// its error, is one line in itself.
func oneLine(err error) string {
	text := err.Error()
	if e := (*shoal.Error)(nil); errors.As(err, &e) && e.Why != "" {
		text = e.Why
	}
	head, list, _ := strings.Cut(text, "\n")
	for i, line := range strings.Split(list, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if head += " "; i > 0 {
			head = strings.TrimSuffix(head, " ") + "; "
		}
		head += line
	}
	return strings.TrimSuffix(head, ":")
}

// lookClock compares clocks: when most peers differ in the same sense, it is ours that is off.
func (n *Node) lookClock(context.Context) []Finding {
	var skews []time.Duration
	for _, d := range n.rooms.members.Skew() {
		skews = append(skews, d)
	}
	if len(skews) == 0 {
		return nil
	}
	slices.Sort(skews)
	mid := skews[len(skews)/2]
	text := fmt.Sprintf("differs from the other members' by about %s", mid.Abs().Round(time.Second))
	switch {
	case mid.Abs() >= skewFault:
		return one(Fault, "clock", text, "set this machine's clock, e.g. with NTP: invites and records carry times")
	case mid.Abs() >= skewWarn:
		return one(Warning, "clock", text, "set this machine's clock, e.g. with NTP")
	}
	return one(Fine, "clock", "agrees with the other members'", "")
}

func (n *Node) lookDisk(context.Context) []Finding {
	free, err := n.rooms.disk.Free()
	return diskFinding(n.cfg.Dir, free, err)
}

func diskFinding(dir string, free uint64, err error) []Finding {
	switch {
	case err != nil:
		return one(Fault, "disk", err.Error(), "check the file system of "+dir)
	case free < diskFault:
		return one(Fault, "disk", "full: "+mib(free)+" free in "+dir, "free some space, or 'shoal gc'; reads go on, writes are refused")
	case free < diskWarn:
		return one(Warning, "disk", "nearly full: "+mib(free)+" free in "+dir, "free some space, or 'shoal gc'")
	}
	return one(Fine, "disk", mib(free)+" free", "")
}

func mib(b uint64) string { return fmt.Sprintf("%d MiB", b>>20) }

func (n *Node) lookDirectory(context.Context) []Finding {
	peers, connected := len(n.rooms.dht.Peers()), len(n.rooms.host.Connected())
	if peers == 0 && connected > 0 {
		return one(Fault, "directory", "the DHT's routing table is empty though peers are connected", "restart the node, and report this")
	}
	return one(Fine, "directory", fmt.Sprintf("%d peers in the routing table", peers), "")
}

func (n *Node) lookCopies(context.Context) []Finding {
	if lost := n.rooms.data.Stats().Below; lost > 0 {
		return one(Warning, "copies", fmt.Sprintf("%d copies of partitions are missing", lost),
			"add a machine, or start one that is down")
	}
	return nil
}

// lookInPlace looks for files that were put in place and have changed since.
func (n *Node) lookInPlace(ctx context.Context) []Finding {
	names, bad, files, err := n.rooms.disk.Changed(ctx, 5)
	switch {
	case err != nil:
		return one(Warning, "files in place", err.Error(), "")
	case files == 0:
		return nil
	case bad == 0:
		return one(Fine, "files in place", fmt.Sprintf("%d, unchanged", files), "")
	}
	why := fmt.Sprintf("%d of %d changed or are gone: %s", bad, files, strings.Join(names, ", "))
	if bad > len(names) {
		why += ", ..."
	}
	return one(Warning, "files in place", why, "put them again, or 'shoal unpin' the datasets they belonged to and 'shoal gc'")
}
