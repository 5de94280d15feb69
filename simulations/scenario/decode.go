package scenario

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// Bounds on files that others wrote.
const (
	maxFaults = 10     // errors that are told at once
	maxValues = 200000 // of a file, with its aliases written out
	maxDepth  = 16
)

// reader fills a Scenario from a tree of YAML, and gathers what is wrong.
type reader struct {
	file   string
	errs   []*shoal.Error
	more   int            // errors beyond maxFaults
	line   map[string]int // by path: where a value stands
	values int
}

// fail notes that something is wrong with the value at a path, or with its absence.
func (r *reader) fail(path, why, try string) {
	if len(r.errs) == maxFaults {
		r.more++
		return
	}
	at := path
	for r.line[at] == 0 && at != "" {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	what := fmt.Sprintf("%s:%d", r.file, max(r.line[at], 1))
	if path != "" {
		what += ": " + path
	}
	r.errs = append(r.errs, shoal.E(shoal.Invalid, what, why, try))
}

// has reports whether the file has a value at a path.
func (r *reader) has(path string) bool { return r.line[path] != 0 }

var (
	spanType   = reflect.TypeFor[Span]()
	sizeType   = reflect.TypeFor[Size]()
	rateType   = reflect.TypeFor[Rate]()
	policyType = reflect.TypeFor[cost.Policy]()
	expectType = reflect.TypeFor[Expect]()
)

// set fills v from n. The field tells its bounds.
func (r *reader) set(n *yaml.Node, v reflect.Value, path string, field reflect.StructTag, depth int) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if r.values++; r.values > maxValues || depth > maxDepth {
		if r.values != math.MaxInt {
			r.values = math.MaxInt - 1 // said once
			r.fail(path, "there is too much of it, or it is nested too deeply", "write fewer values, and no aliases within aliases")
		}
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" { // as if it were not there
		return
	}
	r.line[path] = max(n.Line, 1)
	t := v.Type()
	switch {
	case t == spanType || t == sizeType || t == rateType || t == policyType || t == expectType:
		r.word(n, v, path, field)
		return
	case t.Kind() == reflect.Pointer:
		fresh := reflect.New(t.Elem())
		fill(fresh.Elem())
		r.set(n, fresh.Elem(), path, field, depth+1)
		v.Set(fresh)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		r.record(n, v, path, depth)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			r.fail(path, "it is "+kindOf(n)+", not a list", "write each entry on a line of its own, after '- ', or all within [ ]")
			return
		}
		list := reflect.MakeSlice(t, len(n.Content), len(n.Content))
		for i, c := range n.Content {
			fill(list.Index(i))
			r.set(c, list.Index(i), fmt.Sprintf("%s[%d]", path, i), field, depth+1)
		}
		v.Set(list)
	case reflect.Map:
		r.labels(n, v, path)
	default:
		r.word(n, v, path, field)
	}
}

// record fills a struct from a mapping.
func (r *reader) record(n *yaml.Node, v reflect.Value, path string, depth int) {
	if n.Kind != yaml.MappingNode {
		r.fail(path, "it is "+kindOf(n)+", and has no fields", "write fields: "+strings.Join(fieldNames(v.Type()), ", "))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		at := join(path, key)
		f, ok := fieldOf(v.Type(), key)
		switch {
		case !ok:
			r.line[at] = n.Content[i].Line
			r.fail(at, "there is no such field", nearest(key, fieldNames(v.Type())))
		case seen[key]:
			r.line[at] = n.Content[i].Line
			r.fail(at, "it is there twice", "leave one")
		default:
			r.set(n.Content[i+1], v.FieldByIndex(f.Index), at, f.Tag, depth+1)
		}
		seen[key] = true
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if name := f.Tag.Get("yaml"); f.Tag.Get("must") != "" && !r.has(join(path, name)) {
			r.fail(join(path, name), "it is missing", "add "+name+": "+f.Tag.Get("doc"))
		}
	}
}

func (r *reader) labels(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		r.fail(path, "it is "+kindOf(n)+", and has no fields", "write name: value")
		return
	}
	out := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		c := n.Content[i+1]
		if c.Kind != yaml.ScalarNode || r.values > maxValues {
			r.fail(join(path, n.Content[i].Value), "it is "+kindOf(c)+", not a word", "write name: value")
			continue
		}
		r.values++
		out[n.Content[i].Value] = c.Value
	}
	v.Set(reflect.ValueOf(out))
}

