package main

import (
	"bytes"
	"strings"
	"testing"
)

// What a node tells people comes after the greeting, whose line scripts wait for, and is not lost.
func TestNotes(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		s := &shell{out: &out, json: asJSON}
		n := &notes{s: s}
		n.add("early")
		if out.Len() > 0 {
			t.Errorf("shown too early: %q", out.String())
		}
		s.printf("greeting\n")
		n.show()
		n.add("late")
		want := "greeting\n\nearly\n\nlate\n"
		if asJSON {
			want = "greeting\n" + `{"event":"note","text":"early"}` + "\n" + `{"event":"note","text":"late"}` + "\n"
		}
		if out.String() != want {
			t.Errorf("json %v: %q, want %q", asJSON, out.String(), want)
		}
	}
}

// A node that does not listen to the local network cannot be asked to join over it.
func TestJoinLANWithoutMDNS(t *testing.T) {
	var out, errs bytes.Buffer
	code := run([]string{"up", "--join", "lan", "--no-mdns", "--dir", t.TempDir()}, strings.NewReader(""), &out, &errs)
	if code != exitUsage || !strings.Contains(errs.String(), "--no-mdns") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
}
