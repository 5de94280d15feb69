package storage

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Disk is a disk in memory that forgets what was not synced when its power is cut. It is what a node of a simulated world has
// (Options.FS). Its methods may be called from many goroutines.
type Disk struct {
	vfs.FS // *vfs.MemFS
	size   uint64
	delay  *atomic.Int64
}

// NewDisk makes an empty disk of so many bytes, whose syncs take so long: see Pause.
func NewDisk(size uint64, sync time.Duration) *Disk {
	d := &Disk{FS: vfs.NewCrashableMem(), size: size, delay: &atomic.Int64{}}
	d.delay.Store(int64(sync))
	return d
}

// Unwrap implements vfs.FS.
func (d *Disk) Unwrap() vfs.FS { return d.FS }

// GetDiskUsage implements vfs.FS. What is written is not counted: a world that fills its disks would fill the memory of the
// machine that it runs on first.
func (d *Disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{TotalBytes: d.size, AvailBytes: d.size}, nil
}

// SetSync says how long a sync takes from now on.
func (d *Disk) SetSync(t time.Duration) { d.delay.Store(int64(t)) }

// Pause waits as long as a sync takes. A file's own Sync must not: Pebble's callers hold locks meanwhile, on which a virtual
// clock would stand still.
func (d *Disk) Pause() {
	if t := d.delay.Load(); t > 0 {
		time.Sleep(time.Duration(t))
	}
}

// Cut returns the disk as it is after its power was cut now: of what was not synced each block is there with a chance of one half.
// The old one may still be written by who has not noticed yet.
func (d *Disk) Cut(seed uint64) *Disk {
	after := d.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 0))})
	return &Disk{FS: after, size: d.size, delay: d.delay}
}

// Shared is what many storages of one process can have in common: the cache of blocks and of open files.
type Shared struct {
	blocks *pebble.Cache
	files  *pebble.FileCache
}

// NewShared makes a cache for many storages. Close it after the last of them was closed.
func NewShared(bytes int64) *Shared {
	s := &Shared{blocks: pebble.NewCache(bytes)}
	s.files = pebble.NewFileCache(1, 4096)
	return s
}

// Close frees what was cached.
func (s *Shared) Close() {
	s.files.Unref()
	s.blocks.Unref()
}

// atOnce lets compactions run as they come. Pebble's own scheduler looks ten times a second whether one may, which with a
// thousand stores in one process is all that they do while they are idle.
type atOnce struct{}

func (atOnce) Register(int, pebble.DBForCompaction)              {}
func (atOnce) Unregister()                                       {}
func (atOnce) TrySchedule() (bool, pebble.CompactionGrantHandle) { return true, granted{} }
func (atOnce) UpdateGetAllowedWithoutPermission()                {}

type granted struct{}

func (granted) Started()                                          {}
func (granted) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (granted) CumulativeStats(pebble.CompactionGrantHandleStats) {}
func (granted) Done()                                             {}
