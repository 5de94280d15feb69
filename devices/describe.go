package devices

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Times that Describe takes at most.
const (
	hashFor  = 5 * time.Millisecond
	smiLimit = 3 * time.Second // nvidia-smi wakes sleeping cards
)

// Describe returns the attributes of this machine; Labels and Version are left to the caller. dir
// must exist: Disk is the size of its file system. The attributes are of use also when the error is
// not nil: it joins the reasons why some of them are zero. It takes some milliseconds, and up to
// three seconds where nvidia-smi is slow to answer.
func Describe(ctx context.Context, dir string) (shoal.Attributes, error) {
	a := shoal.Attributes{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0)}
	var memErr, diskErr, gpuErr error
	a.Memory, memErr = memory()
	a.Disk, diskErr = diskSize(dir)
	a.GPUs, gpuErr = gpus(ctx, os.DirFS("/"), nvidiaSMI)
	a.HashMBs = hashRate(hashFor)
	return a, errors.Join(
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

// nvidiaSMI runs nvidia-smi, if it is installed, and returns what it prints: a line for each card.
func nvidiaSMI(ctx context.Context) (string, error) {
	path, err := exec.LookPath("nvidia-smi")
	if err != nil {
		return "", fs.ErrNotExist
	}
	ctx, cancel := context.WithTimeout(ctx, smiLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	return string(out), err
}
