package devices

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/shoal-fabric/shoal"
)

const (
	maxGPUs  = 64 // more are not listed
	maxModel = 80 // bytes of a model's name
)

// vendors by PCI ID. Others (display chips of servers, virtual machines) do not compute.
func vendorOf(pci string) string {
	switch pci {
	case "0x10de":
		return "nvidia"
	case "0x1002":
		return "amd"
	case "0x8086":
		return "intel"
	}
	return ""
}

// gpus lists the graphics processors. root is the file system; smi returns fs.ErrNotExist where
// nvidia-smi is not installed. Of the three sources that may know an NVIDIA card only the best counts.
func gpus(ctx context.Context, root fs.FS, smi func(context.Context) (string, error)) ([]shoal.GPU, error) {
	drm := drmGPUs(root)
	text, err := smi(ctx)
	nvidia := parseSMI(text)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if len(nvidia) == 0 {
		nvidia = procGPUs(root)
	}
	out := nvidia
	for _, g := range drm {
		if g.Vendor != "nvidia" || len(nvidia) == 0 {
			out = append(out, g)
		}
	}
	return out[:min(len(out), maxGPUs)], err
}

// parseSMI reads lines "NVIDIA GeForce RTX 3090, 24576"; the number is MiB and may be "[N/A]".
func parseSMI(text string) (out []shoal.GPU) {
	for line := range strings.Lines(text) {
		i := strings.LastIndexByte(line, ',')
		if i <= 0 {
			continue
		}
		mib, _ := strconv.ParseUint(strings.TrimSpace(line[i+1:]), 10, 32)
		out = append(out, shoal.GPU{Vendor: "nvidia", Model: model(line[:i]), Memory: mib << 20})
	}
	return out
}

// procGPUs reads /proc/driver/nvidia/gpus/*/information, which tells the model but no memory.
func procGPUs(root fs.FS) (out []shoal.GPU) {
	files, _ := fs.Glob(root, "proc/driver/nvidia/gpus/*/information")
	for _, f := range files {
		text, _ := fs.ReadFile(root, f)
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "Model:"); ok {
				out = append(out, shoal.GPU{Vendor: "nvidia", Model: model(name)})
			}
		}
	}
	return out
}

// drmGPUs reads the cards of the kernel's Direct Rendering Manager. AMD's driver tells the memory;
// Intel's cards share the machine's.
func drmGPUs(root fs.FS) (out []shoal.GPU) {
	entries, _ := fs.ReadDir(root, "sys/class/drm")
	card := regexp.MustCompile(`^card[0-9]+$`) // card0-HDMI-A-1 is a connector
	for _, e := range entries {
		if !card.MatchString(e.Name()) {
			continue
		}
		read := func(name string) string {
			b, _ := fs.ReadFile(root, path.Join("sys/class/drm", e.Name(), "device", name))
			return strings.TrimSpace(string(b))
		}
		g := shoal.GPU{Vendor: vendorOf(read("vendor")), Model: model(read("product_name"))}
		if g.Vendor == "" {
			continue
		}
		if g.Model == "" {
			g.Model = model("PCI device " + read("device"))
		}
		g.Memory, _ = strconv.ParseUint(read("mem_info_vram_total"), 10, 64)
		out = append(out, g)
	}
	return out
}

// model cleans a name that a driver gave: printable, one blank between words, bounded.
func model(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = strings.Join(strings.Fields(s), " ")
	return strings.ToValidUTF8(s[:min(len(s), maxModel)], "")
}
