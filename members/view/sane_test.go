package view

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/expr"
	"github.com/shoal-fabric/shoal/scheduler/match"
	"github.com/shoal-fabric/shoal/wire"
)

// signed seals what Seal would refuse, as a hostile or broken member can.
func signed(n int, change func(*Record)) Item {
	r, err := readRecord(record(n, 1, 1).Fact, fabric)
	if err != nil {
		panic(err)
	}
	change(&r)
	return Item{Kind: KindRecord, Fact: capability.Seal(key(n), recordDomain, wire.Marshal(r))}
}

func gpus(n int) (list []shoal.GPU) {
	for i := range n {
		list = append(list, shoal.GPU{Vendor: "nvidia", ID: fmt.Sprint("GPU-", i)})
	}
	return list
}

func TestAbsurdRecords(t *testing.T) {
	long := strings.Repeat("x", 257)
	for name, c := range map[string]struct {
		change func(*Record)
		why    string
	}{
		"a GPU too many":      {func(r *Record) { r.Attributes.GPUs = gpus(65) }, "65 graphics processors"},
		"many loads":          {func(r *Record) { r.Load.GPUs = make([]shoal.GPULoad, 65) }, "65 graphics processors"},
		"one ID":              {func(r *Record) { r.Attributes.GPUs = append(gpus(1), gpus(1)...) }, "one ID"},
		"GPU memory":          {func(r *Record) { r.Attributes.GPUs = []shoal.GPU{{Memory: 1 << 51}} }, "memory of a graphics processor"},
		"GPU ID":              {func(r *Record) { r.Attributes.GPUs = []shoal.GPU{{ID: long}} }, "printable"},
		"GPU health":          {func(r *Record) { r.Attributes.GPUs = []shoal.GPU{{Health: "\x1b[2J"}} }, "printable"},
		"GPU driver":          {func(r *Record) { r.Attributes.GPUs = []shoal.GPU{{Driver: "a\nb"}} }, "printable"},
		"free":                {func(r *Record) { r.Load.GPUs = []shoal.GPULoad{{ID: "a", Free: 1 << 63}} }, "free"},
		"free of nothing":     {func(r *Record) { r.Load.GPUs = []shoal.GPULoad{{Free: 1}} }, "free"},
		"negative CPUs":       {func(r *Record) { r.Attributes.CPUs = -1 }, "negative"},
		"a million CPUs":      {func(r *Record) { r.Attributes.CPUs = 1e6 }, "a count is absurd"},
		"most negative cores": {func(r *Record) { r.Attributes.CPU.Cores = math.MinInt }, "negative"},
		"gpu speed":           {func(r *Record) { r.Attributes.GPUs = []shoal.GPU{{ID: "a", TFlops: -1}} }, "speed"},
		"slots":               {func(r *Record) { r.Load.Slots = math.MaxInt }, "a count is absurd"},
		"queue":               {func(r *Record) { r.Load.Queued = 1 << 40 }, "a count is absurd"},
		"memory":              {func(r *Record) { r.Attributes.Memory = math.MaxUint64 }, "a size is absurd"},
		"disk":                {func(r *Record) { r.Attributes.Disk = math.MaxUint64 }, "a size is absurd"},
		"disk free":           {func(r *Record) { r.Load.DiskFree = 1 << 62 }, "a size is absurd"},
		"NaN":                 {func(r *Record) { r.Attributes.HashMBs = math.NaN() }, ""}, // the encoding refuses it already
		"infinite":            {func(r *Record) { r.Attributes.Rates.Memory = math.Inf(1) }, ""},
		"negative rate":       {func(r *Record) { r.Attributes.Rates.Disk = -1 }, "measurement"},
		"gas":                 {func(r *Record) { r.Attributes.Rates.Gas = 1e300 }, "measurement"},
		"seconds":             {func(r *Record) { r.Load.TaskSecs = 1e30 }, "measurement"},
		"features":            {func(r *Record) { r.Attributes.CPU.Features = make([]string, 65) }, "features"},
		"model":               {func(r *Record) { r.Attributes.CPU.Model = long }, "printable"},
		"before 1970":         {func(r *Record) { r.At = -1 }, "1970"},
		"tomorrow":            {func(r *Record) { r.At = noon.Add(25 * time.Hour).UnixMilli() }, "clock is 25h0m0s ahead"},
		"the end of time":     {func(r *Record) { r.At = math.MaxInt64 }, "ahead"},
	} {
		v := table(9)
		it := signed(1, c.change)
		news, err := v.Offer(it, true, noon)
		if news || len(v.rows) > 0 || shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%s: %v, %v", name, news, err)
			continue
		}
		if !strings.Contains(err.Error(), id(1).Short()) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v does not name the peer, or %q", name, err, c.why)
		}
		// What nobody signed is nobody's fault but the sender's.
		it.Fact.Sig = bytes.Clone(it.Fact.Sig)
		it.Fact.Sig[0] ^= 1
		if _, err := v.Offer(it, false, noon); shoal.KindOf(err) != shoal.Refused {
			t.Errorf("%s, forged: %v", name, err)
		}
	}
	fits := signed(1, func(r *Record) {
		r.At = noon.Add(23 * time.Hour).UnixMilli()
		r.Attributes.GPUs, r.Attributes.CPUs, r.Attributes.Memory = gpus(64), 1<<16, 1<<50
		r.Load.GPUs = []shoal.GPULoad{{ID: "GPU-1", Free: 1 << 50}}
	})
	if news, err := table(9).Offer(fits, true, noon); !news || err != nil {
		t.Errorf("at the bounds: %v, %v", news, err)
	}
}

