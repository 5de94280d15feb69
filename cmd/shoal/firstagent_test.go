package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// startNode starts a node for the commands that follow, as the document asks.
const startNode = `
export SHOAL_DIR="$PWD/../node"
shoal up --listen 127.0.0.1:0 >/dev/null 2>&1 &
trap "kill $!" EXIT
n=0
until shoal status >/dev/null 2>&1; do sleep 0.2; n=$((n+1)); test $n -lt 100; done
`

// TestFirstAgent does what docs/first-agent.md says: it runs the commands, in order and in one shell, and looks for
// the code that it shows in what was written. A block that is not run must say why.
func TestFirstAgent(t *testing.T) {
	doc, err := os.ReadFile("../../docs/first-agent.md")
	if err != nil {
		t.Fatal(err)
	}
	script, code := "set -eu\n", []string(nil)
	before := ""
	for rest := string(doc); ; {
		text, after, ok := strings.Cut(rest, "\n```")
		if !ok {
			break
		}
		kind, body, _ := strings.Cut(after, "\n")
		body, rest, ok = strings.Cut(body, "\n```")
		if !ok {
			t.Fatalf("a block of %q has no end", kind)
		}
		before = text[strings.LastIndex(text, "\n")+1:]
		switch {
		case kind == "sh":
			if strings.Contains(text, "This needs a node") {
				script += startNode
			}
			script += body + "\n"
		case kind == "go":
			code = append(code, body)
		case kind != "text" || !strings.HasPrefix(before, "<!-- not executed: "):
			t.Errorf("a block of kind %q after %q: it is neither run nor says why not", kind, before)
		}
	}
	if strings.Count(script, "make test") != 2 || len(code) == 0 {
		t.Fatalf("not the document that this test knows: %s", script)
	}
	for _, tool := range []string{"sh", "make", "go", "clang", "wasm-ld", "cc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: the document's commands cannot be run", tool)
		}
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off", "MAKEFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("404242")) {
		t.Errorf("the agent was not called:\n%s", out)
	}
	if got := bytes.Count(out, []byte("methods  add get")); got != 2 {
		t.Errorf("inspect shows the methods %d times:\n%s", got, out)
	}
	main, err := os.ReadFile(filepath.Join(dir, "tally", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range code {
		if !bytes.Contains(main, []byte(c)) {
			t.Errorf("main.go does not hold what the document shows:\n%s", c)
		}
	}
}
