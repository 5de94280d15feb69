package hostcall

import (
	"context"
	"encoding/binary"
	"math"

	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal"
)

// file takes what names a file or folder: the dataset and the path in it.
func (d *Desk) file(mem api.Memory, s []uint64) (dataset, path string, code int32) {
	b, code := d.take(mem, s[0], s[1], MaxName, "dataset")
	if code < 0 {
		return "", "", code
	}
	p, code := d.take(mem, s[2], s[3], MaxPath, "path")
	if code == 0 && d.turn.Data == nil {
		code = d.number(shoal.E(shoal.Refused, "read data", "only agents do so", "give a task its data with --data: it is under /data"))
	}
	return string(b), string(p), code
}

// waits has f wait for peers, and ends the turn if its time is over by then.
func (d *Desk) waits(f func(ctx context.Context) error) error {
	ctx := d.Host.Context()
	err := f(ctx)
	if ctx.Err() != nil {
		panic(&End{ctx.Err()})
	}
	d.Host.Resumed()
	return err
}

// read fills a buffer of the guest's with a part of a file. Its gas is that of the bytes asked for: as many may
// have to travel.
func (d *Desk) read(mem api.Memory, s []uint64) int32 {
	dataset, path, code := d.file(mem, s)
	if code < 0 {
		return code
	}
	b, code := d.take(mem, s[5], s[6], MaxRead, "buffer")
	if code < 0 {
		return code
	}
	n := 0
	err := d.waits(func(ctx context.Context) (err error) {
		n, err = d.turn.Data.Read(ctx, dataset, path, int64(s[4]), b)
		return err
	})
	if err != nil {
		return d.number(err)
	}
	return int32(n)
}

// files gives a page of a folder.
func (d *Desk) files(mem api.Memory, s []uint64) int32 {
	dataset, path, code := d.file(mem, s)
	if code < 0 {
		return code
	}
	after, code := d.take(mem, s[4], s[5], MaxPath, "after")
	if code < 0 {
		return code
	}
	var list []shoal.File
	err := d.waits(func(ctx context.Context) (err error) {
		list, err = d.turn.Data.Files(ctx, dataset, path, string(after), MaxFiles)
		return err
	})
	if err != nil {
		return d.number(err)
	}
	d.page = d.page[:0]
	for _, f := range list {
		if len(d.page) > 0 && len(d.page)+12+len(f.Name) > MaxPage {
			break
		}
		size := f.Bytes
		if f.Dir {
			size = math.MaxUint64
		}
		d.page = binary.LittleEndian.AppendUint64(d.page, size)
		d.page = binary.LittleEndian.AppendUint32(d.page, uint32(len(f.Name)))
		d.page = append(d.page, f.Name...)
	}
	d.Host.Charge(int64(len(list)) * 100)
	return d.give(mem, d.page, s[6], s[7])
}
