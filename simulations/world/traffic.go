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
	case "agents", "services", "state":
		return report.ByAgents
	case "members":
		return report.ByMembers
	case "pubsub", "cast", "topics":
		return report.ByTopics
	case "data":
		return report.ByData
	}
	return report.ByOther
}

// traffic says how many bytes crossed links since the load began.
func (w *world) traffic(r *report.Run) {
	r.Bytes = map[string]uint64{}
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
			for k, part := range w.tally.calledOf {
				x := min(uint64(float64(n)*float64(part)/float64(max(said, 1))), left)
				r.Bytes[k] += x
				left -= x
			}
			n = left
		}
		r.Bytes[kind(p)] += n
	}
	f := r.Figures
	if r.Simulated > 0 {
		f["bytes_per_node_hour"] = float64(total) / float64(r.Nodes) / r.Simulated * 3600
	}
	if _, tasks := f["tasks"]; tasks {
		moved := r.Bytes[report.ByData] + r.Bytes[report.ByCode]
		f["moved_bytes"] = float64(moved - min(w.tally.spent.Repair, moved)) // the rest was for tasks
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
