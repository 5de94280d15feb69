package expr_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
)

const gib = 1 << 30

func laptop() *shoal.Member {
	return &shoal.Member{ID: "12D3KooWlaptop", Attributes: shoal.Attributes{
		OS: "linux", Arch: "amd64", CPUs: 2, Memory: 8 * gib, Disk: 100 * gib, Version: "0.1.0",
		Labels: map[string]string{"zone": "home"}, Executors: []string{"train", "ffmpeg"},
		CPU: shoal.CPU{Model: "Intel(R) Core(TM) i5", Cores: 2, Features: []string{"aes", "avx2"}},
	}, Load: shoal.Load{Slots: 2, Running: 1}}
}

func server() *shoal.Member {
	return &shoal.Member{ID: "12D3KooWserver", Attributes: shoal.Attributes{
		OS: "linux", Arch: "arm64", CPUs: 96, Memory: 500 * gib, Disk: 4000 * gib, Version: "0.1.0", HashMBs: 2000,
		GPUs: []shoal.GPU{
			{Vendor: "nvidia", Model: "A100", Memory: 40 * gib, ID: "GPU-1", Driver: "550.54.15"},
			{Vendor: "nvidia", Model: "T4", Memory: 15 * gib, Health: "GPU is lost", ID: "GPU-2", Driver: "99.1"},
		},
		Rates: shoal.Rates{Gas: 2e9, Memory: 11.5, Disk: 1},
	}, Load: shoal.Load{GPUs: []shoal.GPULoad{{ID: "GPU-1", Free: 10 * gib}}}}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		src    string
		m      *shoal.Member
		reason string // "" when it matches
	}{
		{"", laptop(), ""},
		{"  \n ", laptop(), ""},
		{"cpus >= 2", laptop(), ""},
		{"cpus >= 8", laptop(), "cpus >= 8: cpus is 2"},
		{"os == 'linux' && cpus >= 8 && memory >= gib(64)", laptop(), "cpus >= 8: cpus is 2"},
		{"memory >= gib(8) && memory < gib(9)", laptop(), ""},
		{"memory >= gib(8.5)", laptop(), "memory >= gib(8.5): memory is 8GiB"},
		{"disk > mib(200000)", laptop(), "disk > mib(200000): disk is 100GiB"},
		{"gpus.exists(g, g.memory >= gib(16))", laptop(), "gpus.exists(g, g.memory >= gib(16)) is false: gpus is empty"},
		{"gpus.exists(g, g.memory >= gib(16) && g.vendor == 'nvidia')", server(), ""},
		{
			"gpus.exists(g, g.memory >= gib(80))", server(),
			"gpus.exists(g, g.memory >= gib(80)) is false: gpus is nvidia A100 40GiB (10GiB free), nvidia T4 15GiB (GPU is lost)",
		},
		{"gpus[0].memory >= gib(16)", laptop(), "gpus[0].memory >= gib(16): index out of bounds: 0, gpus is empty"},
		{"size(gpus) > 1", laptop(), "size(gpus) > 1: gpus is empty"},
		{"labels.zone == 'home'", laptop(), ""},
		{"labels['zone'] == 'lab'", laptop(), `labels["zone"] == "lab": labels.zone is 'home'`},
		{"labels.rack == 'r1'", laptop(), `labels.rack == "r1": labels has no rack`},
		{"labels.rack != 'r1'", laptop(), `labels.rack != "r1": labels has no rack`},
		{"has(labels.rack) || cpus == 2", laptop(), ""},
		{"has(labels.rack)", laptop(), "has(labels.rack) is false: labels has no rack"},
		{"'rack' in labels", laptop(), `"rack" in labels: labels is zone=home`},
		{"'train' in executors", laptop(), ""},
		{"'trains' in executors", laptop(), `"trains" in executors: executors is train, ffmpeg`},
		{"'train' in executors", server(), `"train" in executors: executors is empty`},
		{"'rack' in labels", server(), `"rack" in labels: labels is empty`},
		{"load.running == 0", laptop(), "load.running == 0: load.running is 1"},
		{"load.running < load.slots", laptop(), ""},
		{"!(arch == 'amd64')", laptop(), `!(arch == "amd64") is false: arch is 'amd64'`},
		{"labels.rack == 'r1' && cpus > 64", laptop(), "cpus > 64: cpus is 2"},
		{"id.startsWith('12D3') && version.matches('^0[.]')", laptop(), ""},
		{"hash_mbs > 2500.0", server(), "hash_mbs > 2500.0: hash_mbs is 2000"},
		{"hash_mbs >= 2000", server(), ""},
		{"rate.gas >= 1000000000 && rate.memory_gbs > 10 && rate.disk_gbs >= 1", server(), ""},
		{"rate.gas >= 1e9", laptop(), "rate.gas >= 1e+09: rate.gas is 0"},
		{"cpu.model.contains('Intel') && cpu.cores == 2 && 'avx2' in cpu.features", laptop(), ""},
		{"'avx512f' in cpu.features", laptop(), `"avx512f" in cpu.features: cpu.features is aes, avx2`},
		{"cpu.features.exists(f, f == 'sve')", server(), `cpu.features.exists(f, f == "sve") is false: cpu.features is empty`},
		{"gpus.exists(g, g.healthy && version(g.driver) >= version('545'))", server(), ""},
		{
			"gpus.exists(g, version(g.driver) >= version('550.100'))", server(),
			`gpus.exists(g, version(g.driver) >= version("550.100")) is false: gpus is nvidia A100 40GiB (10GiB free), nvidia T4 15GiB (GPU is lost)`,
		},
		{"gpus.exists(g, g.id == 'GPU-1' && g.free > gib(9) && !g.declared)", server(), ""},
		{"gpus.exists(g, g.health.contains('lost') && g.free == 0)", server(), ""},
		{"version(version) >= version('0.0.9')", laptop(), ""},
		{"1 / (cpus - 2) > 0", laptop(), "1 / (cpus - 2) > 0: division by zero, cpus is 2"},
		{"gpus.all(cpus, cpus.vendor == 'nvidia') && cpus >= 96", server(), ""},
	} {
		p, err := expr.Compile(c.src)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		ok, reason, err := p.Match(c.m)
		if p.Fits(c.m) != ok {
			t.Errorf("%s: Fits says %v, Match %v", c.src, !ok, ok)
		}
		if err != nil || ok != (c.reason == "") || reason != c.reason {
			t.Errorf("%s: got %v, %q, %v; want %q", c.src, ok, reason, err, c.reason)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"cpu >= 8", "column 1: undeclared reference to 'cpu'"},
		{"cpus >= 8 && os = 'linux'", "column 17:"},
		{"cpus >= 8 &&", "column 13:"},
		{"cpus >= 8 &&\n  ram > 1", "line 2, column 3: undeclared reference to 'ram'"},
		{"cpus", "it gives a value of type int, not true or false"},
		{"cpus >= '8'", "column 6: found no matching overload for '_>=_' applied to '(int, string)'"},
		{"gpus.exists(g, g.vendro == 'nvidia')", "column 17: undefined field 'vendro'"},
		{"cpus >= 8 && cpu.cores >= '4'", "column 24: found no matching overload"},
		{"gpus.exists(g, g.healthy && g.drivers >= '550')", "column 30: undefined field 'drivers'"},
		{"cpu.modell == 'x'", "undeclared reference to 'cpu.modell'"},
		{"version(1) > 0", "column 8: found no matching overload"},
		{"load.run == 1", "undeclared reference to 'load.run'"},
		{"version.matches('(')", "column"},
		{"cpus >= 8" + strings.Repeat(" ", 1) + "|| cpus >= 8" + strings.Repeat(" || cpus >= 8", 500), "longer than"},
		{strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100), "column"},
		{strings.Repeat("[", 2000), "column"},
		{"gpus.all(a, gpus.all(b, gpus.all(c, gpus.all(d, true))))", "column"},
		{"\x00\xff", "column"},
	} {
		_, err := expr.Compile(c.src)
		if err == nil {
			t.Errorf("%s: no error", c.src)
			continue
		}
		if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60s: %v; want %q", c.src, err, c.want)
		}
		if strings.Contains(c.want, "undeclared") && !strings.Contains(err.Error(), "there are os, arch, cpus") {
			t.Errorf("%s: %v does not list the variables", c.src, err)
		}
	}
}

