package reserve

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shoal-fabric/shoal"
)

// Device is a device as the machine sees it.
type Device struct {
	ID     string `json:"id"` // distinct on its machine
	Vendor string `json:"vendor"`
	Index  int    `json:"index"`           // among those of its vendor, as the drivers count
	Memory uint64 `json:"memory"`          // bytes; 0: unknown, and then it is given whole only
	Fault  string `json:"fault,omitempty"` // why it is no good; "" if it is
}

// Want is what a task needs: Whole devices, or a share of the memory of one. The zero Want needs none.
type Want struct {
	Whole  int    // devices of its own, all of one vendor
	Memory uint64 // bytes of one device that others may share; not together with Whole
	Vendor string // "": any
	Only   string // ID of the one device that will do; "": any
}

// None reports whether nothing is wanted.
func (w Want) None() bool { return w.Whole <= 0 && w.Memory == 0 }

// String returns "2 nvidia devices" or "8.0 GiB of a device".
func (w Want) String() string {
	vendor := w.Vendor
	if vendor != "" {
		vendor += " "
	}
	switch {
	case w.None():
		return "no device"
	case w.Whole == 1:
		return "a whole " + vendor + "device"
	case w.Whole > 1:
		return fmt.Sprintf("%d whole %sdevices", w.Whole, vendor)
	}
	return fmt.Sprintf("%.1f GiB of a %sdevice", float64(w.Memory)/(1<<30), vendor)
}

// Grant is a reservation.
type Grant struct {
	Devices []Device
	Share   uint64 // bytes of the one device; 0: all are its own

	number uint64 // 0: of nothing
}

// State is a device and who has it.
type State struct {
	Device
	Whole  bool   `json:"whole"`            // one task has all of it
	Shared uint64 `json:"shared,omitempty"` // bytes of memory given to tasks
	Tasks  int    `json:"tasks"`            // that have it or a share
}

// Ledger knows the devices of one machine and who has them. The zero Ledger has no device.
type Ledger struct {
	rows []*State // in the machine's order; those that are gone and still held come last
	open map[uint64]Grant
	last uint64
}

// gone is the fault of a device that the machine does not show any more.
const gone = "it is gone"

// Set tells which devices there are now, and how they are. One that is no longer among them, or has a fault,
// is drained; the grants that it leaves without a device of theirs can be told by Lost.
func (l *Ledger) Set(devices []Device) {
	old := l.rows
	l.rows = make([]*State, 0, len(devices))
	for _, d := range devices {
		if l.row(d.ID) != nil {
			continue // its name is no name: the first one counts
		}
		row := &State{Device: d}
		for _, was := range old {
			if was.ID == d.ID {
				row.Whole, row.Shared, row.Tasks = was.Whole, was.Shared, was.Tasks
			}
		}
		l.rows = append(l.rows, row)
	}
	for _, was := range old {
		if l.row(was.ID) == nil && was.Tasks > 0 {
			was.Fault = gone
			l.rows = append(l.rows, was)
		}
	}
}

func (l *Ledger) row(id string) *State {
	for _, r := range l.rows {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// Take reserves what w wants. The error's kind is Overloaded if it is only taken now, Refused if the devices
// would not do even if all were free.
func (l *Ledger) Take(w Want) (Grant, error) {
	if w.None() {
		return Grant{}, nil
	}
	rows, err := l.choose(w)
	if err != nil {
		return Grant{}, err
	}
	l.last++
	g := Grant{number: l.last}
	if w.Whole <= 0 {
		g.Share = w.Memory
	}
	for _, r := range rows {
		r.Tasks++
		r.Whole = r.Whole || g.Share == 0
		r.Shared += g.Share
		g.Devices = append(g.Devices, r.Device)
	}
	if l.open == nil {
		l.open = map[uint64]Grant{}
	}
	l.open[g.number] = g
	return g, nil
}

// Could is the error that Take would give.
func (l *Ledger) Could(w Want) error {
	if w.None() {
		return nil
	}
	_, err := l.choose(w)
	return err
}

// Give takes a grant back. False: it has been taken back before, and nothing changes.
func (l *Ledger) Give(g Grant) bool {
	if g.number == 0 {
		return false
	}
	if _, ok := l.open[g.number]; !ok {
		return false
	}
	delete(l.open, g.number)
	for _, d := range g.Devices {
		r := l.row(d.ID)
		r.Tasks--
		r.Shared -= g.Share
		r.Whole = r.Whole && g.Share > 0
	}
	l.rows = slices.DeleteFunc(l.rows, func(r *State) bool { return r.Tasks == 0 && r.Fault == gone })
	return true
}

// Lost says which device of an open grant is no good any more, and why; "" if all are.
func (l *Ledger) Lost(g Grant) string {
	for _, d := range g.Devices {
		if r := l.row(d.ID); r != nil && r.Fault != "" {
			return "device " + d.ID + ": " + r.Fault
		}
	}
	return ""
}

// States lists the devices.
func (l *Ledger) States() []State {
	out := make([]State, len(l.rows))
	for i, r := range l.rows {
		out[i] = *r
	}
	return out
}

// left is the memory of a device that is not given; a device may shrink while tasks have it.
func left(r *State) uint64 { return r.Memory - min(r.Memory, r.Shared) }

// choose finds the rows for w: whole devices of the first vendor that has enough, or, for a share, the device
// with the least memory left that has enough, so that whole ones stay whole.
func (l *Ledger) choose(w Want) ([]*State, error) {
	fit, drained := 0, 0 // devices that would do if they were free; and if they had no fault
	free := map[string][]*State{}
	total := map[string]int{}
	for _, r := range l.rows {
		switch {
		case w.Vendor != "" && r.Vendor != w.Vendor, w.Only != "" && r.ID != w.Only, w.Whole <= 0 && r.Memory < w.Memory:
			continue
		case r.Fault != "":
			drained++
			continue
		}
		fit++
		total[r.Vendor]++
		if w.Whole > 0 && r.Tasks == 0 || w.Whole <= 0 && !r.Whole && left(r) >= w.Memory {
			free[r.Vendor] = append(free[r.Vendor], r)
		}
	}
	enough := max(w.Whole, 1)
	if w.Whole <= 0 {
		var all []*State
		for _, r := range l.rows { // in their order: a map has none
			if slices.Contains(free[r.Vendor], r) {
				all = append(all, r)
			}
		}
		if len(all) > 0 {
			return []*State{slices.MinFunc(all, func(a, b *State) int { return cmp.Compare(left(a), left(b)) })}, nil
		}
	} else {
		for _, r := range l.rows {
			if rows := free[r.Vendor]; len(rows) >= enough {
				return rows[:enough], nil
			}
		}
	}
	most := 0
	for _, n := range total {
		most = max(most, n)
	}
	switch {
	case most >= enough:
		return nil, shoal.E(shoal.Overloaded, "", fmt.Sprintf("it needs %s: all that fit are taken (%d)", w, fit), "try again later")
	case drained > 0:
		return nil, shoal.E(shoal.Refused, "", fmt.Sprintf("it needs %s: there are %d, and %d with a fault", w, most, drained), "see 'shoal status'")
	}
	return nil, shoal.E(shoal.Refused, "", fmt.Sprintf("it needs %s: there are %d of %d devices", w, most, len(l.rows)), "see 'shoal status'")
}
