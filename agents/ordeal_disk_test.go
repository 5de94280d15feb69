package agents

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/storage"
)

// disk is a machine's disk in memory, that forgets what was not synced when the power is cut.
type disk struct {
	vfs.FS // *vfs.MemFS
	full   atomic.Bool
	lies   *atomic.Bool // about syncs: a mutation
}

// Unwrap implements vfs.FS.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// GetDiskUsage implements vfs.FS.
func (d *disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	u := vfs.DiskUsage{TotalBytes: 1 << 40, AvailBytes: 1 << 39}
	if d.full.Load() {
		u.AvailBytes = 0
	}
	return u, nil
}

// Create implements vfs.FS.
func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return d.file(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(from, to, c)
	return d.file(to, f, err)
}

func (d *disk) file(name string, f vfs.File, err error) (vfs.File, error) {
	if err == nil && strings.HasSuffix(name, ".log") {
		f = mayLie{f, d.lies}
	}
	return f, err
}

// mayLie is a log that may not do what Sync asks.
type mayLie struct {
	vfs.File
	lies *atomic.Bool
}

// Sync implements vfs.File.
func (f mayLie) Sync() error {
	if f.lies.Load() {
		return nil
	}
	return f.File.Sync()
}

// SyncData implements vfs.File.
func (f mayLie) SyncData() error { return f.Sync() }

// SyncTo implements vfs.File.
func (f mayLie) SyncTo(int64) (bool, error) { return true, f.Sync() }

// cut is the disk after the power was cut: of what was not synced, each block is there with a chance of part
// percent, so a batch under way may be torn, and so may the files' ends, which get some noise.
func (d *disk) cut(part int, rng *rand.Rand) *disk {
	after := d.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: part, RNG: rng})
	return &disk{FS: after, lies: d.lies}
}

// noise writes half a record of garbage behind the newest log, as a torn write leaves it.
func (d *disk) noise(dir string, rng *rand.Rand) error {
	kv := d.PathJoin(dir, "kv")
	names, err := d.List(kv)
	if err != nil {
		return err
	}
	newest := ""
	for _, n := range names {
		if strings.HasSuffix(n, ".log") && n > newest {
			newest = n
		}
	}
	if newest == "" {
		return nil
	}
	name := d.PathJoin(kv, newest)
	in, err := d.Open(name)
	if err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	old := make([]byte, info.Size())
	if len(old) > 0 {
		if _, err := in.ReadAt(old, 0); err != nil {
			return err
		}
	}
	_ = in.Close()
	tail := make([]byte, 1+rng.IntN(200))
	for i := range tail {
		tail[i] = byte(rng.Uint32())
	}
	out, err := d.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = out.Write(append(old, tail...)); err == nil {
		err = out.Sync()
	}
	if err == nil {
		err = out.Close()
	}
	return err
}

// plate is the table of agents on a disk that can be slow, held with its machine, or sick.
type plate struct {
	shoal.Table
	l *life
}

func openPlate(l *life) (*storage.Storage, plate, error) {
	s, err := storage.Open("/node", storage.Options{FS: l.m.disk})
	if err != nil {
		return nil, plate{}, err
	}
	return s, plate{s.Table("agents"), l}, nil
}

// Commit implements shoal.Table. A sick disk refuses; whether it wrote is not known.
func (p plate) Commit(sync bool, batch ...shoal.Write) error {
	m := p.l.m
	if sync { // nobody holds a lock that others wait for
		time.Sleep(100*time.Microsecond + time.Duration(m.slow.Load()))
		if !p.l.open() {
			return closing()
		}
	}
	if m.sick.Load() {
		if len(batch)%2 == 0 {
			_ = p.Table.Commit(sync, batch...)
		}
		return shoal.E(shoal.Internal, "write of a table", "the disk is sick", "")
	}
	return p.Table.Commit(sync, batch...)
}
