package rpc

import (
	"sync"
	"time"
)

// Link is what a node has measured of the way to a peer. Zero means not measured yet.
type Link struct {
	RTT  time.Duration // smoothed round trip of small calls, without the handler's time
	Rate float64       // smoothed rate of large streams in either direction, bytes/s
	At   time.Time     // when either was last measured

	Probed bool // Rate is that of a probe: no large stream has crossed it yet
}

const (
	rttWeight   = 1.0 / 8
	rateWeight  = 1.0 / 4
	smallBody   = 4 << 10  // a call with larger bodies says little about the round trip
	rateBytes   = fullSize // a run of less says little about the rate; a block of 256 KiB is a full record and a rest
	samplePause = 8 << 20  // a long stream is sampled this often
)

// meter holds a Link.
type meter struct {
	mu   sync.Mutex
	link Link
}

func (m *meter) get() Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.link
}

func (m *meter) roundTrip(d time.Duration, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d = max(d, time.Microsecond)
	if m.link.RTT == 0 {
		m.link.RTT = d
	} else {
		m.link.RTT += time.Duration(rttWeight * float64(d-m.link.RTT))
	}
	m.link.At = now
}

func (m *meter) moved(bytes int64, d time.Duration, now time.Time) {
	if bytes < rateBytes || d <= 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	rate := float64(bytes) / d.Seconds()
	if m.link.Rate == 0 || m.link.Probed {
		m.link.Rate, m.link.Probed = rate, false
	} else {
		m.link.Rate += rateWeight * (rate - m.link.Rate)
	}
	m.link.At = now
}

// flow measures one direction of a stream at its receiver. Only runs of full chunks count: the
// sender had all of such a chunk ready, so what took time was the way, or the receiver itself.
type flow struct {
	meter *meter
	start time.Time // of the run; zero outside one
	bytes int64     // of the run
	told  struct {  // of all runs, for the sender
		bytes int64
		time  time.Duration
	}
}

// begin is called when a chunk's header has been read.
func (f *flow) begin(chunk int) {
	switch {
	case chunk < partSize:
		f.finish()
	case f.start.IsZero():
		f.start = time.Now()
	}
}

// done is called when all of a chunk has been read.
func (f *flow) done(chunk int) {
	if f.start.IsZero() {
		return
	}
	if f.bytes += int64(chunk); f.bytes >= samplePause {
		f.finish()
		f.start = time.Now()
	}
}

// finish ends a run.
func (f *flow) finish() {
	if f.start.IsZero() || f.bytes == 0 {
		f.start = time.Time{}
		return
	}
	now := time.Now()
	d := now.Sub(f.start)
	f.meter.moved(f.bytes, d, now)
	f.told.bytes += f.bytes
	f.told.time += d
	f.start, f.bytes = time.Time{}, 0
}