// TestCost gives an expression that is cheap to write and dear to evaluate.
func TestCost(t *testing.T) {
	big := server()
	for range 300 {
		big.Attributes.GPUs = append(big.Attributes.GPUs, big.Attributes.GPUs[0])
	}
	p, err := expr.Compile("gpus.all(a, gpus.all(b, a.memory + b.memory > 0))")
	if err != nil {
		t.Fatal(err)
	}
	if p.Fits(big) {
		t.Error("what costs too much fits")
	}
	if _, _, err = p.Match(big); shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "too long") {
		t.Fatalf("got %v", err)
	}
	if ok, _, err := p.Match(server()); !ok || err != nil {
		t.Fatalf("on a real machine: %v, %v", ok, err)
	}
}

func TestReasonIsShownSafely(t *testing.T) {
	m := laptop()
	m.Attributes.OS = "evil\x1b[31m\n" + strings.Repeat("x", 1000)
	m.Attributes.Labels = map[string]string{"a": strings.Repeat("y", 10000)}
	p, _ := expr.Compile("os == 'linux' || labels == {}")
	_, reason, _ := p.Match(m)
	if reason == "" || len(reason) > 400 || strings.ContainsAny(reason, "\x1b\n") {
		t.Errorf("reason %q", reason)
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"", ""},
		{"cpus >= 8", "cpus=8"},
		{"8 <= cpus", "cpus=8"},
		{"cpus > 8", "cpus=8"},
		{"cpus > 15", "cpus=16"},
		{"cpus >= 0", ""},
		{"cpus < 8", ""},
		{"cpus >= 8 || true", ""},
		{"memory >= gib(100)", "memory=64GiB"},
		{"memory >= 2 * gib(8) && os == 'linux'", "memory=16GiB os=linux"},
		{"memory >= mib(512)", ""},
		{"gpus.exists(g, true)", "gpu"},
		{"size(gpus) > 0", "gpu"},
		{"'train' in executors && (gpus.exists(g, true))", "exec=train gpu"},
		{"'train' in labels || 'train' in executors", ""},
		{"gpus.size() != 0", "gpu"},
		{"0 < size(gpus)", "gpu"},
		{"gpus.exists(g, g.vendor == 'nvidia' && g.memory >= gib(24))", "gpu/memory=16GiB gpu/vendor=nvidia gpu"},
		{"gpus.exists(g, g.free >= gib(24) && g.healthy)", "gpu/memory=16GiB gpu"},
		{"gpus.exists(g, 'A100' == g.model) && arch == 'arm64'", "gpu/model=A100 gpu arch=arm64"},
		{"gpus.all(g, g.vendor == 'nvidia')", ""},
		{"labels.zone == 'a' && labels['rack'] == 'r=1'", "label=rack=r=1 label=zone=a"},
		{"labels.zone != 'a'", ""},
		{"!(labels.zone == 'a')", ""},
		{"load.running == 0", ""},
	} {
		p, err := expr.Compile(c.src)
		if err != nil {
			t.Fatalf("%s: %v", c.src, err)
		}
		var got []string
		for _, k := range p.Keys() {
			got = append(got, k.String())
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: keys %q, want %q", c.src, s, c.want)
		}
	}
}

