package simulations

import (
	"embed"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

//go:embed scenarios
var files embed.FS

// Ready is a scenario that comes with the binary.
type Ready struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Nodes int    `json:"nodes"`
	Text  []byte `json:"-"`
}

// List returns the ready scenarios, by name.
func List() (list []Ready) {
	entries, _ := fs.ReadDir(files, "scenarios")
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".yaml")
		if !ok {
			continue
		}
		b, _ := files.ReadFile(path.Join("scenarios", e.Name()))
		r := Ready{Name: name, Text: b}
		if s, err := Load(name, scenario.Options{}); err == nil {
			r.About, r.Nodes = s.About, s.Nodes()
		}
		list = append(list, r)
	}
	return list
}

// Load reads a scenario: a ready one by its name, or a file. Invalid: there is none, or it is wrong; see scenario.Errors.
func Load(ref string, o scenario.Options) (*scenario.Scenario, error) {
	o.Figures = map[string]string{}
	for _, f := range report.Names {
		o.Figures[f.Name] = f.Unit
	}
	if b, err := files.ReadFile(path.Join("scenarios", ref+".yaml")); err == nil && !strings.ContainsAny(ref, "/.") {
		if o.Open == nil {
			o.Open = func(name string) (io.ReadCloser, error) { return files.Open(path.Join("scenarios", name)) }
		}
		s, err := scenario.Parse(ref+".yaml", b, o)
		if s != nil {
			s.File = ref
		}
		return s, err
	}
	if _, err := os.Stat(ref); err != nil && os.IsNotExist(err) {
		var known []string
		entries, _ := fs.ReadDir(files, "scenarios")
		for _, e := range entries {
			if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok {
				known = append(known, name)
			}
		}
		return nil, shoal.E(shoal.Invalid, "scenario "+ref, "no such file, and none of this name is ready", "ready are "+strings.Join(known, ", "))
	}
	return scenario.ReadFile(ref, o)
}
