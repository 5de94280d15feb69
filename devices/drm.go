package devices

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// vendorOf knows vendors by their PCI ID. Others (display chips of servers, virtual machines) do not compute.
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

var cardName = regexp.MustCompile(`^card[0-9]+$`) // card0-HDMI-A-1 is a connector

// drmCards reads the cards of the kernel's Direct Rendering Manager. AMD's driver tells the memory; Intel's cards share
// the machine's.
func drmCards(root fs.FS) (out []card) {
	entries, _ := fs.ReadDir(root, "sys/class/drm")
	for _, e := range entries {
		if !cardName.MatchString(e.Name()) {
			continue
		}
		d := device{root, path.Join("sys/class/drm", e.Name(), "device")}
		c := card{GPU: shoal.GPU{Vendor: vendorOf(d.read("vendor")), Model: d.read("product_name")}}
		if c.Vendor == "" {
			continue
		}
		c.Model = cmp.Or(c.Model, "PCI device "+d.read("device"))
		driver := ""
		for line := range strings.Lines(d.read("uevent")) {
			switch name, value, _ := strings.Cut(strings.TrimSpace(line), "="); name {
			case "PCI_SLOT_NAME":
				c.bus = strings.ToLower(value)
			case "DRIVER":
				driver = value
			}
		}
		if driver != "" { // a module that came with the kernel has the kernel's version
			c.Driver = cmp.Or(read(root, "sys/module/"+driver+"/version"), read(root, "proc/sys/kernel/osrelease"))
		}
		if c.Vendor == "amd" {
			d.amd(&c)
		}
		out = append(out, c)
	}
	return out
}

// device is the folder of a card's PCI device.
type device struct {
	root fs.FS
	dir  string
}

// amd adds what the amdgpu driver tells.
func (d device) amd(c *card) {
	if id := strings.Trim(d.read("unique_id"), "0x"); id != "" { // not every card has one
		c.ID = "GPU-" + strings.TrimPrefix(d.read("unique_id"), "0x") // as ROCR_VISIBLE_DEVICES takes it
	}
	c.Memory, _ = d.number("mem_info_vram_total")
	if used, ok := d.number("mem_info_vram_used"); ok && c.Memory > 0 {
		c.free, c.told = c.Memory-min(used, c.Memory), true
	}
	for line := range strings.Lines(d.read("ras/umc_err_count")) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "ue: "); ok && n != "0" {
			c.Health = n + " memory errors that could not be corrected"
		}
	}
	if d.read("power/runtime_status") == "suspended" { // asking for its temperature would wake it
		return
	}
	sensors, _ := fs.Glob(d.root, path.Join(d.dir, "hwmon/hwmon*/temp1_input"))
	for _, s := range sensors {
		heat, _ := strconv.ParseInt(read(d.root, s), 10, 64)
		limit, err := strconv.ParseInt(read(d.root, strings.TrimSuffix(s, "input")+"crit"), 10, 64)
		if err == nil && limit > 0 && heat >= limit && c.Health == "" {
			c.Health = fmt.Sprintf("too hot: %d °C", heat/1000)
		}
	}
}

func (d device) read(name string) string { return read(d.root, path.Join(d.dir, name)) }

func (d device) number(name string) (uint64, bool) {
	n, err := strconv.ParseUint(d.read(name), 10, 64)
	return n, err == nil
}

func read(root fs.FS, name string) string {
	b, _ := fs.ReadFile(root, name)
	return strings.TrimSpace(string(b))
}