// genMember draws machines whose numbers sit on and beside the powers of two.
func genMember(t *rapid.T) *shoal.Member {
	near := func(label string) uint64 {
		n := uint64(1) << rapid.IntRange(20, 44).Draw(t, label)
		return n + uint64(rapid.IntRange(-1, 1).Draw(t, label+" off"))
	}
	m := &shoal.Member{Attributes: shoal.Attributes{
		OS:   rapid.SampledFrom([]string{"linux", "darwin", ""}).Draw(t, "os"),
		Arch: rapid.SampledFrom([]string{"amd64", "arm64"}).Draw(t, "arch"),
		CPUs: rapid.IntRange(-1, 300).Draw(t, "cpus"), Memory: near("memory"), Disk: near("disk"),
		Labels: rapid.MapOfN(rapid.SampledFrom([]string{"zone", "rack", "a"}), rapid.SampledFrom([]string{"x", "y", "b=c"}), 0, 3).
			Draw(t, "labels"),
	}}
	m.Attributes.Executors = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y"}), 0, 2).Draw(t, "executors")
	for i := range rapid.IntRange(0, 3).Draw(t, "gpus") {
		m.Attributes.GPUs = append(m.Attributes.GPUs, shoal.GPU{
			Vendor: rapid.SampledFrom([]string{"nvidia", "amd"}).Draw(t, "vendor"),
			Model:  rapid.SampledFrom([]string{"A100", "T4"}).Draw(t, "model"), Memory: near("gpu memory"), ID: fmt.Sprint(i),
		})
		m.Load.GPUs = append(m.Load.GPUs, shoal.GPULoad{ID: fmt.Sprint(i), Free: near("free")})
	}
	return m
}

