package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// maxFile bounds a scenario's file.
const maxFile = 1 << 20

// Options change what a file says.
type Options struct {
	Nodes    int           // scales the classes to so many nodes in all; 0: as the file says
	Seeds    []uint64      // in place of the file's
	Policies []cost.Policy // in place of the file's
	Set      []Setting     // of single values, before the file is checked
	SkipBad  bool          // leave out broken rows of traces, and count them
	Settle   *Span         // in place of the file's

	Figures map[string]string                   // units of the figures that expectations may name, by name; nil: any figure
	Open    func(string) (io.ReadCloser, error) // opens traces, by the name in the file; nil: there are none
}

// Setting puts a value in place of another, or of none: data.corpus.replicas is that of the dataset called corpus,
// load.lookup.rate that of the load that is called so or asks for it, and data.replicas that of all datasets.
type Setting struct{ Path, Value string }

// Errors are all that is wrong with a file, each Invalid, with file, line and field.
type Errors []*shoal.Error

// Error has a line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, x := range e {
		list[i] = x
	}
	return list
}

// ReadFile reads a file. Traces are looked for beside it.
func ReadFile(path string, o Options) (*Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	if o.Open == nil {
		o.Open = func(name string) (io.ReadCloser, error) {
			if !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(path), name)
			}
			return os.Open(name)
		}
	}
	return Parse(path, b, o)
}

func fileError(path string, err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return shoal.E(shoal.Invalid, "scenario "+path, err.Error(), "check the path; 'shoal sim ls' lists the scenarios that are ready")
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// Parse reads a file's content; name is for errors. What is wrong is told as Errors, up to ten at once.
func Parse(name string, b []byte, o Options) (*Scenario, error) {
	r := &reader{file: name, line: map[string]int{}}
	if len(b) > maxFile {
		r.fail("", fmt.Sprintf("it is larger than %d bytes", maxFile), "put requests into a trace")
		return nil, Errors(r.errs)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	err := dec.Decode(&doc)
	if err == nil {
		if dec.Decode(new(yaml.Node)) != io.EOF {
			r.fail("", "it holds more than one document", "leave one, without '---' lines")
		}
	}
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		r.fail("", "it is empty", "begin with name, duration and classes; 'shoal sim show lan-5' prints an example")
	case err != nil:
		m := yamlLine.FindStringSubmatch(strings.Join(strings.Fields(err.Error()), " "))
		if m == nil {
			m = []string{"", "", err.Error()}
		}
		r.line[""], _ = strconv.Atoi(m[1])
		r.fail("", m[2], "write it as YAML")
	}
	if r.errs != nil {
		return nil, Errors(r.errs)
	}
	s := &Scenario{File: name, Sum: sum(b)}
	for _, set := range o.Set {
		r.override(doc.Content[0], set)
	}
	fill(reflect.ValueOf(s).Elem())
	r.set(doc.Content[0], reflect.ValueOf(s).Elem(), "", "", 0)
	if r.errs == nil {
		(&checker{reader: r, s: s, o: o}).all()
	}
	if r.errs == nil {
		return s, nil
	}
	if r.more > 0 {
		r.errs = append(r.errs, shoal.E(shoal.Invalid, name, fmt.Sprintf("and %d more errors", r.more), ""))
	}
	return nil, Errors(r.errs)
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// override puts a value into the tree.
func (r *reader) override(root *yaml.Node, s Setting) {
	words := strings.Split(s.Path, ".")
	if !put(root, words, s.node()) {
		what := s.Path
		r.errs = append(r.errs, shoal.E(shoal.Invalid, what+"="+s.Value, "the scenario has nothing of this name",
			"write one like duration, data.NAME.replicas or load.NAME.rate, of what the file has"))
	}
}

// node returns what makes the value's tree: a list and fields may be written as YAML has them.
func (s Setting) node() func(line int) *yaml.Node {
	return func(line int) *yaml.Node {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(s.Value), &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind == yaml.ScalarNode {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s.Value, Line: line}
		}
		move(&doc, line)
		return doc.Content[0]
	}
}

// move has a tree stand on one line.
func move(n *yaml.Node, line int) {
	n.Line = line
	for _, c := range n.Content {
		move(c, line)
	}
}

// put sets the value that the words lead to, and reports whether they led anywhere. Of a list they name an entry, the first that
// is called or asks for that, or all.
func put(n *yaml.Node, words []string, value func(line int) *yaml.Node) (done bool) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, key := range []string{"name", "ask", "kind"} {
			for _, c := range n.Content {
				if len(words) > 1 && field(c, key) == words[0] {
					return put(c, words[1:], value)
				}
			}
		}
		for _, c := range n.Content {
			done = put(c, words, value) || done
		}
		return done
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value != words[0] {
				continue
			}
			if len(words) > 1 {
				return put(n.Content[i+1], words[1:], value)
			}
			n.Content[i+1] = value(n.Content[i].Line)
			return true
		}
		if len(words) == 1 { // a field that the file leaves to its default; an unknown one is told of later
			line := n.Line
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: words[0], Line: line}, value(line))
			return true
		}
	}
	return false
}

// field returns a mapping's value.
func field(n *yaml.Node, key string) string {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1].Value
		}
	}
	return ""
}

var expectForm = regexp.MustCompile(`^\s*([a-z][a-z0-9_]*)(?:\s+of\s+([a-z-]+))?\s*(<=|>=|==|<|>)\s*(\S+)\s*$`)

// parseExpect reads an expectation. Its value may have a unit; check brings it to the figure's.
func parseExpect(s string) (e Expect, err error) {
	m := expectForm.FindStringSubmatch(s)
	if m == nil {
		return e, errors.New("it has not the form FIGURE OP VALUE")
	}
	e = Expect{Text: strings.TrimSpace(s), Figure: m[1], Op: m[3]}
	if m[2] != "" {
		if _, ok := cost.ParsePolicy(m[2]); !ok {
			return e, errors.New("'" + m[2] + "' is no policy")
		}
		e.Figure += " of " + m[2]
	}
	if e.Value, err = strconv.ParseFloat(m[4], 64); err == nil {
		return e, nil
	}
	if d, derr := ParseSpan(m[4]); derr == nil {
		e.Value = d.Seconds() // of figures in s; check knows whether it is one in ms
		return e, nil
	}
	if b, berr := ParseSize(m[4]); berr == nil {
		e.Value = float64(b)
		return e, nil
	}
	return e, errors.New("'" + shorten(m[4]) + "' is no value")
}

// unitOf says of what unit the value of an expectation was written in: "", "s" or "bytes".
func unitOf(text string) string {
	m := expectForm.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	if _, err := strconv.ParseFloat(m[4], 64); err == nil {
		return ""
	}
	if _, err := ParseSpan(m[4]); err == nil {
		return "s"
	}
	return "bytes"
}
