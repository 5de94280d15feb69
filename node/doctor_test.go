package node

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// says returns the finding on what, which must be there.
func says(t *testing.T, list []Finding, what string) Finding {
	t.Helper()
	i := slices.IndexFunc(list, func(f Finding) bool { return f.What == what })
	if i < 0 {
		t.Fatalf("doctor says nothing of %s: %+v", what, list)
	}
	return list[i]
}

// wants checks a finding: its level, and words in what it says.
func wants(t *testing.T, f Finding, level string, words ...string) {
	t.Helper()
	text := f.Why + ": " + f.Try
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: %q does not say %q", f.What, text, w)
		}
	}
	if f.Level != level || (f.Try == "") != (level == Fine) || strings.Contains(text, "::") || strings.Contains(text, "\n") {
		t.Errorf("%s: %s %q, want %s in one line, with something to try if it is not fine", f.What, f.Level, text, level)
	}
}

func TestDoctorAlone(t *testing.T) {
	t.Parallel()
	n := nodes(t, 1, nil)[0]
	list := n.Doctor(t.Context())
	wants(t, says(t, list, "membership"), Fine, "member of fabric")
	wants(t, says(t, list, "addresses"), Warning, "loopback only")
	wants(t, says(t, list, "members"), Warning, "no members but this node", "shoal invite")
	wants(t, says(t, list, "directory"), Fine, "0 peers")
}

func TestDoctorWithoutAddress(t *testing.T) {
	t.Parallel()
	// A node that can be reached through relays only, before it has found one.
	n, err := Open(t.Context(), Config{Dir: t.TempDir(), Listen: []string{"/p2p-circuit"}, NoMDNS: true, Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	wants(t, says(t, n.Doctor(t.Context()), "addresses"), Fault, "no listening address", "--listen")
}

func TestDoctorUnreachable(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, func(i int, c *Config) {
		if i == 1 {
			c.Listen = []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0"}
		}
	})
	wants(t, says(t, ns[0].Doctor(t.Context()), "members"), Fine, "2 of 2")
	peer := "peer " + ns[1].ID().Short()
	addrs := ns[1].Status().Addresses
	ns[1].Kill()
	eventually(t, 20*time.Second, "the connection is gone", func() bool { return !ns[0].rooms.host.IsConnected(ns[1].ID()) })
	list := ns[0].Doctor(t.Context())
	wants(t, says(t, list, "members"), Fine, "1 of 2")
	f := says(t, list, peer)
	wants(t, f, Warning, "unreachable, last heard of", "none of its 2 addresses can be reached: /ip4/127.0.0.1/tcp/", "refused", "; /ip4/127.0.0.1/tcp/",
		"firewall", "shoal forget")
	for _, a := range addrs {
		bare, _, _ := strings.Cut(a, "/p2p/")
		if !strings.Contains(f.Why, bare) {
			t.Errorf("%q does not name %s", f.Why, bare)
		}
	}
	ns[2].Kill()
	eventually(t, 20*time.Second, "the connection is gone", func() bool { return !ns[0].rooms.host.IsConnected(ns[2].ID()) })
	wants(t, says(t, ns[0].Doctor(t.Context()), "members"), Fault, "none of 2 other members")
}

func TestDoctorClock(t *testing.T) {
	t.Parallel()
	var off atomic.Int64
	ns := nodes(t, 3, func(i int, c *Config) {
		if i == 2 {
			c.now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
		}
	})
	// Two members agree, the third is off: it hears so, from both, when they next meet.
	for by, level := range map[time.Duration]string{0: Fine, time.Minute: Warning, -10 * time.Minute: Fault} {
		off.Store(int64(by))
		eventually(t, 30*time.Second, "the clocks were compared anew", func() bool {
			skews := ns[2].rooms.members.Skew()
			for _, p := range ns[:2] {
				if d, ok := skews[p.ID()]; !ok || (d+by).Abs() > 10*time.Second {
					ns[2].rooms.host.Disconnect(p.ID())
					time.Sleep(200 * time.Millisecond)
					return false
				}
			}
			return true
		})
		f := says(t, ns[2].Doctor(t.Context()), "clock")
		if wants(t, f, level); by != 0 && !strings.Contains(f.Why, by.Abs().String()[:1]) {
			t.Errorf("off by %v: %q", by, f.Why)
		}
	}
}

func TestDoctorDisk(t *testing.T) {
	for _, c := range []struct {
		free  uint64
		err   error
		level string
		word  string
	}{
		{1 << 40, nil, Fine, "free"},
		{1 << 30, nil, Warning, "nearly full: 1024 MiB free in /d"},
		{100 << 20, nil, Fault, "full: 100 MiB free in /d"},
		{0, nil, Fault, "full: 0 MiB"},
		{0, errors.New("no such device"), Fault, "no such device"},
	} {
		wants(t, diskFinding("/d", c.free, c.err)[0], c.level, c.word)
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"none of its 2 addresses can be reached:\n  /a: refused\n  /b: no answer": "none of its 2 addresses can be reached: /a: refused; /b: no answer",
		"it cannot be reached:\n  /a: refused":                                    "it cannot be reached: /a: refused",
		"the caller gave up":                                                      "the caller gave up",
		"it cannot be reached:":                                                   "it cannot be reached",
	} {
		if got := oneLine(shoal.E(shoal.Unavailable, "connect to p", text, "")); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := oneLine(errors.New(text)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
