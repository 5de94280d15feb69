package floors

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
)

const module = "github.com/shoal-fabric/shoal"

// TestFloors parses every Go file of this module and holds it against floors.txt.
func TestFloors(t *testing.T) {
	root := os.DirFS(filepath.Join("..", ".."))
	text, err := fs.ReadFile(root, "floors.txt")
	if err != nil {
		t.Fatal(err)
	}
	faults, err := check(string(text), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// TestFloorsSeesViolations plants each kind of violation and wants it named.
func TestFloorsSeesViolations(t *testing.T) {
	const text = `
floor ground .
floor leaves a/leaf b/leaf
floor rooms  hand mind
floor cmd    cmd/run
pure a/leaf
shared example.org/shared
tests * example.org/check
tests mind example.org/tool
owns hand example.org/lib
`
	imports := func(pkg string, paths ...string) *fstest.MapFile {
		src := "package " + pkg + "\n"
		for _, p := range paths {
			src += "import _ \"" + p + "\"\n"
		}
		return &fstest.MapFile{Data: []byte(src)}
	}
	for _, c := range []struct {
		name string
		file string
		src  *fstest.MapFile
		want string
	}{
		{"lower floor", "hand/x.go", imports("hand", module+"/a/leaf", module, "net", "example.org/lib/sub", "example.org/shared"), ""},
		{"same floor", "mind/x.go", imports("mind", module+"/hand"), "may not import"},
		{"sibling leaf", "a/leaf/x.go", imports("leaf", module+"/b/leaf"), "may not import"},
		{"higher floor", "a/leaf/x.go", imports("leaf", module+"/hand"), "may not import"},
		{"unknown package", "drawer/x.go", imports("drawer"), "has no floor"},
		{"foreign library", "mind/x.go", imports("mind", "example.org/lib"), "does not own"},
		{"impure import", "a/leaf/x.go", imports("leaf", "net/http"), "pure"},
		{"os", "a/leaf/x.go", imports("leaf", "os"), "pure"},
		{"global randomness", "a/leaf/x.go", imports("leaf", "math/rand/v2"), ""},
		{"clock", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"time\"\nvar T = time.Now()\n")}, "time.Now"},
		{"renamed clock", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport c \"time\"\nvar T = c.After\n")}, "time.After"},
		{"goroutine", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nfunc f() { go f() }\n")}, "goroutine"},
		{"global roll", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"math/rand/v2\"\nvar T = rand.IntN(3)\n")}, "rand.IntN"},
		{"dotted clock", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport . \"time\"\nvar T = Sleep\n")}, "hides"},
		{"timer", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"time\"\nvar T = time.NewTimer(1)\n")}, "time.NewTimer"},
		{"sleep", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"time\"\nfunc f() { time.Sleep(1) }\n")}, "time.Sleep"},
		{"deadline", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"context\"\nvar f = context.WithTimeout\n")}, "context.WithTimeout"},
		{"after a context", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"context\"\nvar f = context.AfterFunc\n")}, "context.AfterFunc"},
		{"cancel", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"context\"\nvar f = context.WithCancel\n")}, ""},
		{"the disk by another name", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"path/filepath\"\nvar f = filepath.Glob\n")}, "filepath.Glob"},
		{"a clock in a type's name", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"time\"\nvar t time.Time\nvar d = t.Sub\n")}, ""},
		{"random hash", "a/leaf/x.go", imports("leaf", "hash/maphash"), "pure"},
		{"printing", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"fmt\"\nfunc f() { fmt.Println() }\n")}, "fmt.Println"},
		{"linked name", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport _ \"unsafe\"\n//go:linkname now time.now\nfunc now() int64\n")}, "unsafe"},
		{"test of higher floors", "a/leaf/x_test.go", imports("leaf", module+"/hand", module+"/b/leaf", "net", "example.org/shared"), ""},
		{"test of a command", "hand/x_test.go", imports("hand", module+"/cmd/run"), "a test may not import"},
		{"test of what is not there", "hand/x_test.go", imports("hand", module+"/drawer"), "a test may not import"},
		{"test with another's library", "mind/x_test.go", imports("mind", "example.org/lib"), "does not own"},
		{"test with its own library", "hand/x_test.go", imports("hand_test", "example.org/lib/sub", "example.org/check"), ""},
		{"test with a tool", "mind/x_test.go", imports("mind", "example.org/tool"), ""},
		{"test with another's tool", "hand/x_test.go", imports("hand", "example.org/tool"), "does not own"},
		{"a test's library in the program", "hand/x.go", imports("hand", "example.org/check"), "does not own"},
		{"test without a floor", "drawer/x_test.go", imports("drawer"), "has no floor"},
		{"internal", "internal/x/x.go", imports("x", "net"), "has no floor"},
		{"seeded roll", "a/leaf/x.go", &fstest.MapFile{Data: []byte("package leaf\nimport \"math/rand/v2\"\nvar T = rand.New(rand.NewPCG(1, 2)).IntN(3)\n")}, ""},
	} {
		faults, err := check(text, fstest.MapFS{c.file: c.src})
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(faults, "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestArchitectureNamesAllRooms holds the page with the picture against floors.txt.
func TestArchitectureNamesAllRooms(t *testing.T) {
	root := os.DirFS(filepath.Join("..", ".."))
	page, err := fs.ReadFile(root, "ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(root, "floors.txt")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, w := range strings.FieldsFunc(string(page), func(r rune) bool { return unicode.IsSpace(r) || r == '|' || r == '`' }) {
		room, list, braces := strings.Cut(strings.TrimRight(w, ".:;"), "{")
		if !braces {
			named[room] = true
			continue
		}
		for _, leaf := range strings.Split(strings.TrimSuffix(list, "}"), ",") {
			named[room+leaf] = true
		}
	}
	for pkg := range parsePolicy(string(text)).floor {
		if pkg != "." && !named[pkg] && !strings.HasPrefix(pkg, "examples") && !strings.HasPrefix(pkg, "internal/") {
			t.Errorf("ARCHITECTURE.md does not name %s", pkg)
		}
	}
}

// policy is floors.txt, parsed.
type policy struct {
	floor  map[string]int
	pure   map[string]bool
	owns   map[string][]string
	shared []string
	tests  map[string][]string // "*": of all
	cmd    int                 // the topmost floor
}

func parsePolicy(text string) policy {
	p := policy{floor: map[string]int{}, pure: map[string]bool{}, owns: map[string][]string{}, tests: map[string][]string{}}
	for n, line := range strings.Split(text, "\n") {
		w := strings.Fields(strings.SplitN(line, "#", 2)[0])
		if len(w) < 2 {
			continue
		}
		switch w[0] {
		case "floor":
			p.cmd = n
			for _, pkg := range w[2:] {
				p.floor[pkg] = n
			}
		case "pure":
			for _, pkg := range w[1:] {
				p.pure[pkg] = true
			}
		case "owns":
			p.owns[w[1]] = append(p.owns[w[1]], w[2:]...)
		case "shared":
			p.shared = append(p.shared, w[1:]...)
		case "tests":
			p.tests[w[1]] = append(p.tests[w[1]], w[2:]...)
		}
	}
	return p
}

// check returns a line for each violation in the Go files of root.
func check(text string, root fs.FS) ([]string, error) {
	p := parsePolicy(text)
	var faults []string
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && name != "."):
			return fs.SkipDir
		case d.IsDir() && name != ".":
			if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil {
				return fs.SkipDir // a module of its own
			}
			return nil
		case !strings.HasSuffix(name, ".go"):
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		faults = append(faults, p.imports(name, file)...)
		if strings.HasSuffix(name, "_test.go") {
			return nil // tests may use clocks, disks and sockets
		}
		if p.pure[path.Dir(name)] {
			faults = append(faults, impure(name, file)...)
		}
		return nil
	})
	return faults, err
}

