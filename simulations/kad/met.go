package kad

import "time"

// acquaintances are the pairs of nodes that showed each other their credentials, as room members remembers them: who meets again within
// Trust is not asked at the door anew. A node that went down remembers nobody.
type acquaintances map[uint64]acquaintance

type acquaintance struct {
	at    time.Duration
	lives uint16 // of both, as they were
}

const (
	trust   = 10 * time.Minute // members.Config.Trust
	mostMet = 1 << 20          // pairs; more, and all are forgotten
)

// pair is the same for a, b and b, a.
func (l *Links) pair(a, b uint32) (key uint64, lives uint16) {
	a, b = min(a, b), max(a, b)
	return uint64(a)<<32 | uint64(b), uint16(l.ends[a].life)<<8 | uint16(l.ends[b].life)
}

// meet notes that two have met, if it is remembered at all: with Keep.
func (l *Links) meet(a, b uint32) {
	if l.now == nil {
		return
	}
	if l.met == nil || len(l.met) >= mostMet {
		l.met = acquaintances{}
	}
	key, lives := l.pair(a, b)
	l.met[key] = acquaintance{l.now(), lives}
}

// Met reports whether a and b know each other's credentials from a connection before.
func (l *Links) Met(a, b uint32) bool {
	if l.now == nil {
		return false
	}
	key, lives := l.pair(a, b)
	x, ok := l.met[key]
	return ok && x.lives == lives && l.now()-x.at < trust
}