// genExpr draws expressions of the shapes that imply keys, and of shapes that look like them.
func genExpr(t *rapid.T) string {
	num := func() string {
		n := rapid.IntRange(-2, 300).Draw(t, "n")
		return rapid.SampledFrom([]string{
			fmt.Sprint(n), fmt.Sprintf("gib(%d)", n), fmt.Sprintf("mib(%d)", n),
			fmt.Sprintf("%d * gib(2)", n), fmt.Sprintf("gib(%d) + mib(1)", n), fmt.Sprintf("gib(%d.5)", max(n, 0)),
		}).Draw(t, "amount")
	}
	op := func() string {
		return rapid.SampledFrom([]string{"==", "==", "!=", ">=", ">=", ">", "<=", "<"}).Draw(t, "op")
	}
	test := func(l, r string) string {
		if rapid.Bool().Draw(t, "swap") {
			l, r = r, l
		}
		return l + " " + op() + " " + r
	}
	str := func() string {
		return rapid.SampledFrom([]string{"'linux'", "'arm64'", "'nvidia'", "'A100'", "'x'", "'b=c'"}).Draw(t, "s")
	}
	field := func(g string) string {
		switch rapid.IntRange(0, 3).Draw(t, "field") {
		case 0:
			return test(g+".vendor", str())
		case 1:
			return test(g+".model", str())
		case 2:
			return test("cpus", num())
		}
		return test(g+rapid.SampledFrom([]string{".memory", ".free"}).Draw(t, "amount"), num())
	}
	var one func(depth int) string
	one = func(depth int) string {
		switch k := rapid.IntRange(0, 10).Draw(t, "kind"); {
		case k == 0 && depth < 3:
			return "!(" + one(depth+1) + ")"
		case k == 1 && depth < 3:
			return "(" + one(depth+1) + " || " + one(depth+1) + ")"
		case k == 2 && depth < 3:
			return "(" + one(depth+1) + " && " + one(depth+1) + ")"
		case k == 3:
			return test(rapid.SampledFrom([]string{"os", "arch"}).Draw(t, "v"), str())
		case k == 4:
			return test(rapid.SampledFrom([]string{"labels.zone", "labels['rack']", "labels.a"}).Draw(t, "l"), str())
		case k == 5:
			m := rapid.SampledFrom([]string{"exists", "all", "exists_one"}).Draw(t, "macro")
			g := rapid.SampledFrom([]string{"g", "labels", "memory"}).Draw(t, "g")
			return fmt.Sprintf("gpus.%s(%s, %s && %s)", m, g, field(g), field(g))
		case k == 6:
			return test("size(gpus)", num())
		case k == 7:
			return test("gpus[0].memory", num())
		case k == 8:
			return rapid.SampledFrom([]string{"'x' in executors", "\"y\" in executors", "executors in [['x']]"}).Draw(t, "exec")
		}
		return test(rapid.SampledFrom([]string{"cpus", "memory", "disk"}).Draw(t, "v"), num())
	}
	parts := []string{one(0)}
	for range rapid.IntRange(0, 2).Draw(t, "more") {
		parts = append(parts, one(0))
	}
	return strings.Join(parts, " && ")
}

