package match

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

// crowd is n machines of a few kinds.
func crowd(n int, r *rand.Rand) []shoal.Member {
	out := make([]shoal.Member, n)
	for i := range out {
		m := member()
		m.ID = shoal.PeerID(fmt.Sprintf("12D3KooWpeer%08d", i))
		m.Attributes.CPUs = 1 << r.IntN(7)
		m.Attributes.Memory = 1 << (30 + r.IntN(7))
		m.Attributes.Labels = map[string]string{"zone": string(rune('a' + r.IntN(4))), "rack": fmt.Sprint(r.IntN(40))}
		if r.IntN(2) == 0 {
			m.Attributes.GPUs = []shoal.GPU{{Vendor: "nvidia", Model: "A100", Memory: 40 << 30}}
		}
		m.Load.Queued = r.IntN(5)
		out[i] = *m
	}
	return out
}

const full = `os == "linux" && arch == "amd64" && cpus >= 8 && memory >= gib(4) && labels.zone in ["a", "b"] && gpus.exists(g, g.vendor == "nvidia" && g.memory >= gib(16))`

// TestScanIsTheTable changes members at random and has requirements of each kind scan the table after a few
// changes each: what they remember is what they would find.
func TestScanIsTheTable(t *testing.T) {
	var compiled []*Needs
	for _, c := range []struct {
		src string
		mem uint64
	}{{"", 0}, {"", 8 << 30}, {full, 0}, {`load.queued < 2 && cpus > 2`, 2 << 30}, {`cpus > 1000`, 0}} {
		n, err := Compile(c.src, shoal.Limits{Memory: c.mem})
		if err != nil {
			t.Fatal(err)
		}
		compiled = append(compiled, n)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		now := time.Unix(2000, 0)
		tab, have := NewTable(), map[shoal.PeerID]shoal.Member{}
		var needs []*Needs
		for _, n := range compiled {
			needs = append(needs, &Needs{src: n.src, prog: n.prog, limits: n.limits, moving: n.moving, single: map[shoal.PeerID]single{}})
		}
		var before []Rows
		var said []string
		for step := range 40 {
			for range r.IntN(8) {
				m := crowd(40, r)[r.IntN(40)]
				switch old, ok := have[m.ID]; r.IntN(6) {
				case 0:
					m.State = shoal.Left
					tab.Remove(m.ID)
					delete(have, m.ID)
				case 1:
					m.State = []shoal.MemberState{shoal.Left, shoal.Forgotten}[r.IntN(2)]
					tab.Put(m)
					delete(have, m.ID)
				case 2, 3: // only its load or its state are news
					if ok {
						old.Load.Queued, old.Seq = r.IntN(5), old.Seq+1
						old.State = []shoal.MemberState{shoal.Alive, shoal.Suspect, shoal.Down}[r.IntN(3)]
						m = old
					}
					fallthrough
				default:
					have[m.ID] = m
					tab.Put(m)
				}
			}
			if step == 20 {
				keep := map[shoal.PeerID]bool{}
				for id := range have {
					if keep[id] = r.IntN(2) == 0; !keep[id] {
						delete(have, id)
					}
				}
				tab.Keep(keep)
			}
			rows := tab.Rows()
			before, said = append(before, rows), append(said, text(rows))
			if len(rows.List) != len(have) {
				t.Fatalf("%d rows, want %d", len(rows.List), len(have))
			}
			for i, n := range needs {
				if r.IntN(3) == 0 {
					continue
				}
				fit, out := n.Scan(rows, now)
				got := map[shoal.PeerID]bool{}
				for _, f := range fit {
					got[rows.List[f].ID] = true
				}
				refused := 0
				for id, m := range have {
					if v := n.judge(&m, now); v.OK != got[id] {
						t.Fatalf("needs %d: %s %v, want %+v", i, id, got[id], v)
					} else if !v.OK {
						refused++
					}
				}
				if len(out) != min(refused, MaxTold) {
					t.Fatalf("needs %d: %d refusals told of %d", i, len(out), refused)
				}
				for _, o := range out {
					m := have[o.Peer]
					if v := n.judge(&m, now); v != o.Why {
						t.Fatalf("needs %d: %s is out: %+v, want %+v", i, o.Peer, o.Why, v)
					}
				}
			}
		}
		for i := range before {
			if text(before[i]) != said[i] {
				t.Fatal("rows that were given out have changed")
			}
		}
	})
}

func text(r Rows) string {
	var all []string
	for _, x := range r.List {
		all = append(all, fmt.Sprint(x.ID, x.Seq, x.State, x.Attributes, x.Load))
	}
	return fmt.Sprint(r.Version, all)
}

// TestOnlyTheChangedAreLookedAt counts allocations: a thousand rows, of which ten have new attributes, or only new load.
func TestOnlyTheChangedAreLookedAt(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	tab := NewTable()
	all := crowd(1000, r)
	for _, m := range all {
		tab.Put(m)
	}
	n, err := Compile(full, shoal.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	cold := testing.AllocsPerRun(1, func() { n.version = 0; clear(n.known); n.Scan(tab.Rows(), time.Unix(0, 0)) })
	at := 0
	change := func(f func(m *shoal.Member)) float64 {
		return testing.AllocsPerRun(20, func() {
			for range 10 {
				at = (at + 1) % len(all)
				f(&all[at])
				tab.Put(all[at])
			}
			n.Scan(tab.Rows(), time.Unix(0, 0))
		})
	}
	load := change(func(m *shoal.Member) { m.Seq++; m.Load.Queued++ })
	attributes := change(func(m *shoal.Member) { m.Seq++; m.Attributes.CPUs++ })
	none := testing.AllocsPerRun(20, func() { n.Scan(tab.Rows(), time.Unix(0, 0)) })
	t.Logf("allocations: cold %v, 10 of 1000 with new load %v, with new attributes %v, none changed %v", cold, load, attributes, none)
	if none > 1 || load > 60 || attributes > 60+cold/50 {
		t.Errorf("more than for the changed ones")
	}
	if fit, _ := n.Scan(tab.Rows(), time.Unix(0, 0)); !slices.IsSorted(fit) || len(fit) < 50 {
		t.Errorf("%d fit", len(fit))
	}
}

func BenchmarkScan(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	all := crowd(1000, r)
	tab := NewTable()
	for _, m := range all {
		tab.Put(m)
	}
	n, err := Compile(full, shoal.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n.version = 0
			clear(n.known)
			n.Scan(tab.Rows(), time.Unix(0, 0))
		}
	})
	b.Run("changed", func(b *testing.B) {
		b.ReportAllocs()
		at := 0
		for b.Loop() {
			for range 10 {
				at = (at + 1) % len(all)
				all[at].Seq++
				all[at].Attributes.CPUs++
				tab.Put(all[at])
			}
			n.Scan(tab.Rows(), time.Unix(0, 0))
		}
	})
}
