package main

import (
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/shoal-fabric/shoal/api"
)

// meter shows progress events as a bar, on a terminal, once a verb has taken a second.
type meter struct {
	s     *shell
	begun time.Time
	phase string
	bar   *progressbar.ProgressBar
}

func (s *shell) meter() *meter { return &meter{s: s, begun: time.Now()} }

// on takes an event; those that are no progress are left to the caller.
func (m *meter) on(e api.Event) {
	switch {
	case e.Type == "note":
		m.clear()
		m.s.note("%s", e.Text)
		return
	case e.Progress == nil || m.s.json || !onTerminal(m.s.errs) || time.Since(m.begun) < time.Second:
		return
	}
	p := e.Progress
	total := p.Total
	if total <= 0 {
		total = -1
	}
	if m.bar == nil || m.phase != p.Phase {
		m.clear()
		m.phase = p.Phase
		m.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(m.s.errs),
			progressbar.OptionSetDescription(p.Phase),
			progressbar.OptionShowBytes(p.Unit == "bytes"),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(24),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
	}
	if total > 0 && m.bar.GetMax64() != total {
		m.bar.ChangeMax64(total)
	}
	_ = m.bar.Set64(p.Done)
}

func (m *meter) clear() {
	if m.bar != nil {
		_ = m.bar.Clear()
		m.bar = nil
	}
}
