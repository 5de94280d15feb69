package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// brief describes a machine in one line.
func brief(a shoal.Attributes, l shoal.Load) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cpus, %s", a.CPUs, size(a.Memory))
	for i := 0; i < len(a.GPUs); {
		text, n := gpu(a.GPUs[i], l), 1
		for i+n < len(a.GPUs) && gpu(a.GPUs[i+n], l) == text { // eight alike are one entry
			n++
		}
		if i += n; n > 1 {
			text = fmt.Sprintf("%d x %s", n, text)
		}
		b.WriteString(", " + text)
	}
	for _, k := range sorted(a.Labels) {
		fmt.Fprintf(&b, ", %s=%s", k, a.Labels[k])
	}
	return b.String()
}

// gpu describes a graphics processor: what it is, and in brackets what of it is free, and what is wrong.
func gpu(g shoal.GPU, l shoal.Load) string {
	var words []string
	if g.Vendor == "" || !strings.HasPrefix(strings.ToLower(g.Model), strings.ToLower(g.Vendor)) { // "NVIDIA A100" says of whom it is
		words = append(words, cmp.Or(g.Vendor, "unknown"))
	}
	if g.Model != "" {
		words = append(words, g.Model)
	}
	if g.Memory > 0 {
		words = append(words, size(g.Memory))
	}
	if g.TFlops > 0 {
		words = append(words, strconv.FormatFloat(g.TFlops, 'g', 3, 64)+" TFLOP/s")
	}
	var notes []string
	if free, known := l.GPUFree(g.ID); known {
		notes = append(notes, size(free)+" free")
	}
	if g.Declared {
		notes = append(notes, "declared")
	}
	if !g.Healthy() {
		notes = append(notes, "not well: "+g.Health)
	}
	if len(notes) > 0 {
		words = append(words, "("+strings.Join(notes, ", ")+")")
	}
	return strings.Join(words, " ")
}

// machine prints all that a machine says of itself, a line for each thing.
func (s *shell) machine(a shoal.Attributes, l shoal.Load) {
	s.printf("machine   %s/%s, %d cpus, %s memory, %s disk", a.OS, a.Arch, a.CPUs, size(a.Memory), size(a.Disk))
	for _, k := range sorted(a.Labels) {
		s.printf(", %s=%s", k, a.Labels[k])
	}
	s.printf("\n")
	if c := a.CPU; c.Model != "" || c.Cores > 0 || len(c.Features) > 0 {
		var parts []string
		if c.Model != "" {
			parts = append(parts, c.Model)
		}
		if c.Cores > 0 {
			parts = append(parts, fmt.Sprintf("%d cores", c.Cores))
		}
		s.printf("processor %s\n", strings.Join(append(parts, c.Features...), ", "))
	}
	var speeds []string
	for _, v := range []struct {
		rate float64
		unit string
	}{{a.Rates.Gas / 1e9, "billion gas/s a core"}, {a.Rates.Memory, "GB/s memory"}, {a.Rates.Disk, "GB/s disk"}, {a.HashMBs / 1e3, "GB/s hashing"}} {
		if v.rate > 0 {
			speeds = append(speeds, strconv.FormatFloat(v.rate, 'g', 3, 64)+" "+v.unit)
		}
	}
	if len(speeds) > 0 {
		s.printf("measured  %s\n", strings.Join(speeds, ", "))
	}
	for _, g := range a.GPUs {
		s.printf("gpu       %s, id %s", gpu(g, l), g.ID)
		if g.Driver != "" {
			s.printf(", driver %s", g.Driver)
		}
		s.printf("\n")
	}
}
