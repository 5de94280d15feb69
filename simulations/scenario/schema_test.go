package scenario_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/shoal-fabric/shoal/simulations/scenario"
)

const published = "../../docs/scenario.schema.json"

// TestSchema: the published schema is the one that the structs give. UPDATE_SCHEMA=1 writes it.
func TestSchema(t *testing.T) {
	if os.Getenv("UPDATE_SCHEMA") != "" {
		if err := os.WriteFile(published, scenario.Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(published)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, scenario.Schema()) {
		t.Error("docs/scenario.schema.json is out of date: UPDATE_SCHEMA=1 go test ./simulations/scenario -run TestSchema")
	}
}

// TestReadySchema: each ready scenario is as the schema says, and broken ones are not.
func TestReadySchema(t *testing.T) {
	files, _ := filepath.Glob("../scenarios/*.yaml")
	if len(files) == 0 {
		t.Fatal("there are no ready scenarios")
	}
	v := newValidator(t)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range v.check(t, b) {
			t.Errorf("%s: %s", name, fault)
		}
	}
	sound := "name: x\nduration: 1s\nclasses: [{name: a, count: 1}]\n"
	if faults := v.check(t, []byte(sound)); faults != nil {
		t.Error(faults)
	}
	for _, bad := range []string{"about: 3", "jitter: 2", "start: cold", "loss: [[x]]", "speed: 1", "data: [{name: a}]", "expect: [a ~ 3]", "settle: 5", "seeds: [1.5]", "data: {}"} {
		if v.check(t, []byte(sound+bad+"\n")) == nil {
			t.Errorf("%s is as the schema says", bad)
		}
	}
}

// validator knows as much of JSON Schema as ours uses.
type validator struct{ root, defs map[string]any }

func newValidator(t *testing.T) *validator {
	v := &validator{}
	if err := json.Unmarshal(scenario.Schema(), &v.root); err != nil {
		t.Fatal(err)
	}
	v.defs = v.root["$defs"].(map[string]any)
	return v
}

func (v *validator) check(t *testing.T, text []byte) []string {
	var x any
	if err := yaml.Unmarshal(text, &x); err != nil {
		t.Fatal(err)
	}
	return v.faults(v.root, x, "")
}

func (v *validator) faults(s map[string]any, x any, path string) (list []string) {
	fail := func(format string, args ...any) { list = append(list, path+": "+fmt.Sprintf(format, args...)) }
	for key, want := range s {
		switch key {
		case "$ref":
			list = append(list, v.faults(v.defs[strings.TrimPrefix(want.(string), "#/$defs/")].(map[string]any), x, path)...)
		case "type":
			kinds, ok := want.([]any)
			if !ok {
				kinds = []any{want}
			}
			if !slices.ContainsFunc(kinds, func(k any) bool { return slices.Contains(kindsOf(x), k.(string)) }) {
				fail("%v is no %v", x, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), x) {
				fail("%v is not in %v", x, want)
			}
		case "pattern":
			if text, ok := x.(string); ok && !regexp.MustCompile(want.(string)).MatchString(text) {
				fail("%q does not match %v", text, want)
			}
		case "minimum", "maximum":
			n, ok := numberOf(x)
			if ok && (key == "minimum" && n < want.(float64) || key == "maximum" && n > want.(float64)) {
				fail("%v is beyond the %s, %v", n, key, want)
			}
		case "items":
			items, _ := x.([]any)
			for i, item := range items {
				list = append(list, v.faults(want.(map[string]any), item, fmt.Sprintf("%s[%d]", path, i))...)
			}
		case "required":
			m, _ := x.(map[string]any)
			for _, name := range want.([]any) {
				if _, ok := m[name.(string)]; !ok {
					fail("%s is missing", name)
				}
			}
		case "properties":
			m, _ := x.(map[string]any)
			for name, value := range m {
				if p, ok := want.(map[string]any)[name]; ok {
					list = append(list, v.faults(p.(map[string]any), value, path+"."+name)...)
				} else if s["additionalProperties"] == false {
					fail("%s is unknown", name)
				}
			}
		}
	}
	return list
}

func numberOf(x any) (float64, bool) {
	switch n := x.(type) {
	case int:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

func kindsOf(x any) []string {
	switch n := x.(type) {
	case string:
		return []string{"string"}
	case bool:
		return []string{"boolean"}
	case int:
		return []string{"integer", "number"}
	case float64:
		if n == float64(int(n)) {
			return []string{"number", "integer"}
		}
		return []string{"number"}
	case map[string]any:
		return []string{"object"}
	case []any:
		return []string{"array"}
	}
	return []string{reflect.TypeOf(x).String()}
}
