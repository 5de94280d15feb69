package devices

import (
	"io/fs"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/shoal-fabric/shoal"
)

// processor describes the processors that this process may use.
func processor() shoal.CPU {
	name, cores := chip()
	return shoal.CPU{Model: Clean(name), Cores: min(cores, runtime.GOMAXPROCS(0)), Features: features()}
}

// features returns those that programs ask for, sorted.
func features() (out []string) {
	x, a := &cpu.X86, &cpu.ARM64
	for name, has := range map[string]bool{
		"aes": x.HasAES || a.HasAES, "avx": x.HasAVX, "avx2": x.HasAVX2, "fma": x.HasFMA, "sse4.2": x.HasSSE42,
		"avx512f": x.HasAVX512F, "avx512bw": x.HasAVX512BW, "avx512vnni": x.HasAVX512VNNI, "avx512bf16": x.HasAVX512BF16,
		"amx-bf16": x.HasAMXBF16, "amx-int8": x.HasAMXInt8,
		"neon": a.HasASIMD, "dotprod": a.HasASIMDDP, "fp16": a.HasASIMDHP, "sve": a.HasSVE, "sve2": a.HasSVE2, "sha2": a.HasSHA2,
	} {
		if has {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// linuxChip reads what Linux tells of its processors: the model, and how many physical cores those in use are.
func linuxChip(root fs.FS) (model string, cores int) {
	text, _ := fs.ReadFile(root, "proc/cpuinfo")
	arm := ""
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		switch name, value = strings.TrimSpace(name), strings.TrimSpace(value); {
		case model == "" && (name == "model name" || name == "Model" || name == "uarch"):
			model = value
		case name == "CPU implementer" && arm == "":
			arm = "ARM " + value
		case name == "CPU part" && !strings.Contains(arm, "part"):
			arm += " part " + value
		}
	}
	if model == "" {
		model = arm
	}
	entries, _ := fs.ReadDir(root, "sys/devices/system/cpu")
	seen := map[string]bool{}
	for _, e := range entries {
		if !cpuName.MatchString(e.Name()) {
			continue
		}
		dir := path.Join("sys/devices/system/cpu", e.Name(), "topology")
		siblings, err := fs.ReadFile(root, path.Join(dir, "thread_siblings_list"))
		if err == nil { // a processor that is off line has none
			seen[strings.TrimSpace(string(siblings))] = true
		}
	}
	return model, len(seen)
}

var cpuName = regexp.MustCompile(`^cpu[0-9]+$`)
