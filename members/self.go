package members

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

// signed is what this node last said of itself.
type signed struct {
	at        time.Time
	addresses []string
	load      shoal.Load
}

// addresses returns where this node can be reached: without /p2p, and without loopback unless there
// is nothing else, as on a machine without a network or in a test.
func (m *Members) addresses() []string {
	var out, loop []string
	for _, a := range m.net.Addresses() {
		if i := strings.LastIndex(a, "/p2p/"); i >= 0 && !strings.Contains(a[i:], "/p2p-circuit") {
			a = a[:i]
		}
		switch {
		case strings.HasPrefix(a, "/ip4/127.") || strings.HasPrefix(a, "/ip6/::1/"):
			loop = append(loop, a)
		default:
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		out = loop
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), 32)]
}

// beat is the time between records that say nothing new, and load that between records of changed
// load, for a fabric of n members: the larger it is the rarer, so that each node hears of about ten
// idle members, or fifty busy ones, in a second.
func (m *Members) beat(n int) time.Duration {
	return min(max(m.cfg.Beat, time.Duration(n)*m.cfg.Beat/100), 60*m.cfg.Beat)
}

func (m *Members) loadEvery(n int) time.Duration {
	return max(m.cfg.LoadEvery, time.Duration(n)*m.cfg.LoadEvery/100)
}

// due reports whether this node should say anew how it is.
func (m *Members) due(load shoal.Load, addresses []string, now time.Time) bool {
	since := now.Sub(m.signed.at)
	switch {
	case m.signed.at.IsZero(), since >= m.beat(m.view.Count()):
		return true
	case since < m.loadEvery(m.view.Count()):
		return false
	}
	return m.view.Outdone() > 0 || differ(load, m.signed.load) || !slices.Equal(addresses, m.signed.addresses)
}

// differ reports whether a load is another in a way that matters to others: counts, or a twentieth
// of a size.
func differ(a, b shoal.Load) bool {
	far := func(x, y float64) bool { return x != y && (x > y*1.05 || y > x*1.05) }
	return a.Slots != b.Slots || a.Running != b.Running || a.Queued != b.Queued || far(a.TaskSecs, b.TaskSecs) ||
		far(float64(a.DiskFree), float64(b.DiskFree)) || far(float64(a.HeldBytes), float64(b.HeldBytes)) ||
		!slices.EqualFunc(a.GPUs, b.GPUs, func(x, y shoal.GPULoad) bool {
			return x.ID == y.ID && !far(float64(x.Free), float64(y.Free))
		})
}

// refresh signs a new record if one is due. Load and addresses are asked outside the lock: what they
// wait for may be waiting for this room.
func (m *Members) refresh() {
	load, addresses := m.cfg.Load(), m.addresses()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.standing() != nil {
		return
	}
	if now := m.now(); m.due(load, addresses, now) {
		m.signed.load = load
		m.sign(addresses, now)
	}
}

// sign makes this node's next record, from the load last noted. Sequence numbers are reserved on disk
// before use, so they grow over restarts whatever the clock does.
func (m *Members) sign(addresses []string, now time.Time) {
	seq := max(m.seq, m.view.Outdone()) + 1
	if m.view.Outdone() > 0 && !m.copied {
		m.copied = true
		m.cfg.Log.Warn("members: others know records of this node that it did not make; " +
			"was its directory restored or copied? two nodes must not share one")
	}
	if seq >= m.ceiling {
		next := seq + seqBlock
		if err := m.kv.Set(seqKey, strconv.AppendUint(nil, next, 10)); err != nil {
			m.cfg.Log.Warn("members: cannot reserve sequence numbers", "error", err)
			return
		}
		m.ceiling = next
	}
	ttl := 3 * m.beat(m.view.Count())
	r := view.Record{
		Fabric: m.st.Fabric, Life: m.life, Seq: seq, At: now.UnixMilli(),
		TTL: uint32(max(5, (ttl+time.Second-1)/time.Second)), Addresses: addresses,
		Attributes: m.cfg.Attributes, Load: m.signed.load,
	}
	env, err := r.Seal(m.cfg.Key)
	if err != nil {
		m.cfg.Log.Error("members: cannot sign this node's record", "error", err)
		return
	}
	m.seq, m.signed.at, m.signed.addresses = seq, now, addresses
	m.view.SetSelf(r, env, now)
}

// Signed returns what this node last said of itself, and the record that says so, sealed, in canonical
// encoding, for stores outside of this room. It is nil while the node is no member.
func (m *Members) Signed() (shoal.Member, []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.standing() != nil {
		return shoal.Member{}, nil
	}
	now := m.now()
	it, ok := m.view.Item(m.self, now)
	if !ok {
		return shoal.Member{}, nil
	}
	row, _ := m.view.Lookup(m.self, now)
	return row, wire.Marshal(it.Fact)
}

// SetAttributes has this node say at once that its machine is another: a device came or went.
func (m *Members) SetAttributes(a shoal.Attributes) {
	addresses := m.addresses()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cfg.Attributes = a
	if m.standing() == nil {
		m.sign(addresses, m.now())
		m.stir()
	}
}
