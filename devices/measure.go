package devices

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Bounds of Measure.
const (
	memoryFor  = 100 * time.Millisecond
	memoryUses = 32 << 20 // bytes, twice: more than one core's part of the caches
	diskFor    = 250 * time.Millisecond
	diskPiece  = 4 << 20  // bytes written between two syncs
	diskMost   = 64 << 20 // bytes written at most
)

// Measure finds out how fast one core copies memory, and how fast a file in dir is written and synced, both in GB (10^9
// bytes) a second, 0 where it could not. It takes about half a second, or as long as the disk takes for one piece, and
// leaves nothing behind.
func Measure(ctx context.Context, dir string) (memory, disk float64, err error) {
	memory = copyRate()
	disk, err = writeRate(ctx, dir)
	return memory, disk, shoal.Wrap(shoal.Unavailable, "speed of the disk of "+dir, err)
}

// copyRate counts each byte once. Of several rounds the best counts: nothing makes memory faster than it is.
func copyRate() (best float64) {
	from, to := make([]byte, memoryUses), make([]byte, memoryUses)
	fill(from)
	copy(to, from) // has the system find the pages
	for end := time.Now().Add(memoryFor); ; {
		begin := time.Now()
		copy(to, from)
		best = max(best, memoryUses/1e9/time.Since(begin).Seconds())
		if time.Now().After(end) {
			return best
		}
	}
}

func writeRate(ctx context.Context, dir string) (rate float64, err error) {
	f, err := os.CreateTemp(dir, "speed")
	if err != nil {
		return 0, err
	}
	gone := os.Remove(f.Name()) == nil // while it is open, where the system can: a node that is killed leaves nothing
	defer func() {
		if err = errors.Join(err, f.Close()); !gone {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	piece := make([]byte, diskPiece)
	fill(piece)
	begin, bytes := time.Now(), 0
	for bytes < diskMost && (bytes == 0 || time.Since(begin) < diskFor) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if _, err := f.Write(piece); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		bytes += diskPiece
	}
	return float64(bytes) / 1e9 / time.Since(begin).Seconds(), nil
}

// fill makes what no file system can compress.
func fill(b []byte) {
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(b)
}
