package shoal

import (
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

func TestExecNames(t *testing.T) {
	for _, name := range []string{"a", "train", "llama-3.1_8b", strings.Repeat("x", 64), "0"} {
		c := ExecCID(name)
		back, err := ParseCID(c.String())
		if got, ok := ExecName(back); err != nil || !ok || got != name || CodeName(c) != "exec:"+name {
			t.Errorf("%s: %q %v %v", name, got, ok, err)
		}
	}
	for _, name := range []string{"", "A", "a b", "-a", ".", "a/b", "a\"", "ä", strings.Repeat("x", 65)} {
		if err := CheckExecName(name); KindOf(err) != Invalid {
			t.Errorf("%q: %v", name, err)
		}
		if _, ok := ExecName(ExecCID(name)); ok {
			t.Errorf("%q is taken for the name of an executor", name)
		}
	}
	module := BlockCID([]byte("exec:a"))
	if _, ok := ExecName(module); ok || CodeName(module) != module.String() {
		t.Error("a module is taken for an executor")
	}
	if _, ok := ExecName(cid.Undef); ok {
		t.Error("nothing is taken for an executor")
	}
}
