package main

import (
	"testing"

	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

func TestCounter(t *testing.T) {
	f := agenttest.New()
	f.Add("c", agenttest.Methods{"add": Add, "get": Get})
	for _, c := range []struct{ method, payload, want string }{
		{"get", "", "0"},
		{"add", "", "1"},
		{"add", "41", "42"},
		{"add", "-2", "40"},
		{"add", "x", ""},
		{"add", "9223372036854775807", ""},
		{"get", "", "40"},
	} {
		got, err := f.Call("c", c.method, []byte(c.payload))
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s %s: %q, %v, want %q", c.method, c.payload, got, err, c.want)
		}
	}
	if got, err := f.Read("c", "get", nil); err != nil || string(got) != "40" {
		t.Errorf("get, reading: %q, %v", got, err)
	}
	if _, err := f.Read("c", "add", nil); err == nil {
		t.Error("add in a turn that reads")
	}
}
