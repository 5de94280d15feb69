package main

import (
	"bytes"
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
	"github.com/shoal-fabric/shoal/native"
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
	Executors []executor `yaml:"executors"` // there is no flag for them
}

// settingNames is for the error that names an unknown one.
const settingNames = "listen, labels, slots, api, mdns, log, members.table, executors"

// maxSettings bounds a configuration file.
const maxSettings = 1 << 20

// configure sets the flags of cmd that the file at path speaks of. Those given on the command line win. It
// returns the executors that the file lists.
func configure(cmd *cobra.Command, path string) ([]native.Executor, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError("configuration "+path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return nil, fileError("configuration "+path, err)
	}
	c, err := parseSettings(b)
	if err != nil {
		return nil, shoal.Wrap(shoal.Invalid, "configuration "+path, err)
	}
	executors, err := natives(c.Executors)
	if err == nil {
		err = native.Check(executors)
	}
	if err != nil {
		return nil, shoal.Wrap(shoal.Invalid, "configuration "+path, err)
	}
	for _, s := range c.flags() {
		f := cmd.Flags().Lookup(s.name)
		if f.Changed { // on the command line: setting the value itself leaves it as it is
			continue
		}
		if err := f.Value.Set(s.value); err != nil {
			return nil, shoal.E(shoal.Invalid, "configuration "+path, s.name+": "+err.Error(), "see 'shoal up --help'")
		}
	}
	return executors, nil
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
		return "name, command, devices, env, limits"
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
	return nil
}
