package shoal

import (
	"maps"
	"slices"
	"time"
)

// PeerID is a libp2p peer ID in its text form ("12D3KooW..."). Hands convert; minds compare.
type PeerID string

// Short returns the last eight characters, which is what people read aloud.
func (p PeerID) Short() string {
	if len(p) > 8 {
		return string(p[len(p)-8:])
	}
	return string(p)
}

// Attributes describe a peer's machine. They change rarely; the peer signs them. Zero is what is not known.
type Attributes struct {
	OS      string            `cbor:"os" json:"os"`
	Arch    string            `cbor:"arch" json:"arch"`
	CPUs    int               `cbor:"cpus" json:"cpus"`     // logical processors
	Memory  uint64            `cbor:"memory" json:"memory"` // bytes
	Disk    uint64            `cbor:"disk" json:"disk"`     // bytes, of the file system that holds the node's directory
	GPUs    []GPU             `cbor:"gpus,omitempty" json:"gpus,omitempty"`
	Labels  map[string]string `cbor:"labels,omitempty" json:"labels,omitempty"`
	Version string            `cbor:"version" json:"version"`             // of the shoal binary
	HashMBs float64           `cbor:"hash_mbs,omitempty" json:"hash_mbs"` // measured at start: SHA-256 of one core, MB/s
	CPU     CPU               `cbor:"cpu,omitzero" json:"cpu"`
	Rates   Rates             `cbor:"rates,omitzero" json:"rates"`

	Executors []string `cbor:"executors,omitempty" json:"executors,omitempty"` // native ones that the operator allows, by name
}

// Equal reports whether a and b say the same.
func (a Attributes) Equal(b Attributes) bool {
	return a.OS == b.OS && a.Arch == b.Arch && a.CPUs == b.CPUs && a.Memory == b.Memory && a.Disk == b.Disk && a.Version == b.Version &&
		a.HashMBs == b.HashMBs && a.Rates == b.Rates && a.CPU.Model == b.CPU.Model && a.CPU.Cores == b.CPU.Cores &&
		slices.Equal(a.CPU.Features, b.CPU.Features) && slices.Equal(a.GPUs, b.GPUs) && slices.Equal(a.Executors, b.Executors) &&
		maps.Equal(a.Labels, b.Labels)
}

// CPU is what the processors are. How many there are to use is Attributes.CPUs.
type CPU struct {
	Model    string   `cbor:"m,omitempty" json:"model"`
	Cores    int      `cbor:"c,omitempty" json:"cores"`              // physical
	Features []string `cbor:"f,omitempty" json:"features,omitempty"` // those that programs ask for ("avx2", "neon"), sorted
}

// Rates are what the machine was measured to do, once and at leisure after its first start.
type Rates struct {
	Gas    float64 `cbor:"g,omitempty" json:"gas"`        // units of gas a second, on one core
	Memory float64 `cbor:"m,omitempty" json:"memory_gbs"` // GB (10^9 bytes) a second, copied by one core
	Disk   float64 `cbor:"d,omitempty" json:"disk_gbs"`   // GB a second, written and synced in the node's directory
}

// MaxGPUs is how many graphics processors a machine may say it has.
const MaxGPUs = 64

// GPU is one graphics processor, or another device that its operator declared.
type GPU struct {
	Vendor   string  `cbor:"vendor" json:"vendor"` // "nvidia", "amd", "intel"; what the operator says of a declared one
	Model    string  `cbor:"model" json:"model"`
	Memory   uint64  `cbor:"memory" json:"memory"`                  // bytes
	ID       string  `cbor:"i,omitempty" json:"id,omitempty"`       // UUID, PCI address or serial number; no two of a machine share one
	Driver   string  `cbor:"d,omitempty" json:"driver,omitempty"`   // version
	Health   string  `cbor:"h,omitempty" json:"health,omitempty"`   // "" for well, else what is wrong
	Declared bool    `cbor:"x,omitempty" json:"declared,omitempty"` // by the operator; nobody looked
	TFlops   float64 `cbor:"f,omitempty" json:"tflops,omitempty"`   // 10^12 floating-point operations a second, as a tool of the operator's measured; 0: not measured
}

// Healthy reports whether nothing is known to be wrong with it.
func (g GPU) Healthy() bool { return g.Health == "" }

// Load is the fast-changing part of a peer's state, as the peer last said it.
type Load struct {
	Slots     int       `cbor:"slots" json:"slots"`                   // tasks it runs at once
	Running   int       `cbor:"running" json:"running"`               // tasks running
	Queued    int       `cbor:"queued" json:"queued"`                 // tasks waiting
	TaskSecs  float64   `cbor:"task_s" json:"task_s"`                 // mean run time of its recent tasks, seconds
	DiskFree  uint64    `cbor:"disk_free" json:"disk_free"`           // bytes
	HeldBytes uint64    `cbor:"held" json:"held"`                     // bytes of blocks kept
	GPUs      []GPULoad `cbor:"gpus,omitempty" json:"gpus,omitempty"` // of those that tell
}

// GPULoad is what is free on one graphics processor.
type GPULoad struct {
	ID   string `cbor:"i" json:"id"`   // as in GPU
	Free uint64 `cbor:"f" json:"free"` // bytes of memory
}

// GPUFree returns the bytes of memory that are free on the graphics processor called id, and whether that is known.
func (l Load) GPUFree(id string) (free uint64, known bool) {
	for _, g := range l.GPUs {
		if g.ID == id && id != "" {
			return g.Free, true
		}
	}
	return 0, false
}

// MemberState is what a node believes of another member.
type MemberState string

// The states of a member.
const (
	Alive     MemberState = "alive"     // heard from within the liveness window
	Suspect   MemberState = "suspect"   // silent for a while; not chosen for new work
	Down      MemberState = "down"      // silent for longer; expected back
	Left      MemberState = "left"      // drained and said goodbye
	Forgotten MemberState = "forgotten" // declared dead for good by a member
)

// Member is a row of the member table. Every fact carries its age.
type Member struct {
	ID         PeerID
	Addresses  []string // multiaddrs without /p2p
	Attributes Attributes
	Load       Load
	State      MemberState
	Seq        uint64    // version of the signed record
	Seen       time.Time // when this node last had news of it, first or second hand
}
