// Package devices describes the machine that a node runs on: processors, memory, the disk that holds
// the node's directory, graphics processors, and how fast one core hashes. Measure takes longer, and
// tells how fast memory and disk are.
//
// It promises to answer within a few seconds, to need no privileges and no library or tool that may
// not be there, and to leave zero what it could not find, saying why in the error. Memory and
// processors are those this process may use: limits of its control group count.
//
// NVIDIA's graphics processors come from NVML where this binary was built with cgo and the library is
// installed, else from nvidia-smi where that is, else from /proc/driver/nvidia; AMD's and Intel's from
// /sys/class/drm. Only those of vendors that compute are listed, and what the operator declared.
// docs/gpu.md says what is read from where, and what was never run on real hardware. Drivers hang: what
// does not answer in time is left behind, and not asked again before it has. What drivers print is
// bounded and cleaned.
package devices
