package devices

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/shoal-fabric/shoal"
)

func none(context.Context) ([]card, error) { return nil, fs.ErrNotExist }

// says is an nvidia-smi that prints what a file of testdata has.
func says(t *testing.T, file string) func(context.Context) ([]card, error) {
	b, err := os.ReadFile(filepath.Join("testdata/smi", file))
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context) ([]card, error) {
		cards, complaint := parseSMI(string(b), 9)
		if complaint != "" {
			return cards, errors.New(complaint)
		}
		return cards, nil
	}
}

const gib = 1 << 30

func TestLook(t *testing.T) {
	const (
		first = "GPU-1b2c3d4e-0000-1111-2222-333344445555"
		other = "GPU-5e6f7a8b-0000-1111-2222-333344445555"
		v550  = "550.54.15"
		rtx   = "NVIDIA GeForce RTX 3060"
		a100  = "NVIDIA A100-SXM4-40GB"
	)
	intel := shoal.GPU{Vendor: "intel", Model: "PCI device 0x4680", ID: "0000:00:02.0", Driver: "6.1.0-18-amd64"}
	well := shoal.GPU{Vendor: "nvidia", Model: rtx, Memory: 12 * gib, ID: first, Driver: v550}
	free := shoal.GPULoad{ID: first, Free: 11902 << 20}
	for _, c := range []struct {
		name     string
		tree     fs.FS
		nvml     func(context.Context) ([]card, error)
		smi      func(context.Context) ([]card, error)
		declared []shoal.GPU
		want     []shoal.GPU
		load     []shoal.GPULoad
		err      string
	}{
		{name: "nothing", tree: fstest.MapFS{}},
		{
			name: "vega", tree: os.DirFS("testdata/vega"),
			want: []shoal.GPU{{Vendor: "amd", Model: "PCI device 0x687f", Memory: 8573157376, ID: "GPU-0123456789abcdef", Driver: "5.10.0-8-amd64"}},
			load: []shoal.GPULoad{{ID: "GPU-0123456789abcdef", Free: 8573157376 - 1490378752}},
		},
		{
			name: "a sick one, and one that sleeps", tree: os.DirFS("testdata/rocm"),
			want: []shoal.GPU{
				{Vendor: "amd", Model: "AMD INSTINCT MI210 (MCM) OAM AC MBA", Memory: 68702699520, ID: "GPU-7a39f1f1b3a9d2c4", Driver: "6.3.6"},
				{
					Vendor: "amd", Model: "AMD INSTINCT MI210 (MCM) OAM AC MBA", Memory: 68702699520, ID: "GPU-6c1d0e2f9a8b7c55", Driver: "6.3.6",
					Health: "2 memory errors that could not be corrected",
				},
				{Vendor: "amd", Model: "PCI device 0x740f", Memory: 68702699520, ID: "0000:b1:00.0", Driver: "6.3.6"},
			},
			load: []shoal.GPULoad{
				{ID: "GPU-7a39f1f1b3a9d2c4", Free: 68691738624},
				{ID: "GPU-6c1d0e2f9a8b7c55", Free: 68691738624},
				{ID: "0000:b1:00.0", Free: 68691738624},
			},
		},
		{
			name: "nvidia-smi", tree: os.DirFS("testdata/nvidia"), smi: says(t, "two.txt"),
			want: []shoal.GPU{well, {Vendor: "nvidia", Model: rtx, Memory: 12 * gib, ID: other, Driver: v550, Health: "too hot: 96 °C"}, intel},
			load: []shoal.GPULoad{free, {ID: other, Free: 6 << 20}},
		},
		{
			name: "memory errors", tree: fstest.MapFS{}, smi: says(t, "a100.txt"),
			want: []shoal.GPU{
				{Vendor: "nvidia", Model: a100, Memory: 40 * gib, ID: "GPU-a1a1a1a1-0000-1111-2222-333344445555", Driver: "535.129.03"},
				{Vendor: "nvidia", Model: a100, Memory: 40 * gib, ID: "GPU-b2b2b2b2-0000-1111-2222-333344445555", Driver: "535.129.03", Health: "3 memory errors that could not be corrected"},
				{Vendor: "nvidia", Model: a100, Memory: 40 * gib, ID: "GPU-c3c3c3c3-0000-1111-2222-333344445555", Driver: "535.129.03", Health: "bad pages of memory, retired at the next reset"},
			},
			load: []shoal.GPULoad{
				{ID: "GPU-a1a1a1a1-0000-1111-2222-333344445555", Free: 40326 << 20},
				{ID: "GPU-b2b2b2b2-0000-1111-2222-333344445555", Free: 40326 << 20},
				{ID: "GPU-c3c3c3c3-0000-1111-2222-333344445555", Free: 40326 << 20},
			},
		},
		{
			name: "no memory of its own", tree: fstest.MapFS{}, smi: says(t, "shared.txt"),
			want: []shoal.GPU{{Vendor: "nvidia", Model: "NVIDIA GB10, with a comma", ID: "GPU-0b10b10b-0000-1111-2222-333344445555", Driver: "580.95.05"}},
		},
		{
			name: "one is lost", tree: os.DirFS("testdata/nvidia"), smi: says(t, "lost.txt"),
			want: []shoal.GPU{well, {
				Vendor: "nvidia", Model: rtx, ID: "0000:0a:00.0", Driver: v550,
				Health: "GPU is lost. Reboot the system to recover this GPU",
			}, intel},
			load: []shoal.GPULoad{free}, err: "GPU is lost",
		},
		{
			name: "errors in place of numbers", tree: os.DirFS("testdata/nvidia"), smi: says(t, "errors.txt"),
			want: []shoal.GPU{
				{Vendor: "nvidia", Model: rtx, Memory: 12 * gib, ID: first, Driver: v550, Health: "Unknown Error"},
				{Vendor: "nvidia", Model: rtx, ID: other, Driver: v550, Health: "GPU is lost"},
				intel,
			},
		},
		{
			name: "the driver fails", tree: os.DirFS("testdata/nvidia"), smi: says(t, "mismatch.txt"),
			want: []shoal.GPU{
				{Vendor: "nvidia", Model: rtx, ID: first, Driver: v550, Health: "Failed to initialize NVML: Driver/library version mismatch"},
				{Vendor: "nvidia", Model: rtx, ID: "0000:0a:00.0", Driver: v550, Health: "Failed to initialize NVML: Driver/library version mismatch"},
				intel,
			},
			err: "version mismatch",
		},
		{
			name: "no tool", tree: os.DirFS("testdata/nvidia"),
			want: []shoal.GPU{
				{Vendor: "nvidia", Model: rtx, ID: first, Driver: v550},
				{Vendor: "nvidia", Model: rtx, ID: "0000:0a:00.0", Driver: v550},
				intel,
			},
		},
		{
			name: "NVML before nvidia-smi", tree: os.DirFS("testdata/nvidia"), smi: says(t, "two.txt"),
			nvml: func(context.Context) ([]card, error) {
				return []card{{GPU: shoal.GPU{Vendor: "nvidia", Model: rtx, ID: first}}}, nil
			},
			want: []shoal.GPU{{Vendor: "nvidia", Model: rtx, ID: first}, intel},
		},
		{
			name: "NVML fails", tree: fstest.MapFS{}, smi: says(t, "two.txt"),
			nvml: func(context.Context) ([]card, error) { return nil, errors.New("NVML: Driver Not Loaded") },
			want: []shoal.GPU{well, {Vendor: "nvidia", Model: rtx, Memory: 12 * gib, ID: other, Driver: v550, Health: "too hot: 96 °C"}},
			load: []shoal.GPULoad{free, {ID: other, Free: 6 << 20}},
		},
		{
			name: "declared", tree: os.DirFS("testdata/nvidia"),
			nvml: func(context.Context) ([]card, error) { return []card{}, nil },
			declared: []shoal.GPU{
				{Vendor: "tpu", Model: "Coral", ID: "usb-1"},
				{ID: "0000:00:02.0", Memory: 16 * gib, Model: "Arc A770"},
				{Vendor: "tpu\x1b[2J", Model: "Coral", ID: "usb-1", Health: "broken", Memory: 1 << 63},
			},
			want: []shoal.GPU{
				{Vendor: "intel", Model: "Arc A770", Memory: 16 * gib, ID: "0000:00:02.0", Driver: "6.1.0-18-amd64", Declared: true},
				{Vendor: "nvidia", Model: "PCI device 0x2504", ID: "0000:05:00.0", Driver: "6.1.0-18-amd64"},
				{Vendor: "nvidia", Model: "PCI device 0x2504", ID: "0000:0a:00.0", Driver: "6.1.0-18-amd64"},
				{Vendor: "tpu", Model: "Coral", ID: "usb-1", Declared: true},
				{Vendor: "tpu[2J", Model: "Coral", ID: "usb-1#2", Declared: true, Memory: maxMemory},
			},
		},
	} {
		m := machine{root: c.tree, nvml: c.nvml, smi: c.smi}
		if m.nvml == nil {
			m.nvml = none
		}
		if m.smi == nil {
			m.smi = none
		}
		list, load, err := m.look(t.Context(), c.declared)
		if len(list)+len(c.want) > 0 && !reflect.DeepEqual(list, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, list, c.want)
		}
		if len(load)+len(c.load) > 0 && !reflect.DeepEqual(load, c.load) {
			t.Errorf("%s: free\n got %+v\nwant %+v", c.name, load, c.load)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
	}
}