// word fills v from a single value.
func (r *reader) word(n *yaml.Node, v reflect.Value, path string, field reflect.StructTag) {
	if n.Kind != yaml.ScalarNode {
		r.fail(path, "it is "+kindOf(n)+", not "+a(v.Type()), "write "+example(v.Type()))
		return
	}
	x, err := parse(n.Value, v.Type())
	if err == nil && v.Kind() == reflect.String && v.Type() == reflect.TypeFor[string]() {
		if enum := field.Get("enum"); enum != "" && !slices.Contains(strings.Split(enum, ","), n.Value) {
			r.fail(path, "there is no '"+shorten(n.Value)+"'", nearest(n.Value, strings.Split(enum, ",")))
			return
		}
	}
	if err != nil {
		r.fail(path, "'"+shorten(n.Value)+"' is not "+a(v.Type())+": "+err.Error(), "write "+example(v.Type()))
		return
	}
	v.Set(x)
	if in := field.Get("in"); in != "" {
		lo, hi, _ := strings.Cut(in, "..")
		if b, err := parse(lo, v.Type()); err == nil && number(x) < number(b) {
			r.fail(path, "'"+shorten(n.Value)+"' is less than "+lo, "write "+within(lo, hi))
		} else if b, err := parse(hi, v.Type()); err == nil && hi != "" && number(x) > number(b) {
			r.fail(path, "'"+shorten(n.Value)+"' is more than "+hi, "write "+within(lo, hi))
		}
	}
}

func within(lo, hi string) string {
	if hi == "" {
		return lo + " or more"
	}
	return "something from " + lo + " to " + hi
}

// parse reads a single value of a type.
func parse(s string, t reflect.Type) (v reflect.Value, err error) {
	v = reflect.New(t).Elem()
	switch {
	case t == spanType:
		d, err := ParseSpan(s)
		return reflect.ValueOf(d), err
	case t == sizeType:
		x, err := ParseSize(s)
		return reflect.ValueOf(x), err
	case t == rateType:
		x, err := ParseRate(s)
		return reflect.ValueOf(x), err
	case t == policyType:
		p, ok := cost.ParsePolicy(s)
		if !ok {
			err = fmt.Errorf("there are fluid, ship-data and ship-code")
		}
		return reflect.ValueOf(p), err
	case t == expectType:
		e, err := parseExpect(s)
		return reflect.ValueOf(e), err
	}
	plain := strings.ReplaceAll(s, "_", "")
	switch t.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		if s != "true" && s != "false" {
			return v, fmt.Errorf("it is neither true nor false")
		}
		v.SetBool(s == "true")
	case reflect.Float64:
		x, err := strconv.ParseFloat(plain, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return v, fmt.Errorf("it is no figure")
		}
		v.SetFloat(x)
	case reflect.Int:
		x, err := strconv.Atoi(plain)
		if f, ferr := strconv.ParseFloat(plain, 64); err != nil && ferr == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			x, err = int(f), nil // 1e6
		}
		if err != nil {
			return v, fmt.Errorf("it is no whole number")
		}
		v.SetInt(int64(x))
	case reflect.Uint64:
		x, err := strconv.ParseUint(plain, 10, 64)
		if err != nil {
			return v, fmt.Errorf("it is no whole number of 0 or more")
		}
		v.SetUint(x)
	}
	return v, nil
}

func number(v reflect.Value) float64 {
	switch v.Kind() {
	case reflect.Float64:
		return v.Float()
	case reflect.Uint64:
		return float64(v.Uint())
	case reflect.Int, reflect.Int64:
		return float64(v.Int())
	}
	return 0
}

var defaultOf = regexp.MustCompile(`; default ([^:;]+)|^default ([^:;]+)`)

// defaultText returns what a field is where the file does not say, if its doc tells a value.
func defaultText(f reflect.StructField) string {
	m := defaultOf.FindStringSubmatch(f.Tag.Get("doc"))
	if m == nil {
		m = regexp.MustCompile(`: default ([^:;]+)`).FindStringSubmatch(f.Tag.Get("doc"))
	}
	if m == nil {
		return ""
	}
	text := strings.TrimSpace(cmp.Or(m[1], m[len(m)-1]))
	t := f.Type
	if t.Kind() == reflect.Slice {
		if !strings.HasPrefix(text, "[") {
			return ""
		}
		return text
	}
	if t.Kind() == reflect.String && !slices.Contains(strings.Split(f.Tag.Get("enum"), ","), text) {
		return ""
	}
	if _, err := parse(text, t); err != nil {
		return ""
	}
	return text
}

// fill puts the defaults into a struct; other values stay as they are.
func fill(v reflect.Value) {
	if v.Kind() != reflect.Struct || v.Type() == expectType {
		return
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Type.Kind() == reflect.Struct {
			fill(v.Field(i))
			continue
		}
		text := defaultText(f)
		if text == "" {
			continue
		}
		if f.Type.Kind() != reflect.Slice {
			x, _ := parse(text, f.Type)
			v.Field(i).Set(x)
			continue
		}
		x, err := parse(strings.Trim(text, "[]"), f.Type.Elem())
		if err == nil {
			v.Field(i).Set(reflect.Append(v.Field(i), x))
		}
	}
}

func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("yaml") == name && name != "-" && name != "" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func fieldNames(t reflect.Type) (list []string) {
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "-" && name != "" {
			list = append(list, name)
		}
	}
	return list
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
