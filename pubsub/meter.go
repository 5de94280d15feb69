package pubsub

import "time"

// meterSeconds is over how long a rate is measured.
const meterSeconds = 10

// meter counts what happened in each of the last seconds. Its user holds a lock.
type meter struct {
	second int64 // that is being counted, since 1970
	n      [meterSeconds + 1]uint64
}

func (m *meter) move(now time.Time) int64 {
	s := now.Unix()
	for gone := min(s-m.second, int64(len(m.n))); gone > 0; gone-- {
		m.n[(s-gone+1)%int64(len(m.n))] = 0
	}
	m.second = max(m.second, s)
	return m.second
}

// add counts n more.
func (m *meter) add(now time.Time, n uint64) { m.n[m.move(now)%int64(len(m.n))] += n }

// rate is how many there were a second, in the last seconds that are over.
func (m *meter) rate(now time.Time) float64 {
	at := m.move(now) % int64(len(m.n))
	var sum uint64
	for i, n := range m.n {
		if int64(i) != at {
			sum += n
		}
	}
	return float64(sum) / meterSeconds
}