func TestLookIsBounded(t *testing.T) {
	many := make([]shoal.GPU, 1_000_000)
	list, _, err := machine{fstest.MapFS{}, none, none}.look(t.Context(), many)
	if err != nil || len(list) != shoal.MaxGPUs {
		t.Fatalf("%d, %v", len(list), err)
	}
	seen := map[string]bool{}
	for _, g := range list {
		if g.ID == "" || seen[g.ID] {
			t.Fatalf("ID %q", g.ID)
		}
		seen[g.ID] = true
	}
}

func TestLookHere(t *testing.T) {
	if list, load, err := GPUs(t.Context(), nil); err != nil {
		t.Errorf("%+v, %+v, %v", list, load, err)
	}
}

// FuzzLook has the tool and the kernel say anything.
func FuzzLook(f *testing.F) {
	for _, name := range []string{"two.txt", "lost.txt", "errors.txt", "mismatch.txt", "none.txt"} {
		b, err := os.ReadFile(filepath.Join("testdata/smi", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b), "Model: \t A\nGPU UUID: \t GPU-1\n", "18446744073709551615")
	}
	f.Fuzz(func(t *testing.T, said, info, number string) {
		root := fstest.MapFS{}
		for name, text := range map[string]string{
			"proc/driver/nvidia/gpus/0000:05:00.0/information": info, "proc/driver/nvidia/version": said,
			"sys/class/drm/card0/device/vendor": "0x1002", "sys/class/drm/card0/device/mem_info_vram_total": number,
			"sys/class/drm/card0/device/mem_info_vram_used": number, "sys/class/drm/card0/device/unique_id": info,
			"sys/class/drm/card0/device/uevent": said, "sys/class/drm/card0/device/ras/umc_err_count": info,
			"sys/class/drm/card0/device/hwmon/hwmon0/temp1_input": number, "sys/class/drm/card0/device/hwmon/hwmon0/temp1_crit": number,
		} {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		smi := func(context.Context) ([]card, error) {
			cards, complaint := parseSMI(said, 9)
			return cards, errors.New(complaint)
		}
		list, load, _ := machine{root, none, smi}.look(t.Context(), []shoal.GPU{{Vendor: said, ID: info}})
		ids := map[string]bool{}
		for _, g := range list {
			for _, s := range []string{g.ID, g.Vendor, g.Model, g.Driver, g.Health} {
				if len(s) > 256 || !utf8.ValidString(s) || strings.ContainsAny(s, "\n\x1b") {
					t.Fatalf("%q", s)
				}
			}
			if g.ID == "" || ids[g.ID] || g.Memory > maxMemory {
				t.Fatalf("%+v", g)
			}
			ids[g.ID] = true
		}
		for _, l := range load {
			if !ids[l.ID] || l.Free > maxMemory {
				t.Fatalf("%+v", l)
			}
		}
	})
}
