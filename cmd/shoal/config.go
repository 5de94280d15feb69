package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/devices"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// settings is what a configuration file of 'shoal up' may say: the flags, for those who would rather
// keep them in a file. What is absent stays as it is.
type settings struct {
	Listen  []string          `yaml:"listen"`
	Labels  map[string]string `yaml:"labels"`
	Slots   *int              `yaml:"slots"`
	API     *string           `yaml:"api"`
	MDNS    *bool             `yaml:"mdns"`
	Log     *string           `yaml:"log"`
	Members struct {
		Table *string `yaml:"table"`
	} `yaml:"members"`
	Placement struct {
		Gravity *string `yaml:"gravity"`
		Copies  *string `yaml:"copies"`
		Policy  *string `yaml:"policy"`
	} `yaml:"placement"`
	Devices   []device   `yaml:"devices"`
	Executors []executor `yaml:"executors"` // there are no flags for these, nor for placement
}

// device is a graphics processor, or another, that the operator declares: the node cannot find it, or not all of it.
type device struct {
	Vendor string `yaml:"vendor"`
	Model  string `yaml:"model"`
	Memory string `yaml:"memory"` // "16GiB"
	Count  *int   `yaml:"count"`  // so many alike; 1
	ID     string `yaml:"id"`     // of one that the node finds: what follows says what it cannot find out
}

// settingNames is for the error that names an unknown one.
const settingNames = "listen, labels, slots, api, mdns, log, members.table, placement.gravity, placement.copies, placement.policy, devices (each with vendor, model, memory, count, id), executors"

// maxSettings bounds a configuration file.
const maxSettings = 1 << 20

