package data

import (
	"fmt"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
)

const (
	maxNeeds = 4096
	maxTold  = 8 // members that are named with why they are out
)

// unfit says why a member shall get no copies of a dataset that asks so, "" if it may. Copies that exist
// already stay where they are: bytes that are safe are not thrown away because a label changed.
func (d *Data) unfit(needs string, m *shoal.Member) string {
	if needs == "" {
		return ""
	}
	n, err := d.needs.Get(needs)
	if err != nil { // of another version of shoal: what it means is not known here
		return err.Error()
	}
	if v := n.Check(m, time.Now()); !v.OK {
		return v.Reason
	}
	return ""
}

// fitting returns the members that may get copies, and in words why the others may not.
func (d *Data) fitting(needs string, members []shoal.Member) (fit []shoal.Member, out []string) {
	for _, m := range members {
		if why := d.unfit(needs, &m); why != "" {
			out = append(out, fmt.Sprintf("%s: %s", m.ID.Short(), why))
			continue
		}
		fit = append(fit, m)
	}
	return fit, out
}

// checkNeeds refuses a requirement that is malformed, or that no member meets now.
func (d *Data) checkNeeds(what, needs string) error {
	if len(needs) > maxNeeds {
		return shoal.E(shoal.Invalid, what, fmt.Sprintf("a requirement of %d bytes, more than the limit of %d", len(needs), maxNeeds),
			"say it shorter, with a label for what many have in common")
	}
	if _, err := d.needs.Get(needs); err != nil {
		return shoal.Wrap(shoal.Invalid, what, err)
	}
	if fit, out := d.fitting(needs, d.alive()); len(fit) == 0 {
		return shoal.E(shoal.Refused, what, "no member fulfils the requirement: "+told(out),
			"ask for less, or bring a machine that fits")
	}
	return nil
}

// told shortens a list of members that are out.
func told(out []string) string {
	if len(out) > maxTold {
		return strings.Join(out[:maxTold], "; ") + fmt.Sprintf("; and %d more", len(out)-maxTold)
	}
	return strings.Join(out, "; ")
}
