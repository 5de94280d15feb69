package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
)

func TestSettings(t *testing.T) {
	c, err := parseSettings([]byte(`# a comment
listen: ["127.0.0.1:0", /ip4/127.0.0.1/tcp/0]
labels: {zone: a, rack: "7", gpu: yes}
slots: 3
api: 127.0.0.1:7770
mdns: false
log: info
members:
  table: off
`))
	want := []flag{
		{"listen", "127.0.0.1:0"},
		{"listen", "/ip4/127.0.0.1/tcp/0"},
		{"label", "gpu=yes"},
		{"label", "rack=7"},
		{"label", "zone=a"},
		{"slots", "3"},
		{"no-mdns", "true"},
		{"api", "127.0.0.1:7770"},
		{"log", "info"},
		{"members-table", "off"},
	}
	if got := c.flags(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %v\nwant %v", err, got, want)
	}
	for _, empty := range []string{"", "# nothing\n", "{}", "---\n"} {
		if c, err := parseSettings([]byte(empty)); err != nil || len(c.flags()) > 0 {
			t.Errorf("%q: %v %v", empty, c.flags(), err)
		}
	}
}

func TestSettingsFaults(t *testing.T) {
	for text, want := range map[string]string{
		"slots: 2\nslot: 3\n":              "line 2: there is no setting 'slot': there are listen, ",
		"members:\n  tabel: off\n":         "line 2: there is no setting 'tabel': ",
		"executors: []\n":                  "line 1: there is no setting 'executors': ",
		"slots: many\n":                    "line 1: cannot unmarshal",
		"slots: 1\nslots: 2\n":             "already defined at line 1",
		"listen: {\n":                      "line ",
		"slots: 1\n---\nslots: 2\n":        "more than one document",
		"labels: {'a=b': c}\n":             "labels: a label is not called",
		"- a\n":                            "line 1: cannot unmarshal",
		strings.Repeat("#", maxSettings+1): "larger than 1.0 MiB",
	} {
		_, err := parseSettings([]byte(text))
		if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(fmt.Sprint(err), want) || strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%q: %v, want %q", text[:min(len(text), 30)], err, want)
		}
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte("slots: 2\nlabels: {a: b}\nmembers: {table: off}\n"))
	f.Add([]byte("listen: &a [x, *a]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseSettings(b)
		if err != nil && shoal.KindOf(err) != shoal.Invalid {
			t.Fatal(err)
		}
		_ = c.flags()
	})
}
