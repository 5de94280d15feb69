package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

func TestReader(t *testing.T) {
	f := agenttest.New()
	long := bytes.Repeat([]byte("a line of text\n"), 200_000) // some reads
	f.AddFile("set", "a", []byte("one\ntwo\n"))
	f.AddFile("set", "sub/b", []byte("three\n"))
	f.AddFile("set", "sub/sub", []byte("four\n"))
	f.AddFile("set", "z", long)
	f.AddFile("alone", "", []byte("x\ny\nz"))
	f.Add("r", agenttest.Methods{"lines": Lines, "sum": Sum, "total": Total})
	sum := func(b []byte) string { return fmt.Sprintf("%08x %d", crc32.ChecksumIEEE(b), len(b)) }
	for _, c := range []struct{ method, payload, want string }{
		{"lines", "set\na", "2"},
		{"lines", "set\nsub", "2"},
		{"lines", "set\nsub/sub", "1"},
		{"lines", "set", "200004"},
		{"sum", "set\na", sum([]byte("one\ntwo\n"))},
		{"sum", "set\nz\n7\n2000000", sum(long[7:2000007])},
		{"sum", "set\nz\n2999990\n100", sum(long[2999990:])},
		{"sum", "set\nz\n2999990", sum(long[2999990:])},
		{"sum", "set\na\n9", ""},
		{"sum", "set\na\nx", ""},
		{"sum", "set\nnone", ""},
		{"lines", "none", ""},
		{"total", "", "0"},
	} {
		got, err := f.Read("r", c.method, []byte(c.payload))
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s %q: %q, %v, want %q", c.method, c.payload, got, err, c.want)
		}
	}
	for _, want := range []string{"8", "16"} {
		if _, err := f.Call("r", "sum", []byte("set\na")); err != nil {
			t.Error(err)
		}
		if got, err := f.Call("r", "total", nil); err != nil || string(got) != want {
			t.Errorf("total %q, %v, want %s", got, err, want)
		}
	}
}