// A node whose clock was set back still knows whom it knew, and outdoes what it said itself.
func TestClockSetBack(t *testing.T) {
	past := noon.Add(-1000 * time.Hour)
	v := table(9)
	if _, err := v.Offer(record(1, 1, 1), true, past); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("from another: %v", err)
	}
	if err := v.Recall(record(1, 1, 1), past); err != nil || v.rows[id(1)] == nil {
		t.Errorf("from disk: %v", err)
	}
	own := record(9, 1, 1)
	r, _ := readRecord(own.Fact, fabric)
	v.SetSelf(r, own.Fact, past)
	if _, err := v.Offer(record(9, 1, 50), true, past); err != nil || v.Outdone() != 50 {
		t.Errorf("its own: %v, outdone by %d", err, v.Outdone())
	}
	if err := r.Clock(id(9), noon); err != nil {
		t.Error(err)
	}
}

// A record of before there were processors and rates in it reads as ever, and one that has none is written as ever.
func TestOldRecords(t *testing.T) {
	type oldGPU struct {
		Vendor string `cbor:"vendor"`
		Model  string `cbor:"model"`
		Memory uint64 `cbor:"memory"`
	}
	type oldAttributes struct {
		OS      string            `cbor:"os"`
		Arch    string            `cbor:"arch"`
		CPUs    int               `cbor:"cpus"`
		Memory  uint64            `cbor:"memory"`
		Disk    uint64            `cbor:"disk"`
		GPUs    []oldGPU          `cbor:"gpus,omitempty"`
		Labels  map[string]string `cbor:"labels,omitempty"`
		Version string            `cbor:"version"`
		HashMBs float64           `cbor:"hash_mbs,omitempty"`
	}
	type oldLoad struct {
		Slots     int     `cbor:"slots"`
		Running   int     `cbor:"running"`
		Queued    int     `cbor:"queued"`
		TaskSecs  float64 `cbor:"task_s"`
		DiskFree  uint64  `cbor:"disk_free"`
		HeldBytes uint64  `cbor:"held"`
	}
	type oldRecord struct {
		Fabric     string        `cbor:"f"`
		Life       uint64        `cbor:"l"`
		Seq        uint64        `cbor:"q"`
		At         int64         `cbor:"t"`
		TTL        uint32        `cbor:"v"`
		Addresses  []string      `cbor:"a"`
		Attributes oldAttributes `cbor:"d"`
		Load       oldLoad       `cbor:"o"`
	}
	old := wire.Marshal(oldRecord{
		Fabric: fabric, Life: 1, Seq: 1, At: noon.UnixMilli(), TTL: 30, Addresses: []string{"/ip4/10.0.0.1/tcp/1"},
		Attributes: oldAttributes{OS: "linux", CPUs: 4, GPUs: []oldGPU{{"nvidia", "T4", 16 << 30}}, HashMBs: 900},
		Load:       oldLoad{Slots: 4, TaskSecs: 1.5},
	})
	r, err := OpenRecord(capability.Seal(key(1), recordDomain, old), fabric)
	if err != nil || r.Attributes.GPUs[0].Model != "T4" || !r.Attributes.GPUs[0].Healthy() || r.Load.TaskSecs != 1.5 {
		t.Fatalf("%+v, %v", r, err)
	}
	if fresh := wire.Marshal(r); !bytes.Equal(fresh, old) {
		t.Errorf("written as\n%x, was\n%x", fresh, old)
	}
	// And an older node reads what is new.
	r.Attributes.CPU, r.Attributes.Rates = shoal.CPU{Model: "x", Cores: 2, Features: []string{"avx2"}}, shoal.Rates{Gas: 1e9}
	r.Attributes.GPUs[0].Health, r.Load.GPUs = "hot", []shoal.GPULoad{{ID: "a", Free: 1}}
	var back oldRecord
	if err := wire.Unmarshal("record", wire.Marshal(r), &back); err != nil || back.Attributes.GPUs[0].Memory != 16<<30 || back.Load.Slots != 4 {
		t.Errorf("%+v, %v", back, err)
	}
}