// genFitting draws a test that m passes, or nearly passes.
func genFitting(t *rapid.T, m *shoal.Member) string {
	a := m.Attributes
	amount := func(n uint64) string {
		return fmt.Sprintf("%s %d", rapid.SampledFrom([]string{">=", ">", "=="}).Draw(t, "op"),
			n-min(n, uint64(rapid.IntRange(0, 2).Draw(t, "less"))))
	}
	switch k := rapid.IntRange(0, 5).Draw(t, "fit"); {
	case k == 0:
		return "cpus " + amount(uint64(max(a.CPUs, 0)))
	case k == 1 && len(a.Labels) > 0:
		l := slices.Sorted(maps.Keys(a.Labels))[0]
		return fmt.Sprintf("labels[%q] == %q", l, a.Labels[l])
	case k >= 2 && len(a.GPUs) > 0:
		g := rapid.SampledFrom(a.GPUs).Draw(t, "gpu")
		return fmt.Sprintf("gpus.exists(g, g.vendor == %q && g.memory %s && %q == g.model)", g.Vendor, amount(g.Memory), g.Model)
	}
	return "memory " + amount(a.Memory)
}

// TestKeysFindEveryMatch: whoever matches has announced each key of the expression.
func TestKeysFindEveryMatch(t *testing.T) {
	matched, indexed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		first := genMember(t)
		src := genFitting(t, first)
		if rapid.Bool().Draw(t, "wild") {
			src += " && " + genExpr(t)
		}
		p, err := expr.Compile(src)
		if err != nil {
			t.Skip(err)
		}
		for i := range 10 {
			m := first
			if i > 0 {
				m = genMember(t)
			}
			ok, reason, err := p.Match(m)
			if p.Fits(m) != ok {
				t.Fatalf("%s: Fits says %v, Match %v", p, !ok, ok)
			}
			if err != nil || ok != (reason == "") {
				t.Fatalf("%s: %v, %q, %v", src, ok, reason, err)
			}
			if !ok {
				continue
			}
			matched++
			announced := expr.MemberKeys(m)
			for _, k := range p.Keys() {
				indexed++
				if !slices.Contains(announced, k.Key()) {
					t.Fatalf("%s matches %+v, which does not announce %v", src, m.Attributes, k)
				}
			}
		}
	})
	t.Logf("%d matches, %d keys held", matched, indexed)
	if matched < 20 || indexed < 20 {
		t.Error("the test proved nothing")
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"cpus >= 8 && gpus.exists(g, g.memory >= gib(16))", "labels.zone in ['a','b']", "a.b[c](d){e:f}?g:h", "'\\u0000'", "gpus[0]",
		"gpus.map(g, g.memory).exists(x, x > 1)", "has(labels.x) && labels.x.matches('(a+)+')", "gpu{}", "load.slots - -1 > 0x7f",
	} {
		f.Add(s)
	}
	members := []*shoal.Member{laptop(), server(), {}}
	f.Fuzz(func(t *testing.T, src string) {
		p, err := expr.Compile(src)
		if err != nil {
			if shoal.KindOf(err) != shoal.Invalid || strings.ContainsRune(err.Error(), '\n') {
				t.Fatalf("%q: %v", src, err)
			}
			return
		}
		for _, m := range members {
			ok, reason, err := p.Match(m)
			if p.Fits(m) != ok {
				t.Fatalf("%s: Fits says %v, Match %v", p, !ok, ok)
			}
			if err == nil && ok != (reason == "") {
				t.Fatalf("%q: %v, %q", src, ok, reason)
			}
			if announced := expr.MemberKeys(m); ok {
				for _, k := range p.Keys() {
					if !slices.Contains(announced, k.Key()) {
						t.Fatalf("%q matches %+v, which does not announce %v", src, m.Attributes, k)
					}
				}
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	members := make([]*shoal.Member, 1000)
	for i := range members {
		members[i] = laptop()
		if i%2 == 0 {
			members[i] = server()
		}
		members[i].Attributes.CPUs = i % 128
	}
	for _, src := range []string{
		"cpus >= 64", "os == 'linux' && cpus >= 64 && memory >= gib(16)",
		"gpus.exists(g, g.vendor == 'nvidia' && g.memory >= gib(16))", "labels.zone == 'home' && cpus >= 2",
	} {
		p, err := expr.Compile(src)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(src, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, _, err := p.Match(members[i%len(members)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := expr.Compile("os == 'linux' && cpus >= 64 && memory >= gib(16)"); err != nil {
			b.Fatal(err)
		}
	}
}