func (p policy) imports(name string, file *ast.File) (faults []string) {
	from := path.Dir(name)
	floor, known := p.floor[from]
	test := strings.HasSuffix(name, "_test.go")
	if !known {
		return []string{name + ": package " + from + " has no floor in floors.txt"}
	}
	for _, s := range file.Imports {
		imp, _ := strconv.Unquote(s.Path.Value)
		to, ours := ".", imp == module
		if !ours {
			to, ours = strings.CutPrefix(imp, module+"/")
		}
		switch {
		case ours && test:
			if at, ok := p.floor[to]; !ok || at == p.cmd {
				faults = append(faults, name+": a test may not import "+to)
			}
		case ours:
			if below, ok := p.floor[to]; !ok || below >= floor {
				faults = append(faults, name+": "+from+" may not import "+to)
			}
		case strings.Contains(strings.SplitN(imp, "/", 2)[0], "."):
			if !covered(p.shared, imp) && !covered(p.owns[from], imp) && !(test && (covered(p.tests["*"], imp) || covered(p.tests[from], imp))) {
				faults = append(faults, name+": "+from+" does not own "+imp)
			}
		}
	}
	return faults
}

func covered(prefixes []string, imp string) bool {
	for _, p := range prefixes {
		if imp == p || strings.HasPrefix(imp, p+"/") {
			return true
		}
	}
	return false
}

// forbidden lists what a pure package may not import, or not use of what it imports. "" stands for
// the whole package.
func forbidden(imp, sel string) bool {
	switch imp {
	case "os", "net", "syscall", "crypto/rand", "io/ioutil", "log", "log/slog", "hash/maphash", "unsafe", "plugin", "C",
		"runtime", "testing":
		return true
	case "time":
		switch sel {
		case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker":
			return true
		}
	case "math/rand", "math/rand/v2":
		return sel != "" && sel != "New" && sel != "NewPCG" && sel != "NewSource" && sel != "NewChaCha8" &&
			sel != "Rand" && sel != "Source" && sel != "PCG" && sel != "ChaCha8"
	case "context":
		switch sel {
		case "WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause", "AfterFunc":
			return true // they start timers and goroutines
		}
	case "path/filepath":
		switch sel {
		case "Abs", "EvalSymlinks", "Glob", "Walk", "WalkDir":
			return true
		}
	case "fmt":
		switch sel {
		case "Print", "Printf", "Println", "Scan", "Scanf", "Scanln":
			return true
		}
	}
	for _, tree := range []string{"net/", "os/", "runtime/", "log/", "testing/", "debug/"} {
		if strings.HasPrefix(imp, tree) {
			return true
		}
	}
	return false
}

func impure(name string, file *ast.File) (faults []string) {
	alias := map[string]string{}
	for _, s := range file.Imports {
		imp, _ := strconv.Unquote(s.Path.Value)
		if forbidden(imp, "") {
			faults = append(faults, name+": a pure package may not import "+imp)
		}
		local := path.Base(imp)
		if imp == "math/rand/v2" {
			local = "rand"
		}
		if s.Name != nil {
			local = s.Name.Name
		}
		if local == "." {
			faults = append(faults, name+": a pure package may not import . "+imp+", which hides what it uses of it")
		}
		alias[local] = imp
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			faults = append(faults, name+": a pure package may not start a goroutine")
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok {
				if imp, ok := alias[id.Name]; ok && forbidden(imp, n.Sel.Name) {
					faults = append(faults, name+": a pure package may not use "+path.Base(strings.TrimSuffix(imp, "/v2"))+"."+n.Sel.Name)
				}
			}
		}
		return true
	})
	return faults
}