// FuzzAbsurd has a member sign any numbers: what is taken must not trouble a decision.
func FuzzAbsurd(f *testing.F) {
	f.Add(int64(4), uint64(1<<34), 1e9, "GPU-1", uint64(1<<33), int64(0), 2)
	f.Add(int64(-1), uint64(math.MaxUint64), math.NaN(), "\xff", uint64(1), int64(math.MaxInt64), 1_000)
	f.Add(int64(math.MaxInt64), uint64(1<<50), math.Inf(1), "", uint64(1<<50), int64(math.MinInt64), 64)
	var needs []*match.Needs
	var programs []*expr.Program
	for _, src := range []string{
		"gpus.exists(g, g.healthy && g.free >= gib(8) && version(g.driver) >= version('550'))",
		"cpus * 2 > 8 && memory + disk > gib(1) && rate.gas / 2.0 > 1.0",
		"load.slots - load.running > 0 && gpus.all(g, g.memory * 2 > 0) && cpu.features.exists(x, x == cpu.model)",
	} {
		p, err := expr.Compile(src)
		if err != nil {
			f.Fatal(err)
		}
		n, err := match.Compile(src, shoal.Limits{Memory: 1 << 30})
		if err != nil {
			f.Fatal(err)
		}
		programs, needs = append(programs, p), append(needs, n)
	}
	f.Fuzz(func(t *testing.T, count int64, size uint64, rate float64, text string, free uint64, at int64, n int) {
		it := signed(1, func(r *Record) {
			r.At = at
			a, l := &r.Attributes, &r.Load
			a.CPUs, a.Memory, a.Disk, a.HashMBs = int(count), size, size, rate
			a.CPU = shoal.CPU{Model: text, Cores: int(count), Features: []string{text}}
			a.Rates = shoal.Rates{Gas: rate, Memory: rate, Disk: rate}
			for i := range min(max(n, 0), 100) {
				a.GPUs = append(a.GPUs, shoal.GPU{Vendor: text, Memory: size, ID: fmt.Sprint(text, i), Driver: text, Health: text})
			}
			*l = shoal.Load{Slots: int(count), Queued: int(count), TaskSecs: rate, DiskFree: size, GPUs: []shoal.GPULoad{{ID: text, Free: free}}}
		})
		v := table(9)
		news, err := v.Offer(it, true, noon)
		if err != nil {
			if news || shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), id(1).Short()) {
				t.Fatalf("%v, %v", news, err)
			}
			return
		}
		m, ok := v.Lookup(id(1), noon)
		a := m.Attributes
		if !ok || a.CPUs < 0 || a.Memory > maxMemory || !(a.HashMBs >= 0) || len(a.GPUs) > shoal.MaxGPUs {
			t.Fatalf("taken: %+v", m)
		}
		keys := expr.MemberKeys(&m)
		if len(keys) > 200 {
			t.Fatalf("%d keys", len(keys))
		}
		for i, p := range programs {
			fits, why, err := p.Match(&m)
			if err == nil && fits != (why == "") {
				t.Fatalf("%v: %v, %q", p, fits, why)
			}
			for _, k := range p.Keys() {
				if fits && !slices.Contains(keys, k.Key()) {
					t.Fatalf("%v fits and does not announce %v", p, k)
				}
			}
			needs[i].Check(&m, noon)
		}
		v.Changes(noon)
		v.Members(noon)
		v.Prune(noon)
	})
}
