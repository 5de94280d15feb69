package view

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/shoal-fabric/shoal"
)

// Limits of a record; one beyond them is refused as Invalid. They are far from what machines are, and near enough that no
// decision overflows.
const (
	maxAddresses = 32
	maxAddress   = 256 // bytes
	maxLabels    = 64
	maxText      = 256 // bytes of a label, model, version
	maxFeatures  = 64
	maxExecutors = 64
	minTTL       = 5         // seconds
	maxTTL       = 24 * 3600 // seconds

	maxCPUs   = 1 << 16
	maxCount  = 1 << 24 // slots, tasks
	maxTFlops = 1e6     // of a GPU
	maxMemory = 1 << 50 // bytes, of the machine or a GPU
	maxDisk   = 1 << 60 // bytes
	maxRate   = 1e7     // MB or GB a second, seconds
	maxGas    = 1e15    // a second

	// maxAhead is how far the clock of a signer may be ahead of ours. Ages are counted from arrival, so that a
	// clock decides little; one that is a day ahead is broken, and what it signs would outlive everything.
	maxAhead = 24 * time.Hour
)

// check holds a record against what machines can be. Each number that a decision is made of has bounds here, so that
// none has to look again. what names the record in the error.
func (r Record) check(what string) error {
	if why := r.absurd(); why != "" {
		return invalid(what, why)
	}
	return nil
}

// absurd says what no machine would say of itself, "" for nothing.
func (r Record) absurd() string {
	a, l := &r.Attributes, &r.Load
	switch {
	case r.Life == 0 || r.Life > math.MaxInt64 || r.Seq == 0:
		return "no life or sequence number"
	case r.At < 0:
		return "made before 1970"
	case r.TTL < minTTL || r.TTL > maxTTL:
		return "time to live out of bounds"
	case len(r.Addresses) > maxAddresses || len(a.Labels) > maxLabels:
		return "too many addresses or labels"
	case len(a.GPUs) > shoal.MaxGPUs || len(l.GPUs) > shoal.MaxGPUs:
		return fmt.Sprintf("%d graphics processors", max(len(a.GPUs), len(l.GPUs)))
	case len(a.CPU.Features) > maxFeatures:
		return "too many features of a processor"
	case len(a.Executors) > maxExecutors:
		return "too many executors"
	case a.CPUs < 0 || a.CPU.Cores < 0 || l.Slots < 0 || l.Running < 0 || l.Queued < 0:
		return "a count is negative"
	case a.CPUs > maxCPUs || a.CPU.Cores > maxCPUs || l.Slots > maxCount || l.Running > maxCount || l.Queued > maxCount:
		return "a count is absurd"
	case a.Memory > maxMemory || a.Disk > maxDisk || l.DiskFree > maxDisk || l.HeldBytes > maxDisk:
		return "a size is absurd"
	case !sane(maxRate, a.HashMBs, l.TaskSecs, a.Rates.Memory, a.Rates.Disk) || !sane(maxGas, a.Rates.Gas):
		return "a measurement is no number, negative or absurd"
	case !texts(maxText, a.OS, a.Arch, a.Version, a.CPU.Model) || !texts(maxText, a.CPU.Features...):
		return "os, arch, version or processor is no short printable text"
	}
	for _, s := range r.Addresses {
		if !strings.HasPrefix(s, "/") || !texts(maxAddress, s) {
			return "an address is malformed"
		}
	}
	for k, v := range a.Labels {
		if k == "" || !texts(maxText, k, v) {
			return "a label is no short printable text"
		}
	}
	for _, name := range a.Executors {
		if shoal.CheckExecName(name) != nil {
			return "the name of an executor is none"
		}
	}
	return absurdGPUs(a.GPUs, l.GPUs)
}

func absurdGPUs(list []shoal.GPU, load []shoal.GPULoad) string {
	ids := map[string]bool{}
	for _, g := range list {
		switch {
		case !texts(maxText, g.Vendor, g.Model, g.ID, g.Driver, g.Health):
			return "what it says of a graphics processor is no short printable text"
		case !sane(maxTFlops, g.TFlops):
			return "the speed of a graphics processor is absurd"
		case g.Memory > maxMemory:
			return "the memory of a graphics processor is absurd"
		case g.ID != "" && ids[g.ID]:
			return "two graphics processors have one ID"
		}
		ids[g.ID] = true
	}
	clear(ids)
	for _, g := range load {
		if g.ID == "" || !texts(maxText, g.ID) || g.Free > maxMemory || ids[g.ID] {
			return "what is free on a graphics processor is absurd"
		}
		ids[g.ID] = true
	}
	return ""
}

// sane reports whether each is a number from 0 to most.
func sane(most float64, list ...float64) bool {
	for _, f := range list {
		if !(f >= 0 && f <= most) { // neither is so of what is no number
			return false
		}
	}
	return true
}

// Clock refuses a record that p signed in what is the future here: Invalid.
func (r Record) Clock(p shoal.PeerID, now time.Time) error {
	if by := time.UnixMilli(r.At).Sub(now); by > maxAhead {
		return shoal.E(shoal.Invalid, "record of "+p.Short(),
			fmt.Sprintf("its clock is %v ahead of this machine's", by.Round(time.Minute)), "set the clock of one of the two")
	}
	return nil
}

// texts reports whether each string is printable and at most limit bytes.
func texts(limit int, list ...string) bool {
	for _, s := range list {
		if len(s) > limit || !utf8.ValidString(s) {
			return false
		}
		for _, r := range s {
			if !unicode.IsPrint(r) {
				return false
			}
		}
	}
	return true
}