// configure sets the flags of cmd that the file at path speaks of, and returns the rest of what it says. Flags given on
// the command line win.
func configure(cmd *cobra.Command, path string) (c settings, err error) {
	f, err := os.Open(path)
	if err != nil {
		return c, fileError("configuration "+path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return c, fileError("configuration "+path, err)
	}
	if c, err = parseSettings(b); err != nil {
		return c, shoal.Wrap(shoal.Invalid, "configuration "+path, err)
	}
	for _, s := range c.flags() {
		f := cmd.Flags().Lookup(s.name)
		if f.Changed { // on the command line: setting the value itself leaves it as it is
			continue
		}
		if err := f.Value.Set(s.value); err != nil {
			return c, shoal.E(shoal.Invalid, "configuration "+path, s.name+": "+err.Error(), "see 'shoal up --help'")
		}
	}
	return c, nil
}

// flag is a setting as a flag of 'up'.
type flag struct{ name, value string }

func (c settings) flags() (list []flag) {
	add := func(name string, value *string) {
		if value != nil {
			list = append(list, flag{name, *value})
		}
	}
	text := func(v any) *string { s := fmt.Sprint(v); return &s }
	for _, l := range c.Listen {
		add("listen", &l)
	}
	for _, k := range sorted(c.Labels) {
		add("label", text(k+"="+c.Labels[k]))
	}
	if c.Slots != nil {
		add("slots", text(*c.Slots))
	}
	if c.MDNS != nil {
		add("no-mdns", text(!*c.MDNS))
	}
	add("api", c.API)
	add("log", c.Log)
	add("members-table", c.Members.Table)
	add("placement-gravity", c.Placement.Gravity)
	return list
}

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

var unknownField = regexp.MustCompile(`line (\d+): field (\S+) not found(?: in type main\.(\w+))?`)

// namesIn lists what there is in a part of the settings, by its type.
func namesIn(part string) string {
	switch part {
	case "executor":
		return "name, command, devices, env, limits, measures"
	case "executorDevices":
		return "gpus, memory, vendor"
	case "executorLimits":
		return "memory, processes, time, output"
	}
	return settingNames
}

// parseSettings reads a file's content. Errors are Invalid and name the line.
func parseSettings(b []byte) (c settings, err error) {
	if len(b) > maxSettings {
		return c, shoal.E(shoal.Invalid, "", "it is larger than "+size(maxSettings), "see 'shoal up --help'")
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	err = dec.Decode(&c)
	if errors.Is(err, io.EOF) { // an empty file says nothing
		return c, nil
	}
	if err == nil {
		if err = dec.Decode(new(yaml.Node)); errors.Is(err, io.EOF) {
			return c, c.check()
		}
		return c, shoal.E(shoal.Invalid, "", "it holds more than one document", "leave one, without '---' lines")
	}
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return c, shoal.E(shoal.Invalid, "line "+m[1], "there is no setting '"+m[2]+"'", "there are "+namesIn(m[3]))
	}
	why := strings.TrimPrefix(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n ", ""), "unmarshal errors: ")
	return c, shoal.E(shoal.Invalid, "", why, "write it as YAML; see 'shoal up --help'")
}

// check looks at values that their flags would take, and misunderstand.
func (c settings) check() error {
	for _, k := range sorted(c.Labels) {
		if k == "" || strings.Contains(k, "=") {
			return shoal.E(shoal.Invalid, "labels", "a label is not called "+strconv.Quote(k), "leave '=' out of its name")
		}
	}
	_, err := c.devices()
	if err == nil {
		_, err = c.placement()
	}
	return err
}

// placement returns what the file says of it.
func (c settings) placement() (p node.Placement, err error) {
	if v := c.Placement.Copies; v != nil {
		switch *v {
		case "on":
		case "off":
			p.NoCopies = true
		default:
			return p, shoal.E(shoal.Invalid, "placement: copies", "it is on or off, not '"+*v+"'", "write off to keep no copies beyond the replicas")
		}
	}
	if v := c.Placement.Policy; v != nil {
		var ok bool
		if p.Policy, ok = cost.ParsePolicy(*v); !ok {
			return p, shoal.E(shoal.Invalid, "placement: policy", "there is none called '"+*v+"'",
				"leave it out; fluid, ship-data and ship-code are there to be compared")
		}
	}
	return p, nil
}

// devices returns the declared devices one by one, each with an ID. Errors are Invalid and say which is wrong.
func (c settings) devices() (list []shoal.GPU, err error) {
	ids := map[string]bool{}
	for i, d := range c.Devices {
		bad := func(why, try string) ([]shoal.GPU, error) {
			return nil, shoal.E(shoal.Invalid, fmt.Sprintf("devices: the %s", ordinal(i+1)), why, try)
		}
		memory, err := parseSize(d.Memory)
		count := 1
		if d.Count != nil {
			count = *d.Count
		}
		switch {
		case d.Vendor == "" && d.ID == "":
			return bad("it has neither vendor nor id", "write vendor: of what kind it is, or id: of one that the node finds")
		case err != nil || memory > maxDeviceMemory:
			return bad("its memory is no size: "+strconv.Quote(d.Memory), "write one like 16GiB")
		case count < 1 || len(list)+count > shoal.MaxGPUs:
			return bad(fmt.Sprintf("there cannot be %d of it", count), fmt.Sprintf("declare %d devices at most", shoal.MaxGPUs))
		}
		for _, s := range []string{d.Vendor, d.Model, d.ID} {
			if devices.Clean(s) != s {
				return bad("its vendor, model or id is no short printable text: "+strconv.Quote(s), "shorten it")
			}
		}
		for n := 1; n <= count; n++ {
			id := d.ID
			switch {
			case id == "":
				id = fmt.Sprintf("declared-%d", len(list)+1)
			case count > 1:
				id = fmt.Sprintf("%s-%d", id, n)
			}
			if ids[id] {
				return bad("another has its id '"+id+"'", "give each an id of its own")
			}
			ids[id] = true
			list = append(list, shoal.GPU{Vendor: d.Vendor, Model: d.Model, Memory: memory, ID: id, Declared: true})
		}
	}
	return list, nil
}

const maxDeviceMemory = 1 << 50

// ordinal writes 1 as "1st".
func ordinal(n int) string {
	end := "th"
	if n/10%10 != 1 {
		end = cmp.Or(map[int]string{1: "st", 2: "nd", 3: "rd"}[n%10], end)
	}
	return strconv.Itoa(n) + end
}
