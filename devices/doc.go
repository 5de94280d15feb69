// Package devices describes the machine that a node runs on: processors, memory, the disk that holds
// the node's directory, graphics processors, and how fast one core hashes.
//
// It promises to answer within a few seconds, to need no privileges and no driver libraries, and to
// leave zero what it could not find, saying why in the error. Graphics processors come from
// nvidia-smi where it is installed, from /proc/driver/nvidia, and from /sys/class/drm; only those of
// vendors that compute are listed. Memory and processors are those this process may use: limits of
// its control group count.
package devices
