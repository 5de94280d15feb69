package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/plans"
)

// story tells the demo in 80 columns. A nil writer keeps it silent.
type story struct {
	w     io.Writer
	live  bool // w is a terminal: progress may overwrite a line
	begun time.Time
	last  time.Time // when the running line was last written
	width int       // of the running line, 0 for none
}

func (s *story) say(format string, args ...any) {
	if s.w != nil {
		s.clear()
		fmt.Fprintf(s.w, format+"\n", args...)
	}
}

// running overwrites one line with how far something is, at most ten times a second.
func (s *story) running(format string, args ...any) {
	if s.w == nil || !s.live || time.Since(s.last) < 100*time.Millisecond {
		return
	}
	s.last = time.Now()
	line := fmt.Sprintf(format, args...)
	if len(line) > 78 {
		line = line[:78]
	}
	fmt.Fprintf(s.w, "\r%-*s", s.width, line)
	s.width = len(line)
}

func (s *story) clear() {
	if s.w != nil && s.width > 0 {
		fmt.Fprintf(s.w, "\r%*s\r", s.width, "")
		s.width = 0
	}
}

func (s *story) title() {
	s.begun = time.Now()
	s.say("Shoal: five nodes in one process, each with its own identity, directory and")
	s.say("sockets. They count the words of a folder, three times.")
	s.say("")
	s.running("starting five nodes ...")
}

func (s *story) launched(f *fleet) {
	s.say("1. Five nodes found one fabric (%.1f s)", time.Since(s.begun).Seconds())
	for i, n := range f.nodes {
		s.say("   node %d  %s", i, n.ID())
	}
}

func (s *story) putting(p data.Progress) {
	s.running("   putting: %s of %s", size(uint64(p.Done)), size(uint64(p.Total)))
}

func (s *story) spread(path string, res data.PutResult, f *fleet) {
	m := res.Manifest
	s.say("")
	s.say("2. put %s", short(path, 70))
	s.say("   %s in %d partitions, 2 copies of each, spread over the five:", size(m.Bytes), len(m.Partitions))
	var stored uint64
	for _, h := range res.Holders {
		stored += h.Bytes
	}
	for _, h := range res.Holders {
		share := 100 * float64(h.Bytes) / float64(max(stored, 1))
		s.say("   %s  %3d partitions  %9s  %3.0f %% of what is stored  %s", f.names[h.Peer], len(h.Partitions), size(h.Bytes), share,
			strings.Repeat("#", int(share/5)))
	}
}

func (s *story) task(e plans.Event) {
	s.running("   %d of %d tasks", e.Done, e.Total)
}

func (s *story) sideBySide(r Report) {
	s.say("")
	s.say("3. The same word count, twice: %d tasks, one per partition, and a reduce", r.Tasks)
	s.say("   %-30s %18s %18s", "", "program to data", "data to program")
	row := func(name, a, b string) { s.say("   %-30s %18s %18s", name, a, b) }
	row("seconds", fmt.Sprintf("%.2f", r.Seconds), fmt.Sprintf("%.2f", r.Shipped.Seconds))
	row("bytes of code moved", size(r.CodeMoved), size(r.Shipped.CodeMoved))
	row("bytes of data moved", size(r.DataMoved), size(r.Shipped.DataMoved))
	row("bytes of results moved", size(r.ResultMoved), size(r.Shipped.ResultMoved))
	row("tasks that ran on a holder", fmt.Sprintf("%d of %d", r.OnHolders, r.Tasks), fmt.Sprintf("%d of %d", r.Shipped.OnHolders, r.Shipped.Tasks))
	s.say("   All of it on one machine: between real ones the bytes cost more.")
}

func (s *story) survived(r Report) {
	k := r.AfterKill
	s.say("")
	s.say("6. Once more, and a node is killed half-way")
	if k.KilledMidJob {
		s.say("   %s was killed after %d of %d tasks, with %d pending on it", k.Killed, k.DoneBefore, k.Tasks, k.Pending)
	} else {
		s.say("   the job was over before a node could be killed: try a larger folder")
	}
	s.say("   %d of %d tasks completed in %.2f s; %d ran again elsewhere", k.Completed, k.Tasks, k.Seconds, k.Retries)
}

func (s *story) verdict(r Report) {
	s.say("")
	if r.Output == r.Shipped.Output && r.Output == r.AfterKill.Output {
		s.say("One result, three times:")
		s.say("   %s", r.Output)
	} else {
		s.say("The results DIFFER: %s", r.Output)
		s.say("  shipped: %s", r.Shipped.Output)
		s.say("  killed:  %s", r.AfterKill.Output)
	}
	for i, why := range r.WhyNot {
		if i == 0 {
			s.say("Not everything is as it should be:")
		}
		s.say("   %s", short(why, 76))
	}
	s.say("Next: 'shoal up' on two machines; the README has the rest.")
}

func size(n uint64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// short keeps the end of a path.
func short(path string, n int) string {
	if len(path) <= n {
		return path
	}
	return "..." + path[len(path)-n+3:]
}
