package devices

import (
	"context"
	"crypto/sha256"
	"errors"
	"runtime"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Times that Describe takes at most.
const (
	hashFor  = 5 * time.Millisecond
	gpuLimit = 3 * time.Second // drivers wake sleeping cards
)

// Largest bounds what a file system in a network may claim to hold, in bytes; others refuse a record with more.
const Largest = 1 << 60

// Describe returns the attributes of this machine, and what is free on its graphics processors; Labels, Version and Rates
// are left to the caller. dir must exist: Disk is the size of its file system. declared are devices that nobody can
// find out about. The attributes are of use also when the error is not nil: it joins the reasons why some of them are
// zero. It takes some milliseconds, and up to three seconds where a graphics driver is slow to answer.
func Describe(ctx context.Context, dir string, declared []shoal.GPU) (shoal.Attributes, []shoal.GPULoad, error) {
	a := shoal.Attributes{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), CPU: processor()}
	var memErr, diskErr, gpuErr error
	var load []shoal.GPULoad
	a.Memory, memErr = memory()
	a.Disk, diskErr = diskSize(dir)
	a.Disk = min(a.Disk, Largest)
	ctx, cancel := context.WithTimeout(ctx, gpuLimit)
	defer cancel()
	a.GPUs, load, gpuErr = GPUs(ctx, declared)
	a.HashMBs = hashRate(hashFor)
	return a, load, errors.Join(
		shoal.Wrap(shoal.Unavailable, "size of memory", memErr),
		shoal.Wrap(shoal.Unavailable, "size of the disk of "+dir, diskErr),
		shoal.Wrap(shoal.Unavailable, "graphics processors", gpuErr),
	)
}

// hashRate measures SHA-256 on one core for about d, in megabytes (10^6) a second. The first block
// warms the caches and is not counted.
func hashRate(d time.Duration) float64 {
	block := make([]byte, 256<<10)
	sha256.Sum256(block)
	begin, bytes := time.Now(), 0
	for {
		sha256.Sum256(block)
		bytes += len(block)
		if took := time.Since(begin); took >= d {
			return float64(bytes) / 1e6 / took.Seconds()
		}
	}
}
