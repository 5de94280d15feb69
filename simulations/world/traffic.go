package world

import (
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/simulations/report"
)

// kind says what a protocol's streams carry; "": calls of many kinds.
func kind(protocol string) string {
	for _, k := range [][2]string{
		{"/stream/data.", report.ByData},
		{"/bitswap", report.ByData},
		{"/stream/code.", report.ByCode},
		{"/stream/result.", report.ByResults},
		{"/stream/agents.", report.ByAgents},
		{"/stream/topics.", report.ByTopics},
		{"/stream/cast", report.ByTopics},
		{"/meshsub", report.ByTopics},
		{"/floodsub", report.ByTopics},
		{"/gossip", report.ByTopics},
		{"/kad/", report.ByDHT},
		{"/door", report.ByMembers},
	} {
		if strings.Contains(protocol, k[0]) {
			return k[1]
		}
	}
	return report.ByOther
}

// callKind says what a call is about.
func callKind(method string) string {
	room, _, _ := strings.Cut(method, ".")
	switch room {
	case "agents", "services":
		return report.ByAgents
	case "members":
		return report.ByMembers
	case "pubsub", "cast", "topics":
		return report.ByTopics
	}
	return report.ByOther
}

// short is a protocol without the fabric's name and the version: stream/data.get, kad.
func short(protocol string) string {
	p := strings.TrimPrefix(protocol, "/shoal/")
	if p != protocol {
		if _, rest, ok := strings.Cut(p, "/"); ok {
			p = rest
		}
	}
	p = strings.Trim(p, "/")
	if head, tail, ok := cutLast(p, "/"); ok && tail != "" && tail[0] >= '0' && tail[0] <= '9' {
		p = head
	}
	return p
}

func cutLast(s, sep string) (head, tail string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// traffic says how many bytes crossed links since the load began.
func (w *world) traffic(r *report.Run) {
	r.Bytes, r.Said = map[string]uint64{}, map[string]uint64{}
	for _, k := range report.Kinds {
		r.Bytes[k] = 0
	}
	total := uint64(0)
	for p, b := range w.tally.bytes {
		was := w.tally.base[p]
		n := b.Asked + b.Answered - was.Asked - was.Answered
		total += n
		if strings.HasSuffix(p, "/rpc/1") { // calls share streams: their frames are shared out as what was said in them is
			said := uint64(0)
			for _, k := range w.tally.calledOf {
				said += k
			}
			left := n
			for method, part := range w.tally.calledOf {
				x := min(uint64(float64(n)*float64(part)/float64(max(said, 1))), left)
				r.Bytes[callKind(method)] += x
				r.Said[method] += x
				left -= x
			}
			n = left
		}
		if n > 0 {
			r.Bytes[kind(p)] += n
			r.Said[short(p)] += n
		}
	}
	f := r.Figures
	if r.Simulated > 0 {
		hours := float64(r.Nodes) * r.Simulated / 3600
		f["bytes_per_node_hour"] = float64(total) / hours
		f["connections_per_node_hour"] = float64(w.net.Stats().Opened-w.tally.atZero.Opened) / hours
	}
	if _, tasks := f["tasks"]; tasks {
		f["moved_bytes"] = float64(w.tally.wanted)
	}
}

// upSince returns since when a machine has been up, zero if it is down.
func (w *world) upSince(machine int) time.Time {
	m := w.machines[machine]
	n := m.live.Load()
	if n == nil {
		return time.Time{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.lives[n]; l != nil {
		return l.since
	}
	return time.Time{}
}
