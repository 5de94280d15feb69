package group

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the stories' transcripts anew")

// TestStories plays testdata/*.txt: each command, up to a line "----", is followed by what happened.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d stories: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			s := &story{}
			for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				commands, _, played := strings.Cut(block, "\n----")
				out.WriteString(commands + "\n")
				if !played && strings.HasPrefix(commands, "#") {
					out.WriteString("\n") // a remark
					continue
				}
				out.WriteString("----\n")
				for _, line := range strings.Split(commands, "\n") {
					if !strings.HasPrefix(line, "#") {
						out.WriteString(s.do(line))
					}
				}
				out.WriteString("\n")
			}
			got := strings.TrimSpace(out.String()) + "\n"
			if s.w.check.broken != "" {
				t.Errorf("%s: %s", s.w.check.broken, s.w.check.detail)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(text) && !*update {
				t.Errorf("it went differently (-update writes it anew):\n%s", got)
			}
		})
	}
}

// TestRulesOfStories plays stories with a rule switched off that schedules break too rarely.
func TestRulesOfStories(t *testing.T) {
	for rule, c := range map[string]struct {
		file string
		story
	}{
		"an older generation is sealed": {"heal", story{off: switches{noSeal: true}}},
		"a promise outlives eviction":   {"promise", story{off: switches{noReload: true}}},
		"a node that starts waits":      {"promise", story{off: switches{noBoot: true}}},
		"removal leaves a note":         {"late", story{hand: handSwitches{noTombstone: true}}},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", c.file+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "\n\n") {
			commands, _, played := strings.Cut(block, "\n----")
			for _, line := range strings.Split(commands, "\n") {
				if played && !strings.HasPrefix(line, "#") {
					c.do(line)
				}
			}
		}
		if c.w.check.broken == "" {
			t.Errorf("nobody noticed that it was off: %s", rule)
		}
		t.Logf("%s: %s: %s", rule, c.w.check.broken, c.w.check.detail)
	}
}

// story is a calm world in which somebody does one thing after another.
type story struct {
	w        *world
	off      switches
	hand     handSwitches
	kept     rec
	messages bool
	out      strings.Builder
	requests uint64
}

// do plays one command and returns what happened.
func (s *story) do(line string) string {
	s.out.Reset()
	w := strings.Fields(line)
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	switch w[0] {
	case "create": // create NODES KEEPERS
		s.w = build(1, s.number(arg(1)), 1, s.number(arg(2)), true)
		s.w.off, s.w.hand = s.off, s.hand
		s.w.lines = func(l string) {
			if s.messages || !strings.Contains(l, " from ") {
				s.out.WriteString(l + "\n")
			}
		}
	case "messages":
		s.messages = arg(1) == "on"
	case "run":
		d, err := time.ParseDuration(arg(1))
		s.err(err)
		s.w.run(s.w.now.Add(d))
	case "status":
		s.status()
	default:
		s.act(w[0], s.w.node(shoalPeer(arg(1))), w[min(2, len(w)):])
	}
	return s.out.String()
}

// act has a node do something.
func (s *story) act(verb string, n *node, args []string) {
	var m *member
	if n.up {
		m = n.load(0)
	}
	say := func(format string, a ...any) { fmt.Fprintf(&s.out, format+"\n", a...) }
	switch verb {
	case "campaign":
		s.err(m.g.Campaign(n.local()))
	case "turn":
		s.requests++
		req := s.requests
		n.writeTurn(0, req, func() { s.w.log("turn %d is acknowledged", req) }, func(p shoalPeer) { say("it lives on '%s'", p) })
	case "read":
		say("under a lease: %v", m.g.Read(n.local()))
		m.probe()
	case "quorum-read":
		_, err := m.g.ReadIndex(n.local())
		s.err(err)
	case "crash":
		n.stop()
	case "start":
		n.start()
	case "pause":
		d, err := time.ParseDuration(args[0])
		s.err(err)
		n.pause(d)
	case "wipe":
		n.stop()
		n.replaceStore()
		n.start()
	case "damage":
		n.stop()
		n.disk.live[0].bad, n.disk.durable[0].bad = true, true
		n.start()
	case "cut", "join":
		for j := range s.w.nodes {
			if j != n.id && (len(args) == 0 || slices.Contains(args, string(s.w.nodes[j].peer))) {
				s.w.cut[n.id][j], s.w.cut[j][n.id] = verb == "cut", verb == "cut"
			}
		}
	case "learn":
		s.err(m.g.Change(n.local(), Change{Learn: []Keeper{s.w.node(shoalPeer(args[0])).keeper()}}))
	case "swap": // swap NODE IN OUT
		s.err(m.g.Change(n.local(), Change{Promote: []uint64{uint64(s.number(args[0]))}, Remove: []uint64{uint64(s.number(args[1]))}}))
	case "transfer":
		s.err(m.g.Transfer(n.local(), uint64(s.number(args[0]))))
	case "evict":
		m.drop()
		return
	case "keep":
		s.kept = n.disk.live[0]
	case "late":
		n.take(0, Member{ID: uint64(s.number(args[0])), Keeper: n.keeper()}, s.kept, func(uint64) {})
	case "sleep":
		s.err(m.g.Sleep(n.local()))
		m.settle()
		m.drop()
		return
	case "recover": // the owner's last resort
		old := n.disk.live[0]
		m.drop()
		next, err := old.stored().Recovered(old.gen+1, n.keeper())
		s.err(err)
		self, _ := next.Self(n.keeper())
		s.w.check.hasState(0, self)
		s.w.check.recovered(0, next)
		n.disk.write(0, func(r *rec) { *r = recOf(next, self, old.state) })
		n.disk.flush()
		return
	default:
		s.err(fmt.Errorf("unknown verb %s", verb))
	}
	if m != nil && !m.closed {
		m.settle()
	}
}

func (s *story) err(err error) {
	if err != nil {
		s.out.WriteString(err.Error() + "\n")
	}
}

func (s *story) number(text string) int {
	n, err := strconv.Atoi(text)
	s.err(err)
	return n
}

func (s *story) status() {
	for _, n := range s.w.nodes {
		r := &n.disk.live[0]
		fmt.Fprintf(&s.out, "%s: ", n.peer)
		switch m := n.open[0]; {
		case !n.up:
			s.out.WriteString("down\n")
		case !r.have:
			s.out.WriteString("has nothing\n")
		case m == nil:
			fmt.Fprintf(&s.out, "asleep, member %d, %d turns\n", r.self, len(r.state))
		default:
			x := m.g.Status()
			fmt.Fprintf(&s.out, "member %d, epoch %d, leading %v, leader %d, applied %d of %d, %d turns, members", r.self, x.Epoch, x.Leading,
				x.Leader.ID, x.Applied, x.Last, len(r.state))
			for _, k := range x.Conf.Members {
				fmt.Fprintf(&s.out, " %d:%s/%s", k.ID, k.Peer, [...]string{"voter", "learner", "incoming", "outgoing"}[k.Role])
			}
			if x.Sealed > 0 {
				fmt.Fprintf(&s.out, ", sealed by generation %d", x.Sealed)
			}
			s.out.WriteString("\n")
		}
	}
}
