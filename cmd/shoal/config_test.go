package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
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
placement: {gravity: off}
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
		{"placement-gravity", "off"},
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
		"slots: 2\nslot: 3\n":                                "line 2: there is no setting 'slot': there are listen, ",
		"members:\n  tabel: off\n":                           "line 2: there is no setting 'tabel': ",
		"executors: [{name: a, comand: [b]}]\n":              "line 1: there is no setting 'comand': there are name, command",
		"executors: [{devices: {gpu: 1}}]\n":                 "line 1: there is no setting 'gpu': there are gpus, memory, vendor",
		"executors: {name: a}\n":                             "line 1: cannot unmarshal",
		"slots: many\n":                                      "line 1: cannot unmarshal",
		"slots: 1\nslots: 2\n":                               "already defined at line 1",
		"listen: {\n":                                        "line ",
		"slots: 1\n---\nslots: 2\n":                          "more than one document",
		"devices: [{vendor: a}, {}]\n":                       "devices: the 2nd: it has neither vendor nor id",
		"devices:\n- {vendor: a, memory: lots}\n":            "devices: the 1st: its memory is no size: \"lots\": write one like 16GiB",
		"devices:\n- {vendor: a, memory: 16777216TiB}\n":     "its memory is no size",
		"devices: [{vendor: a, count: 65}]\n":                "there cannot be 65 of it",
		"devices: [{vendor: a, count: -1}]\n":                "there cannot be -1 of it",
		"devices: [{vendor: a, count: 1000000000000000}]\n":  "there cannot be",
		"devices: [{vendor: a, id: x}, {id: x, model: y}]\n": "the 2nd: another has its id 'x'",
		"devices: [{vendor: \"a\\e[2J\"}]\n":                 "no short printable text",
		"devices: [{vendor: a, modell: x}]\n":                "line 1: there is no setting 'modell'",
		"labels: {'a=b': c}\n":                               "labels: a label is not called",
		"- a\n":                                              "line 1: cannot unmarshal",
		strings.Repeat("#", maxSettings+1):                   "larger than 1.0 MiB",
	} {
		_, err := parseSettings([]byte(text))
		if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(fmt.Sprint(err), want) || strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%q: %v, want %q", text[:min(len(text), 30)], err, want)
		}
	}
}

func TestExecutorSettings(t *testing.T) {
	c, err := parseSettings([]byte(`executors:
  - name: train
    command: [sh, -c, "exit 0"]
    devices: {gpus: 2, vendor: nvidia}
    env: {MODEL: /m, N: "7"}
    limits: {memory: 16GiB, processes: 64, time: 2h, output: 10g}
  - {name: small, command: [sh], devices: {memory: 8GiB}}
`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := natives(c.Executors)
	want := []native.Executor{
		{
			Name: "train", Command: []string{"sh", "-c", "exit 0"}, Devices: reserve.Want{Whole: 2, Vendor: "nvidia"},
			Env: map[string]string{"MODEL": "/m", "N": "7"}, Memory: 16 << 30, Processes: 64, Time: 2 * time.Hour, Output: 10 << 30,
		},
		{Name: "small", Command: []string{"sh"}, Devices: reserve.Want{Memory: 8 << 30}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
	for text, want := range map[string]string{
		"{name: a, command: [sh], measures: speed}":                  "executors[0] (a).measures: 'speed' is nothing that can be measured",
		"{name: a, command: [sh], limits: {memory: 12x}}":            "executors[0] (a).limits.memory: 'x' is no unit",
		"{name: a, command: [sh], limits: {output: 0}}":              "executors[0] (a).limits.output: '0' is no size",
		"{name: a, command: [sh], devices: {memory: ''}}":            "executors[0] (a).devices.memory: '' is no size",
		"{name: a, command: [sh], devices: {gpus: 0}}":               "executors[0] (a).devices.gpus: 0 is not 1 or more",
		"{name: a, command: [sh], limits: {processes: -1}}":          "executors[0] (a).limits.processes: -1 is not 1 or more",
		"{name: a, command: [sh], limits: {time: 5}}":                "executors[0] (a).limits.time: '5' is no time",
		"{name: a, command: [sh], devices: {gpus: 1, vendor: acme}}": "executors[0] (a).devices.vendor: 'acme' is no vendor",
	} {
		c, err := parseSettings([]byte("executors:\n  - " + text + "\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if _, err := natives(c.Executors); shoal.KindOf(err) != shoal.Invalid || !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
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
		if _, err := natives(c.Executors); err != nil && shoal.KindOf(err) != shoal.Invalid {
			t.Fatal(err)
		}
	})
}

func TestDevices(t *testing.T) {
	c, err := parseSettings([]byte(`devices:
  - {vendor: google, model: Coral, memory: 8GiB, count: 2}
  - {vendor: amd, id: card, count: 2}
  - {id: "0000:03:00.0", memory: 16GiB}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []shoal.GPU{
		{Vendor: "google", Model: "Coral", Memory: 8 << 30, ID: "declared-1", Declared: true},
		{Vendor: "google", Model: "Coral", Memory: 8 << 30, ID: "declared-2", Declared: true},
		{Vendor: "amd", ID: "card-1", Declared: true},
		{Vendor: "amd", ID: "card-2", Declared: true},
		{ID: "0000:03:00.0", Memory: 16 << 30, Declared: true},
	}
	if got, err := c.devices(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}
