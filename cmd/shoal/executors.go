package main

import (
	"fmt"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// executors returns those that a configuration lists.
func (c settings) executors() ([]native.Executor, error) {
	list, err := natives(c.Executors)
	if err == nil {
		err = native.Check(list)
	}
	return list, err
}

// executor is a native executor as a configuration file writes it.
type executor struct {
	Name     string            `yaml:"name"`
	Command  []string          `yaml:"command"`
	Devices  executorDevices   `yaml:"devices"`
	Env      map[string]string `yaml:"env"`
	Limits   executorLimits    `yaml:"limits"`
	Measures string            `yaml:"measures"`
}

type executorDevices struct {
	GPUs   *int    `yaml:"gpus"`
	Memory *string `yaml:"memory"`
	Vendor string  `yaml:"vendor"`
}

type executorLimits struct {
	Memory    *string `yaml:"memory"`
	Processes *int    `yaml:"processes"`
	Time      *string `yaml:"time"`
	Output    *string `yaml:"output"`
}

// natives reads what the fields of executors say. An error's What names the field.
func natives(list []executor) ([]native.Executor, error) {
	out := make([]native.Executor, len(list))
	for i, x := range list {
		at := fmt.Sprintf("executors[%d]", i)
		if shoal.CheckExecName(x.Name) == nil { // else native.Check says so
			at += " (" + x.Name + ")"
		}
		n := native.Executor{Name: x.Name, Command: x.Command, Env: x.Env, Devices: reserve.Want{Vendor: x.Devices.Vendor}}
		for _, f := range []struct {
			name string
			text *string
			to   *uint64
		}{
			{"devices.memory", x.Devices.Memory, &n.Devices.Memory},
			{"limits.memory", x.Limits.Memory, &n.Memory},
			{"limits.output", x.Limits.Output, &n.Output},
		} {
			if f.text == nil {
				continue
			}
			v, err := parseSize(*f.text)
			if err == nil && v == 0 {
				err = fmt.Errorf("'%s' is no size; write 512MiB or 1GiB", *f.text)
			}
			if err != nil {
				return nil, shoal.E(shoal.Invalid, at+"."+f.name, err.Error(), "leave it out for the default")
			}
			*f.to = v
		}
		for _, f := range []struct {
			name string
			n    *int
			to   *int
		}{
			{"devices.gpus", x.Devices.GPUs, &n.Devices.Whole},
			{"limits.processes", x.Limits.Processes, &n.Processes},
		} {
			switch {
			case f.n == nil:
			case *f.n < 1:
				return nil, shoal.E(shoal.Invalid, at+"."+f.name, fmt.Sprintf("%d is not 1 or more", *f.n), "leave it out for none")
			default:
				*f.to = *f.n
			}
		}
		if x.Limits.Time != nil {
			d, err := time.ParseDuration(*x.Limits.Time)
			if err != nil || d <= 0 {
				return nil, shoal.E(shoal.Invalid, at+".limits.time", fmt.Sprintf("'%s' is no time; write 90s or 2h", *x.Limits.Time),
					"leave it out for the default")
			}
			n.Time = d
		}
		switch x.Measures {
		case "":
		case "tflops":
			n.Measures = true
		default:
			return nil, shoal.E(shoal.Invalid, at+".measures", fmt.Sprintf("'%.40s' is nothing that can be measured", x.Measures), "write tflops")
		}
		switch n.Devices.Vendor {
		case "", "nvidia", "amd", "intel":
		default:
			return nil, shoal.E(shoal.Invalid, at+".devices.vendor", fmt.Sprintf("'%.40s' is no vendor that is known", n.Devices.Vendor),
				"write nvidia, amd or intel")
		}
		out[i] = n
	}
	return out, nil
}
