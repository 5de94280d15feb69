package devices

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/shoal-fabric/shoal"
)

func TestDescribe(t *testing.T) {
	begin := time.Now()
	a, err := Describe(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v in %v", a, time.Since(begin))
	if a.OS != runtime.GOOS || a.Arch != runtime.GOARCH || a.CPUs < 1 || a.CPUs > runtime.NumCPU() {
		t.Errorf("got %+v", a)
	}
	if a.Memory < 64<<20 || a.Disk < 1<<20 || a.HashMBs < 1 {
		t.Errorf("not plausible: %+v", a)
	}
}

func TestDescribeWithoutDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	a, err := Describe(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "gone") || a.Disk != 0 || a.CPUs == 0 {
		t.Fatalf("got %+v, %v", a, err)
	}
}

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestGPUs(t *testing.T) {
	none := func(context.Context) (string, error) { return "", fs.ErrNotExist }
	root := fstest.MapFS{
		"sys/class/drm/card0/device/vendor":                     file("0x1002\n"),
		"sys/class/drm/card0/device/device":                     file("0x73bf\n"),
		"sys/class/drm/card0/device/mem_info_vram_total":        file("17163091968\n"),
		"sys/class/drm/card0-HDMI-A-1/device/vendor":            file("0x1002\n"),
		"sys/class/drm/card1/device/vendor":                     file("0x10de\n"),
		"sys/class/drm/card1/device/device":                     file("0x2204\n"),
		"sys/class/drm/card2/device/vendor":                     file("0x1af4\n"), // virtio
		"sys/class/drm/card10/device/vendor":                    file("0x8086\n"),
		"sys/class/drm/card10/device/product_name":              file("Arc\x1b[31m  A770\n"),
		"sys/class/drm/renderD128/device/vendor":                file("0x1002\n"),
		"sys/class/drm/version":                                 file("drm 1.1.0"),
		"proc/driver/nvidia/gpus/0000:01:00.0/information":      file("Model: \t\t NVIDIA RTX A4000\nIRQ: 5\n"),
		"proc/driver/nvidia/gpus/0000:02:00.0/information":      file("garbage"),
		"sys/class/drm/card3/device/vendor/is/not/a/file/there": file("x"),
	}
	amd := shoal.GPU{Vendor: "amd", Model: "PCI device 0x73bf", Memory: 17163091968}
	intel := shoal.GPU{Vendor: "intel", Model: "Arc[31m A770"}
	smiBroke := errors.New("driver mismatch")
	for _, c := range []struct {
		name string
		root fs.FS
		smi  func(context.Context) (string, error)
		want []shoal.GPU
		err  error
	}{
		{"nothing", fstest.MapFS{}, none, nil, nil},
		{"proc and drm", root, none, []shoal.GPU{{Vendor: "nvidia", Model: "NVIDIA RTX A4000"}, amd, intel}, nil},
		{"smi is best", root, func(context.Context) (string, error) {
			return "NVIDIA GeForce RTX 3090, 24576\nNVIDIA GB10, [N/A]\n\nnonsense\n", nil
		}, []shoal.GPU{{Vendor: "nvidia", Model: "NVIDIA GeForce RTX 3090", Memory: 24 << 30}, {Vendor: "nvidia", Model: "NVIDIA GB10"}, amd, intel}, nil},
		{"smi breaks", root, func(context.Context) (string, error) { return "", smiBroke }, []shoal.GPU{{Vendor: "nvidia", Model: "NVIDIA RTX A4000"}, amd, intel}, smiBroke},
		{"drm alone", fstest.MapFS{
			"sys/class/drm/card0/device/vendor": file("0x10de"), "sys/class/drm/card0/device/device": file("0x1"),
		}, none, []shoal.GPU{{Vendor: "nvidia", Model: "PCI device 0x1"}}, nil},
	} {
		got, err := gpus(t.Context(), c.root, c.smi)
		if !errors.Is(err, c.err) || len(got)+len(c.want) > 0 && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func FuzzSMI(f *testing.F) {
	f.Add("NVIDIA, 1\n", "\xff model")
	f.Fuzz(func(t *testing.T, s, name string) {
		for _, g := range append(parseSMI(s), shoal.GPU{Model: model(name)}) {
			if len(g.Model) > maxModel || !utf8.ValidString(g.Model) || strings.ContainsAny(g.Model, "\n\x1b") {
				t.Fatalf("%q", g.Model)
			}
		}
	})
}
