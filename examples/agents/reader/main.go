// Reader is an agent that reads datasets, wherever they lie. Payloads are lines.
//
//	lines CID, PATH         replies how many lines the file has, or all files in the folder; PATH may be missing
//	sum CID, PATH, FROM, N  replies the CRC-32 of N bytes of a file from FROM on, in hex, and how many there were; FROM
//	                        and N may be missing, for all of it
//	total                   replies how many bytes its turns have read
//
// In turns that only read nothing is added to the total.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport lines
func lines() int32 { return agent.Run(Lines) }

//go:wasmexport sum
func sum() int32 { return agent.Run(Sum) }

//go:wasmexport total
func total() int32 { return agent.Run(Total) }

// buffer is how much is read at once. An instance runs one turn at a time.
var buffer [256 << 10]byte

// arguments are the payload's lines, as many as there can be.
func arguments(t *agent.Turn) [4]string {
	var a [4]string
	copy(a[:], strings.SplitN(string(t.Payload()), "\n", len(a)))
	return a
}

// Lines counts lines.
func Lines(t *agent.Turn) ([]byte, error) {
	a := arguments(t)
	n := 0
	read, err := each(t, a[0], a[1], func(b []byte) { n += bytes.Count(b, []byte{'\n'}) })
	if err != nil {
		return nil, err
	}
	note(t, read)
	return strconv.AppendInt(nil, int64(n), 10), nil
}

// each reads a file, or all files of a folder, and says how many bytes these were.
func each(t *agent.Turn, dataset, path string, f func(b []byte)) (read int64, err error) {
	for e, err := range t.Files(dataset, path) {
		if err != nil {
			return read, err
		}
		at := strings.Trim(path+"/"+e.Name, "/") // a file's own entry has no name
		var n int64
		if e.Dir {
			n, err = each(t, dataset, at, f)
		} else {
			n, err = io.CopyBuffer(writer(f), section(t, dataset, at, 0, e.Bytes), buffer[:])
		}
		if read += n; err != nil {
			return read, err
		}
	}
	return read, nil
}

type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// section reads a part of a file.
func section(t *agent.Turn, dataset, path string, from, n int64) io.Reader {
	return struct{ io.Reader }{io.NewSectionReader(t.File(dataset, path), from, n)} // without WriteTo: by the buffer
}

// Sum checks a part of a file.
func Sum(t *agent.Turn) ([]byte, error) {
	a := arguments(t)
	from, n := int64(0), int64(math.MaxInt64)
	for i, to := range []*int64{&from, &n} {
		if s := a[2+i]; s != "" {
			v, err := strconv.ParseInt(s, 10, 64)
			if err != nil || v < 0 {
				return nil, errors.New(strconv.Quote(s) + " is no number of bytes")
			}
			*to = v
		}
	}
	crc := crc32.NewIEEE()
	read, err := io.CopyBuffer(crc, section(t, a[0], a[1], from, min(n, math.MaxInt64-from)), buffer[:])
	if err != nil {
		return nil, err
	}
	note(t, read)
	return fmt.Appendf(nil, "%08x %d", crc.Sum32(), read), nil
}

func note(t *agent.Turn, read int64) {
	if !t.Reading() {
		t.PutInt("total", t.Int("total")+read)
	}
}

// Total replies what turns have read.
func Total(t *agent.Turn) ([]byte, error) { return strconv.AppendInt(nil, t.Int("total"), 10), nil }
