package scenario

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Schema returns the JSON Schema (draft 2020-12) of scenario files, made from the tags of their structs. Names that must
// resolve, and what depends on two fields, it cannot say: Parse checks those as well.
func Schema() []byte {
	defs := map[string]any{
		"span": map[string]any{"type": "string", "pattern": `^-?([0-9.]+(ns|us|µs|ms|s|m|h|d))+$|^0$`, "description": "a duration: 20ms, 1.5h, 2d"},
		"size": map[string]any{
			"type": []string{"string", "integer"}, "minimum": 0, "pattern": `^[0-9][0-9._eE]* ?(B|[kKMGTP]B|[KMGTP]iB)?$`,
			"description": "a number of bytes: 64MiB, 1.5GB, 100",
		},
		"rate": map[string]any{
			"type": []string{"string", "number"}, "minimum": 0, "pattern": `^[0-9][0-9._eE]* ?(B|[kKMGTP]B|[KMGTP]iB|[kMGT]?bit)?(/s)?$`,
			"description": "bytes a second, or bits: 100Mbit, 1Gbit, 10MB",
		},
		"policy": map[string]any{"enum": []string{"fluid", "ship-data", "ship-code"}},
		"expect": map[string]any{"type": "string", "pattern": expectForm.String(), "description": "FIGURE OP VALUE, or FIGURE of POLICY OP VALUE"},
	}
	root := record(reflect.TypeFor[Scenario](), defs)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://github.com/shoal-fabric/shoal/blob/main/docs/scenario.schema.json"
	root["title"] = "A scenario of 'shoal sim'"
	root["$defs"] = defs
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("scenario: schema: " + err.Error())
	}
	return append(b, '\n')
}

// record describes a struct; others that it mentions go into defs.
func record(t reflect.Type, defs map[string]any) map[string]any {
	props, must := map[string]any{}, []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" || name == "-" {
			continue
		}
		p := property(f.Type, f.Tag, defs)
		if doc := f.Tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		if text := defaultText(f); text != "" && f.Type.Kind() != reflect.Slice {
			p["default"] = text
			if x, err := parse(text, f.Type); err == nil && scalar(f.Type) {
				p["default"] = x.Interface()
			}
		}
		props[name] = p
		if f.Tag.Get("must") != "" {
			must = append(must, name)
		}
	}
	out := map[string]any{"type": "object", "properties": props, "additionalProperties": false}
	if len(must) > 0 {
		out["required"] = must
	}
	return out
}

// scalar reports whether YAML itself has values of the type.
func scalar(t reflect.Type) bool {
	switch t {
	case spanType, sizeType, rateType, policyType, expectType:
		return false
	}
	return t.Kind() != reflect.Slice && t.Kind() != reflect.Pointer && t.Kind() != reflect.Map
}

func property(t reflect.Type, tag reflect.StructTag, defs map[string]any) map[string]any {
	ref := func(name string) map[string]any { return map[string]any{"$ref": "#/$defs/" + name} }
	switch t {
	case spanType:
		return ref("span")
	case sizeType:
		return ref("size")
	case rateType:
		return ref("rate")
	case policyType:
		return ref("policy")
	case expectType:
		return ref("expect")
	}
	switch t.Kind() {
	case reflect.Pointer:
		return property(t.Elem(), tag, defs)
	case reflect.Struct:
		name := strings.ToLower(t.Name())
		if defs[name] == nil {
			defs[name] = true // it may mention itself
			defs[name] = record(t, defs)
		}
		return ref(name)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": property(t.Elem(), tag, defs)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"type": []string{"string", "number", "boolean"}}}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		if enum := tag.Get("enum"); enum != "" {
			return map[string]any{"enum": strings.Split(enum, ",")}
		}
		return map[string]any{"type": "string"}
	}
	out := map[string]any{"type": "number"}
	if t.Kind() != reflect.Float64 {
		out["type"] = "integer"
	}
	if t.Kind() == reflect.Uint64 {
		out["minimum"] = 0
	}
	if lo, hi, ok := strings.Cut(tag.Get("in"), ".."); ok {
		for word, key := range map[string]string{lo: "minimum", hi: "maximum"} {
			if x, err := strconv.ParseFloat(word, 64); err == nil {
				out[key] = x
			}
		}
	}
	return out
}
