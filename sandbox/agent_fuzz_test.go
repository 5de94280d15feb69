package sandbox

import (
	"context"
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/module"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// FuzzHostCalls gives host calls any numbers: pointers and lengths that lie outside the guest's memory, run
// over its end, or overlap. The guest may be ruined; the host is not.
func FuzzHostCalls(f *testing.F) {
	seed := func(which uint32, a ...uint32) {
		var all [8]uint32
		copy(all[:], a)
		f.Add(which, all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7], int64(-1))
	}
	const end, most = 128 << 10, 1<<32 - 1
	for which := range uint32(32) {
		seed(which)
		seed(which, 1024, 10, 2048, 10, 3072, 10, 4096, 10)
		seed(which, end-4, 8, end-4, 8, end-4, 8, end-4, 8)
		seed(which, most, most, most, most, most, most, most, most)
		seed(which, 1024, 1<<20+1, 1024, 1<<20+1, 1024, 1<<20+1, 1024, 1<<20+1)
		seed(which, 1024, 10, 1024, most, most, 10, end-1, 1<<20)
	}
	s := fresh(f, Config{AgentMemory: 4 << 20})
	b := behave(f, s, agentModule)
	f.Fuzz(func(t *testing.T, which, a0, a1, a2, a3, a4, a5, a6, a7 uint32, delay int64) {
		in, err := b.Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		var p []byte
		for _, n := range []uint32{which % 32, a0, a1, a2, a3, a4, a5, a6, a7, a0, a1, 0} {
			p = binary.LittleEndian.AppendUint32(p, n)
		}
		turn, st := turnOf("raw", string(binary.LittleEndian.AppendUint64(p, uint64(delay))))
		turn.Gas = 10_000_000
		st.Calls = func(context.Context, string, string, []byte) ([]byte, error) { return make([]byte, 5000), nil }
		turn.Data = agenttest.Data{strings.Repeat("\x00", 10) + "/" + strings.Repeat("\x00", 10): "some bytes"}
		shared := agenttest.NewShared().Draft(which%2 == 0)
		turn.Shared = shared
		if err := st.Put([]byte("key"), make([]byte, 3000)); err != nil {
			t.Fatal(err)
		}
		reply, err := in.Turn(context.Background(), turn)
		if err != nil && (shoal.KindOf(err) != shoal.Failed || strings.Contains(err.Error(), "runtime error")) {
			t.Fatalf("a fault of the host: %v", err)
		}
		if err := shared.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(reply) > 1<<20 {
			t.Fatalf("a reply of %d bytes", len(reply))
		}
	})
}

// TestCallsAreDocumented is that docs/abi.md lists the host calls that there are, with their types, and that the
// tests' agent uses each: it was instantiated, and built with the header's types.
func TestCallsAreDocumented(t *testing.T) {
	info, err := Inspect(agentModule)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, i := range info.Imports {
		if name, ok := strings.CutPrefix(i, module.Agent+"."); ok {
			used[name] = true
		}
	}
	doc, err := os.ReadFile("../docs/abi.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)\\(.*?\\)` \\| `\\((.*?)\\) -> (i32|i64)` \\|").FindAllStringSubmatch(string(doc), -1)
	for _, row := range rows {
		name, typ := row[1], ""
		for _, p := range strings.Fields(row[2]) {
			kind, n, many := strings.Cut(p, "×")
			times := 1
			if many {
				times, _ = strconv.Atoi(n)
			}
			typ += strings.Repeat(map[string]string{"i32": "i", "i64": "I"}[kind], times)
		}
		typ += ":" + map[string]string{"i32": "i", "i64": "I"}[row[3]]
		if got := module.AgentCall(name); got != typ {
			t.Errorf("%s has the type %q, and abi.md says %q", name, got, typ)
		}
		if !used[name] {
			t.Errorf("%s is tried by no test", name)
		}
		delete(used, name)
	}
	if len(rows) < 20 || len(used) > 0 {
		t.Errorf("abi.md has %d calls, and not %v", len(rows), used)
	}
}
