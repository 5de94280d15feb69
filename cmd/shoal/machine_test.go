package main

import (
	"testing"

	"github.com/shoal-fabric/shoal"
)

func TestBrief(t *testing.T) {
	a := shoal.Attributes{
		CPUs: 8, Memory: 64 << 30, Labels: map[string]string{"zone": "a", "rack": "1"},
		GPUs: []shoal.GPU{
			{Vendor: "nvidia", Model: "NVIDIA A100", Memory: 40 << 30, ID: "1"},
			{Vendor: "nvidia", Model: "NVIDIA A100", Memory: 40 << 30, ID: "2"},
			{Vendor: "nvidia", Model: "NVIDIA A100", Memory: 40 << 30, ID: "3", Health: "GPU is lost"},
			{Vendor: "amd", Model: "Vega", ID: "4", Declared: true},
			{Vendor: "intel"},
			{},
		},
	}
	l := shoal.Load{GPUs: []shoal.GPULoad{{ID: "1", Free: 1 << 30}, {ID: "2", Free: 1 << 30}, {ID: "4"}}}
	want := "8 cpus, 64.0 GiB, 2 x NVIDIA A100 40.0 GiB (1.0 GiB free), NVIDIA A100 40.0 GiB (not well: GPU is lost), " +
		"amd Vega (0 B free, declared), intel, unknown, rack=1, zone=a"
	if got := brief(a, l); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]uint64{"": 0, "65536": 65536, "512MiB": 512 << 20, "1g": 1 << 30, "0.5GiB": 512 << 20} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"lots", "-1", "0", "NaN", "Inf", "1e30", "99999999999GiB", "5TiB", "nangib"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}
