package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/shoal-fabric/shoal"
)

// buildGo builds a guest in Go.
func buildGo(t testing.TB, pkg string) []byte {
	t.Helper()
	at := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.Command("go", "build", "-o", at, pkg)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wasm, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// TestSlicesSettle has guests of all speeds, alone and in a crowd: within a few slices each lasts as long as it
// should, and one that turns slow gives way late once.
func TestSlicesSettle(t *testing.T) {
	for _, want := range []time.Duration{sliceTime, crowdedTime} {
		for perGas := 0.06; perGas < 40; perGas *= 1.3 { // ns; the fastest and the slowest that bounds leave room for
			took := func(g *gas) time.Duration { return time.Duration(float64(g.slice) * perGas) }
			g := &gas{slice: newSlice}
			for range 12 {
				g.adapt(took(g), want)
			}
			if d := took(g); d > want*5/4 || d < want*4/5 && g.slice < maxSlice {
				t.Errorf("at %.2f ns for one: a slice of %v, want %v", perGas, d, want)
			}
			g.adapt(100*took(g), want)
			if d := 100 * took(g); d > want*5/4 && g.slice > minSlice {
				t.Errorf("at %.2f ns for one, a hundred times slower now: a slice of %v, want %v", perGas, d, want)
			}
		}
	}
}

// TestGoCostsTheSame runs a program whose runtime draws random numbers, reads the clock and collects.
func TestGoCostsTheSame(t *testing.T) {
	wasm := buildGo(t, "./testdata/json")
	c := shoal.BlockCID(wasm)
	s := fresh(t, Config{})
	if _, err := s.Compile(t.Context(), c, wasm); err != nil {
		t.Fatal(err)
	}
	run := func(seed string, slice int64) (string, uint64) {
		var out bytes.Buffer
		ran, err := s.run(t.Context(), shoal.Run{Module: c, Args: []string{"json"}, Stdout: &out, Seed: []byte(seed)}, slice)
		if err != nil || ran.Exit != 0 {
			t.Fatalf("exit %d, %v: %s", ran.Exit, err, out.String())
		}
		return out.String(), ran.Gas
	}
	said, gas := run("seed", 0)
	for _, slice := range []int64{0, 100_000, 12_345_678} {
		if out, again := run("seed", slice); out != said || again != gas {
			t.Errorf("slice %d: %d gas and %q, were %d and %q", slice, again, out, gas, said)
		}
	}
	other, differs := run("another seed", 0)
	t.Logf("%d gas, %q; with another seed %d, %q", gas, said, differs, other)
	if other == said {
		t.Error("the seed changes nothing: is this test looking at randomness at all?")
	}
}

// plainly runs a command without any of the sandbox: not metered, with the engine's own files and streams.
func plainly(t *testing.T, wasm []byte, args []string, stdin, data, out string) string {
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	var stdout bytes.Buffer
	files := wazero.NewFSConfig().WithReadOnlyDirMount(data, "/data").WithDirMount(out, "/out")
	_, err := r.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().
		WithArgs(args...).WithStdin(strings.NewReader(stdin)).WithStdout(&stdout).WithFSConfig(files))
	return verdictOf(err) + stdout.String() + contents(t, out)
}

// verdictOf writes the end of a run so that both ways can be compared.
func verdictOf(err error) string {
	if err == nil {
		return "exit 0\n"
	}
	s := firstLine(err.Error())
	if _, code, ok := strings.Cut(s, "exit_code("); ok {
		return "exit " + strings.TrimSuffix(code, ")") + "\n"
	}
	_, why, _ := strings.Cut(s, " failed: ")
	return "trap " + strings.TrimPrefix(why, "wasm error: ") + "\n"
}

func contents(t *testing.T, dir string) (all string) {
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all += fmt.Sprintf("%s: %x\n", path[len(dir):], b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestExamplesDoAsWithoutGas compares each example, metered, with the same in a bare engine.
func TestExamplesDoAsWithoutGas(t *testing.T) {
	data := t.TempDir()
	text := strings.Repeat("one fish, two fish\nred fish, blue fish\n", 500)
	for name, body := range map[string]string{"a": text, "sub/b": "the sea\n" + text[:333], "counts.tsv": "a\t1\nb\t2\n"} {
		at := filepath.Join(data, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := fresh(t, Config{})
	for _, c := range []struct {
		wasm []byte
		args []string
	}{
		{example0(t, "hello"), []string{"hello", "Ada"}},
		{example0(t, "cat"), []string{"cat"}},
		{example0(t, "cat"), []string{"cat", "/data/a", "/data/none"}},
		{example0(t, "grep"), []string{"grep", "blue"}},
		{example0(t, "grep"), []string{"grep"}},
		{example0(t, "fail"), []string{"fail", "7"}},
		{example0(t, "wordcount"), []string{"wordcount"}},
		{example0(t, "wordsum"), []string{"wordsum"}},
		{probe, []string{"probe", "args", "a", "b"}},
		{probe, []string{"probe", "trap"}},
		{probe, []string{"probe", "deep"}},
		{probe, []string{"probe", "cat", "/data/sub/b"}},
		{probe, []string{"probe", "write", "/out/x", "text"}},
		{buildGo(t, "../examples/linecount"), []string{"linecount"}},
	} {
		want := plainly(t, c.wasm, c.args, text, data, t.TempDir())
		module := shoal.BlockCID(c.wasm)
		if _, err := s.Compile(t.Context(), module, c.wasm); err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		var stdout bytes.Buffer
		ran, err := s.Run(t.Context(), shoal.Run{
			Module: module, Args: c.args, Stdin: strings.NewReader(text), Stdout: &stdout, Data: os.DirFS(data), Out: out,
		})
		got := fmt.Sprintf("exit %d\n", ran.Exit)
		if err != nil {
			_, trap, _ := strings.Cut(err.Error(), "trap: ")
			trap, _, _ = strings.Cut(trap, ":")
			got = "trap " + trap + "\n"
		}
		if got += stdout.String() + contents(t, out); got != want {
			t.Errorf("%q: got\n%.300s\nwithout gas\n%.300s", c.args, got, want)
		}
	}
}

// TestHostWorkIsCharged has guests whose work is the sandbox's.
func TestHostWorkIsCharged(t *testing.T) {
	s, _ := bench(t, Config{})
	data := fstest.MapFS{"f": {Data: make([]byte, 4<<20)}}
	few := func(r shoal.Run, args ...string) {
		t.Helper()
		r.Limits.Gas = 1_200_000
		if r.Stdout == nil {
			r.Stdout = io.Discard
		}
		fails(t, s, shoal.Failed, "gas limit of 1200000 reached", r, args...)
	}
	few(shoal.Run{Data: data}, "cat", "/data/f")
	few(shoal.Run{Stdin: io.LimitReader(neverending{}, 8<<20)}, "cat")
	few(shoal.Run{}, "flood")
	few(shoal.Run{Out: t.TempDir()}, "names")
	few(shoal.Run{Data: data}, "open", "/data/f")
}

type neverending struct{}

func (neverending) Read(b []byte) (int, error) { clear(b); return len(b), nil }
