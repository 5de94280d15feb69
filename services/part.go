package services

import (
	"maps"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// state is what this host says of itself.
func (h *host) state() state {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stateLocked(time.Now())
}

// stateLocked is state. The lock is held.
func (h *host) stateLocked(now time.Time) state {
	at := h.here(now)
	st := state{Instances: at.Open + at.Opening, Busy: at.Busy, Waiting: at.Waiting, Each: at.Each.Microseconds(), Full: at.Room == 0}
	if most := h.spec.Max; most > 0 && h.elsewhere(now).Instances+st.Instances >= most {
		st.Full = true
	}
	return st
}

// hear remembers what is told of other hosts.
func (h *host) hear(list []told) {
	if len(list) == 0 {
		return
	}
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range list[:min(len(list), maxTold)] {
		at := t.when(now)
		if t.Peer == h.s.self || at.Before(h.others[t.Peer].at) {
			continue
		}
		h.others[t.Peer] = heard{t.State.sane(), at}
	}
	for p, o := range h.others {
		if now.Sub(o.at) > 2*fresh {
			delete(h.others, p)
		}
	}
}

// tell lists the other hosts of which something was heard of late.
func (h *host) tell() (list []told) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, p := range slices.Sorted(maps.Keys(h.others)) {
		if o := h.others[p]; now.Sub(o.at) < fresh && o.state.Instances > 0 && len(list) < maxTold {
			list = append(list, told{p, o.state, now.Sub(o.at).Milliseconds()})
		}
	}
	return list
}

func (h *host) isGone() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gone
}

// roomLeft says why this host can add no instance; nil if it can.
func (h *host) roomLeft() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch {
	case h.gone:
		return errGone(h.spec.Name)
	case now.Before(h.until):
		return h.failed
	case h.stateLocked(now).Full:
		return shoal.E(shoal.Overloaded, "", "it has as many instances as it can", "")
	}
	return nil
}

// eachOf is what a call takes of an implementation here, in microseconds; 0: unknown.
func (h *host) eachOf(kind string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(h.each[kind] * 1e6)
}

// add opens up to n instances, as far as there is room.
func (h *host) add(kind string, n int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.gone {
		return errGone(h.spec.Name)
	}
	if now.Before(h.until) {
		return h.failed
	}
	at := h.here(now)
	all := at.Open + at.Opening
	n = min(n, at.Room)
	if h.spec.Max > 0 {
		n = min(n, h.spec.Max-h.elsewhere(now).Instances-all)
	}
	if n <= 0 {
		return full("open an instance of " + h.spec.Name)
	}
	h.used = now
	h.scale.Opened(now.Sub(h.s.begun), all+n)
	for range n {
		if kind != "" && h.s.room(h.spec, kind) != nil {
			kind = ""
		}
		h.open(cmpKind(kind, h.choose))
	}
	return nil
}

// beginning reports whether instances are being opened, and if not, why none could be.
func (h *host) beginning() (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.beginningLocked() > 0 {
		return true, nil
	}
	if len(h.workers) == 0 && h.failed != nil {
		return false, h.failed
	}
	return false, nil
}
