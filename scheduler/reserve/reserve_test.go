package reserve

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

const gib = 1 << 30

// twin is the dumb one: it keeps the grants that are out, and adds everything up each time.
type twin struct {
	now []Device
	out []Grant
}

func (x *twin) used(id string) (whole, tasks int, shared uint64) {
	for _, g := range x.out {
		for _, d := range g.Devices {
			switch {
			case d.ID != id:
			case g.Share == 0:
				whole, tasks = whole+1, tasks+1
			default:
				tasks, shared = tasks+1, shared+g.Share
			}
		}
	}
	return whole, tasks, shared
}

// could says whether w can be had now, and whether it could if nobody had anything.
func (x *twin) could(w Want) (now, ever bool) {
	free, fit := map[string]int{}, map[string]int{}
	for _, d := range x.now {
		whole, tasks, shared := x.used(d.ID)
		if d.Fault != "" || w.Vendor != "" && w.Vendor != d.Vendor {
			continue
		}
		if w.Whole > 0 {
			fit[d.Vendor]++
			if tasks == 0 {
				free[d.Vendor]++
			}
			continue
		}
		if d.Memory >= w.Memory {
			ever = true
			now = now || whole == 0 && shared <= d.Memory && d.Memory-shared >= w.Memory
		}
	}
	for v := range fit {
		now = now || free[v] >= w.Whole
		ever = ever || fit[v] >= w.Whole
	}
	return now, ever
}

func TestLedgerAgainstATwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Ledger
		x := &twin{}
		device := rapid.Custom(func(t *rapid.T) Device {
			return Device{
				ID: fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "id")), Vendor: rapid.SampledFrom([]string{"nvidia", "amd"}).Draw(t, "vendor"),
				Memory: uint64(rapid.IntRange(0, 4).Draw(t, "memory")) * gib, Fault: rapid.SampledFrom([]string{"", "", "hot"}).Draw(t, "fault"),
			}
		})
		set := func(t *rapid.T) {
			x.now = rapid.SliceOfNDistinct(device, 0, 5, func(d Device) string { return d.ID }).Draw(t, "devices")
			for i, d := range x.now { // a card keeps its maker; its memory may be another after a reset
				for _, r := range l.States() {
					if r.ID == d.ID {
						x.now[i].Vendor = r.Vendor
					}
				}
			}
			l.Set(x.now)
		}
		set(t)
		t.Repeat(map[string]func(*rapid.T){
			"set": set,
			"take": func(t *rapid.T) {
				w := Want{Vendor: rapid.SampledFrom([]string{"", "", "nvidia"}).Draw(t, "vendor")}
				if rapid.Bool().Draw(t, "whole") {
					w.Whole = rapid.IntRange(1, 4).Draw(t, "n")
				} else {
					w.Memory = uint64(rapid.IntRange(1, 9).Draw(t, "half GiB")) * gib / 2
				}
				now, ever := x.could(w)
				could := l.Could(w)
				g, err := l.Take(w)
				if (could == nil) != (err == nil) || (err == nil) != now {
					t.Fatalf("%v: %v, then %v; the twin says %v", w, could, err, now)
				}
				if err != nil {
					if kind := shoal.KindOf(err); (kind == shoal.Overloaded) != ever || !ever && kind != shoal.Refused {
						t.Fatalf("%v: %v (%v); the twin says %v", w, err, kind, ever)
					}
					return
				}
				if want := max(w.Whole, 1); len(g.Devices) != want || g.Share != w.Memory {
					t.Fatalf("%v gave %v", w, g)
				}
				for i, d := range g.Devices {
					whole, tasks, shared := x.used(d.ID)
					if whole > 0 || w.Whole > 0 && tasks > 0 || shared+g.Share > d.Memory && g.Share > 0 || d.Fault != "" ||
						w.Vendor != "" && d.Vendor != w.Vendor || d.Vendor != g.Devices[0].Vendor ||
						slices.ContainsFunc(g.Devices[:i], func(e Device) bool { return e.ID == d.ID }) {
						t.Fatalf("%v gave %v, of which others have %d, %d, %d", w, d, whole, tasks, shared)
					}
				}
				x.out = append(x.out, g)
			},
			"give": func(t *rapid.T) {
				if len(x.out) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(x.out)-1).Draw(t, "i")
				g := x.out[i]
				x.out = slices.Delete(x.out, i, i+1)
				if !l.Give(g) || l.Give(g) {
					t.Fatal("a grant comes back once")
				}
			},
			"": func(t *rapid.T) {
				seen := map[string]bool{}
				for _, r := range l.States() {
					seen[r.ID] = true
					whole, tasks, shared := x.used(r.ID)
					if r.Whole != (whole == 1) || whole > 1 || r.Tasks != tasks || r.Shared != shared {
						t.Fatalf("%+v; the twin says %d, %d, %d", r, whole, tasks, shared)
					}
					here := slices.ContainsFunc(x.now, func(d Device) bool { return d.ID == r.ID })
					if !here && (r.Fault == "" || tasks == 0) {
						t.Fatalf("%+v is not there any more", r)
					}
				}
				for _, d := range x.now {
					if !seen[d.ID] {
						t.Fatalf("%v is not shown", d)
					}
				}
				for _, g := range x.out {
					lost := slices.ContainsFunc(g.Devices, func(d Device) bool {
						i := slices.IndexFunc(x.now, func(e Device) bool { return e.ID == d.ID })
						return i < 0 || x.now[i].Fault != ""
					})
					if (l.Lost(g) != "") != lost {
						t.Fatalf("%v: %q", g, l.Lost(g))
					}
				}
			},
		})
	})
}

func TestRefusalsSayWhatIsThere(t *testing.T) {
	var l Ledger
	l.Set([]Device{{ID: "0", Vendor: "nvidia", Memory: 16 * gib}, {ID: "1", Vendor: "nvidia", Memory: 24 * gib, Fault: "fell off the bus"}})
	for _, c := range []struct {
		w    Want
		kind shoal.Kind
		want string
	}{
		{Want{Whole: 2}, shoal.Refused, "it needs 2 whole devices: there are 1, and 1 with a fault: see 'shoal status'"},
		{Want{Whole: 1, Vendor: "amd"}, shoal.Refused, "it needs a whole amd device: there are 0 of 2 devices: see 'shoal status'"},
		{Want{Memory: 20 * gib}, shoal.Refused, "it needs 20.0 GiB of a device: there are 0, and 1 with a fault: see 'shoal status'"},
	} {
		if err := l.Could(c.w); shoal.KindOf(err) != c.kind || err.Error() != c.want {
			t.Errorf("%v: %v", c.w, err)
		}
	}
	share, err := l.Take(Want{Memory: 10 * gib})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Could(Want{Whole: 1}); shoal.KindOf(err) != shoal.Overloaded {
		t.Error(err)
	}
	if err := l.Could(Want{Memory: 7 * gib}); shoal.KindOf(err) != shoal.Overloaded {
		t.Error(err)
	}
	if err := l.Could(Want{Memory: 6 * gib}); err != nil {
		t.Error(err)
	}
	l.Give(share)
	if err := l.Could(Want{Whole: 1}); err != nil {
		t.Error(err)
	}
	if g, err := l.Take(Want{}); err != nil || len(g.Devices) > 0 || l.Give(g) {
		t.Error("who needs nothing gets nothing", err)
	}
}
