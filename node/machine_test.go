package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
	"github.com/shoal-fabric/shoal/wire"
)

// A node measures its machine once, says so, and knows it at the next start; another version measures anew.
func TestRatesAreMeasuredOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var cfg Config
	n, err := lone(t, nil, func(c *Config) {
		c.Measure, c.measureAfter = true, time.Millisecond
		cfg = *c
	})
	if err != nil {
		t.Fatal(err)
	}
	rates := func() shoal.Rates { return n.rooms.members.Self().Attributes.Rates }
	eventually(t, time.Minute, "the machine is measured", func() bool { return rates() != shoal.Rates{} })
	first := rates()
	t.Logf("%+v", first)
	if first.Gas < 1e6 || first.Gas > 1e12 || first.Memory < 0.05 || first.Disk <= 0 {
		t.Errorf("not plausible: %+v", first)
	}
	if left, err := os.ReadDir(filepath.Join(cfg.Dir, "tasks", "scratch")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var kept []byte
	eventually(t, time.Minute, "it is kept", func() bool {
		kept, err = n.rooms.disk.KV("node").Get(ratesKey)
		return err == nil
	})
	again := func() {
		t.Helper()
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err = Open(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	again()
	if rates() != first {
		t.Errorf("after a restart it is %+v", rates())
	}
	if err := n.calibrate(ctx); err != nil || rates() != first {
		t.Errorf("measured again: %+v, %v", rates(), err)
	}
	var k keptRates
	if err := wire.Unmarshal("rates", kept, &k); err != nil {
		t.Fatal(err)
	}
	k.Version = "0.0.1"
	if err := n.rooms.disk.KV("node").Set(ratesKey, wire.Marshal(k)); err != nil {
		t.Fatal(err)
	}
	again()
	defer func() { _ = n.Close() }()
	eventually(t, time.Minute, "another version measures anew", func() bool { return rates() != shoal.Rates{} && rates() != first })
}

// What becomes of a graphics processor is seen by other members: its failing, what is free on it, its going.
func TestGPUsAreWatched(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 2, func(i int, c *Config) {
		if i == 1 {
			c.Devices = []shoal.GPU{{Vendor: "tpu", Model: "Coral", Memory: 8 << 30, ID: "usb-1"}}
		}
	})
	sees := func(where string, want int) {
		t.Helper()
		eventually(t, 30*time.Second, where, func() bool {
			list, _, err := ns[0].Peers(t.Context(), where)
			return err == nil && len(list) == want
		})
	}
	sees(`gpus.exists(g, g.declared && g.vendor == "tpu" && g.healthy && g.memory == gib(8))`, 1)
	declared := ns[1].rooms.members.Self().Attributes.GPUs
	card := shoal.GPU{Vendor: "nvidia", Model: "T4", Memory: 16 << 30, ID: "GPU-1", Driver: "550.54"}
	ns[1].sawGPUs(append(declared, card), []shoal.GPULoad{{ID: "GPU-1", Free: 4 << 30}}, nil)
	sees(`gpus.exists(g, g.id == "GPU-1" && g.free == gib(4))`, 1)
	ns[1].sawGPUs(append(declared, card), []shoal.GPULoad{{ID: "GPU-1", Free: 15 << 30}}, nil)
	sees(`gpus.exists(g, g.id == "GPU-1" && g.free == gib(15))`, 1)
	ns[1].sawGPUs(declared, nil, errors.New("nvidia-smi did not answer in time"))
	sees(`gpus.exists(g, g.id == "GPU-1" && !g.healthy && g.health.contains("did not answer") && g.free == 0)`, 1)
	sees(`gpus.exists(g, g.id == "usb-1" && g.healthy)`, 1)
	ns[1].describe(t.Context()) // it is not on this machine
	sees(`gpus.exists(g, g.id == "GPU-1")`, 0)
	if got := ns[1].rooms.members.Self().Attributes.GPUs; !reflect.DeepEqual(got, declared) {
		t.Errorf("%+v", got)
	}
}

// TestDevicesAreGauged: each healthy device once, by the operator's tool; kept over a restart, until the driver changes.
func TestDevicesAreGauged(t *testing.T) {
	t.Parallel()
	runs := filepath.Join(t.TempDir(), "runs")
	driver := "550.54"
	cfg := Config{
		Dir: t.TempDir(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, NoMDNS: true, Warden: warden, measureAfter: 10 * time.Millisecond,
		gpus: func() ([]shoal.GPU, error) {
			return []shoal.GPU{
				{Vendor: "nvidia", Model: "T4", Memory: 16 << 30, ID: "GPU-1", Driver: driver},
				{Vendor: "nvidia", Model: "T4", Memory: 16 << 30, ID: "GPU-2", Driver: driver, Health: "lost"},
				{Vendor: "nvidia", Model: "T4", Memory: 16 << 30, ID: "GPU-3", Driver: driver},
			}, nil
		},
		Executors: []native.Executor{{
			Name: "flops", Devices: reserve.Want{Whole: 1}, Measures: true,
			Command: []string{"sh", "-c", "echo $SHOAL_DEVICES >>" + runs + "; echo 65.$CUDA_VISIBLE_DEVICES | tr -d GPU-"},
		}},
	}
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	speeds := func() (out []float64) {
		for _, g := range n.rooms.members.Self().Attributes.GPUs {
			out = append(out, g.TFlops)
		}
		return out
	}
	want := []float64{65.1, 0, 65.3}
	eventually(t, time.Minute, "the devices are measured", func() bool { return slices.Equal(speeds(), want) })
	if !n.describe(t.Context()) || !slices.Equal(speeds(), want) {
		t.Errorf("after another look: %v", speeds())
	}
	began := func() string {
		b, err := os.ReadFile(runs)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	restart := func() {
		t.Helper()
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err = Open(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	if !slices.Equal(speeds(), want) || began() != "GPU-1\nGPU-3\n" {
		t.Errorf("after a restart: %v, of runs on %q", speeds(), began())
	}
	driver = "560.1"
	restart()
	eventually(t, time.Minute, "another driver is measured anew", func() bool {
		return slices.Equal(speeds(), want) && began() == "GPU-1\nGPU-3\nGPU-1\nGPU-3\n"
	})
}
