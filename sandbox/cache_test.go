package sandbox

import (
	"bytes"
	"context"
	leb "encoding/binary"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/examples"
)

// compileAll compiles the examples and returns their CIDs.
func compileAll(t *testing.T, s *Sandbox) (cids []cid.Cid) {
	t.Helper()
	for _, e := range examples.All() {
		if len(e.Module) > 1<<20 {
			continue // Go's take seconds each
		}
		c := shoal.BlockCID(e.Module)
		if _, err := s.Compile(t.Context(), c, e.Module); err != nil {
			t.Fatal(err)
		}
		cids = append(cids, c)
	}
	return cids
}

func TestCodeIsKeptAcrossRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	s := fresh(t, Config{CacheDir: dir})
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory is made before it is needed")
	}
	cids := compileAll(t, s)
	want, _ := s.info(cids[0])
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, halfDone+"123"), 0o700); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	s = fresh(t, Config{CacheDir: dir})
	for _, c := range cids {
		if !s.Ready(c) {
			t.Errorf("%s is not ready", c)
		}
	}
	if len(s.slots) != 0 || s.warm != 0 {
		t.Error("being ready took compiling")
	}
	if got, _ := s.info(cids[0]); strings.Join(got.Imports, " ") != strings.Join(want.Imports, " ") || got.Bytes != want.Bytes {
		t.Errorf("the info is %+v, was %+v", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, halfDone+"123")); err == nil {
		t.Error("what a crash left is still there")
	}
	before := countFiles(t, dir)
	hello, _ := examples.Module("hello")
	if _, err := s.Run(t.Context(), shoal.Run{Module: shoal.BlockCID(hello)}); err != nil {
		t.Fatal(err)
	}
	if after := countFiles(t, dir); after != before {
		t.Errorf("a run after a restart wrote code: %d files, were %d", after, before)
	}
}

func countFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDamagedCacheHeals cuts and alters each file of a cached module, one at a time.
func TestDamagedCacheHeals(t *testing.T) {
	hello, _ := examples.Module("hello")
	c := shoal.BlockCID(hello)
	cached := t.TempDir()
	s := fresh(t, Config{CacheDir: cached})
	if _, err := s.Compile(t.Context(), c, hello); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []struct {
		name string
		do   func(b []byte) []byte
	}{
		{"removed", func([]byte) []byte { return nil }},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }},
		{"altered", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
	} {
		for _, part := range []string{cardName, wasmName, codeName} {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(cached)); err != nil {
				t.Fatal(err)
			}
			spoil(t, dir, part, damage.do)
			s := fresh(t, Config{CacheDir: dir})
			ready := s.Ready(c)
			if ready && damage.name != "altered" {
				t.Errorf("%s %s: ready", part, damage.name)
			}
			_, err := s.Run(t.Context(), shoal.Run{Module: c})
			if err != nil && shoal.KindOf(err) != shoal.NotFound || !ready && err == nil {
				t.Errorf("%s %s: run: %v", part, damage.name, err)
			}
			if err != nil && s.Ready(c) {
				t.Errorf("%s %s: ready after %v", part, damage.name, err)
			}
			if _, err := s.Compile(t.Context(), c, hello); err != nil {
				t.Errorf("%s %s: compile: %v", part, damage.name, err)
			}
			if _, err := s.Run(t.Context(), shoal.Run{Module: c}); err != nil {
				t.Errorf("%s %s: run after compiling: %v", part, damage.name, err)
			}
		}
	}
}

// spoil changes the files of a cached module whose path contains part.
func spoil(t *testing.T, dir, part string, do func([]byte) []byte) {
	t.Helper()
	done := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path[len(dir):], string(filepath.Separator)+part) {
			return err
		}
		done++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if b = do(b); b == nil {
			return os.Remove(path)
		}
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || done == 0 {
		t.Fatalf("spoiling %s: %d files, %v", part, done, err)
	}
}

func TestLeastRecentlyUsedCodeGoes(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := fresh(t, Config{CacheDir: dir, Modules: 2})
		cids := compileAll(t, s)
		if s.warm != 2 {
			t.Errorf("%d modules are in memory, want 2", s.warm)
		}
		if ready := s.Ready(cids[0]); ready != (dir != "") {
			t.Errorf("with directory %q, ready after leaving memory: %v", dir, ready)
		}
	}
	s := fresh(t, Config{CacheDir: t.TempDir(), Modules: 1, CacheBytes: 400 << 10})
	cids := compileAll(t, s)
	if s.Ready(cids[0]) || !s.Ready(cids[len(cids)-1]) || s.disk > 400<<10 {
		t.Errorf("the disk holds %d bytes; the oldest is ready: %v, the newest: %v",
			s.disk, s.Ready(cids[0]), s.Ready(cids[len(cids)-1]))
	}
	if n := countFiles(t, s.cfg.CacheDir); n != 3*len(s.known) {
		t.Errorf("%d files for %d modules", n, len(s.known))
	}
}

func TestEachModuleIsCompiledOnce(t *testing.T) {
	s := fresh(t, Config{CacheDir: t.TempDir()})
	c := shoal.BlockCID(probe)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ctx, wasm := t.Context(), bytes.Clone(probe)
			if i%4 == 0 {
				ctx = gone
			}
			_, err := s.Compile(ctx, c, wasm)
			clear(wasm) // it is ours again
			if err != nil && (ctx != gone || shoal.KindOf(err) != shoal.Canceled) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := countFiles(t, s.cfg.CacheDir); n != 3 {
		t.Errorf("%d files, want 3", n)
	}
	if _, err := s.Run(t.Context(), shoal.Run{Module: c, Args: []string{"probe", "args"}}); err != nil {
		t.Error(err)
	}
}

// TestModulesThatDoNotValidate pass Inspect and fail in the engine.
func TestModulesThatDoNotValidate(t *testing.T) {
	s := fresh(t, Config{CacheDir: t.TempDir()})
	bad := []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" +
		"\x07\x0a\x01\x06_start\x00\x00" + "\x0a\x05\x01\x03\x00\x6a\x0b") // i32.add of nothing
	if _, err := Inspect(bad); err != nil {
		t.Fatal(err)
	}
	_, err := s.Compile(t.Context(), shoal.BlockCID(bad), bad)
	if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "does not validate") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if n := countFiles(t, s.cfg.CacheDir); n != 0 {
		t.Errorf("%d files are left behind", n)
	}
	trap := []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x05\x03\x01\x00\x01" +
		"\x07\x0a\x01\x06_start\x00\x00" + "\x08\x01\x00" + "\x0a\x05\x01\x03\x00\x00\x0b") // traps in its start function
	if _, err := s.Compile(t.Context(), shoal.BlockCID(trap), trap); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), shoal.Run{Module: shoal.BlockCID(trap)}); shoal.KindOf(err) != shoal.Failed {
		t.Errorf("a trap in the start function: %v", err)
	}
	far := []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x05\x03\x01\x00\x01" +
		"\x07\x0a\x01\x06_start\x00\x00" + "\x0a\x04\x01\x02\x00\x0b" +
		"\x0b\x09\x01\x00\x41\x80\x80\x40\x0b\x01x") // data beyond the memory
	if _, err := s.Compile(t.Context(), shoal.BlockCID(far), far); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), shoal.Run{Module: shoal.BlockCID(far)}); shoal.KindOf(err) != shoal.Failed {
		t.Errorf("data beyond the memory: %v", err)
	}
}

// TestOfferedImports holds Inspect's list of WASI functions against what the engine has.
func TestOfferedImports(t *testing.T) {
	ctx := t.Context()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	host, err := wasi_snapshot_preview1.NewBuilder(r).Compile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	vec := func(items ...string) string {
		return string(leb.AppendUvarint(nil, uint64(len(items)))) + strings.Join(items, "")
	}
	name := func(s string) string { return string(leb.AppendUvarint(nil, uint64(len(s)))) + s }
	types := func(vt []api.ValueType) string {
		var items []string
		for _, v := range vt {
			items = append(items, string([]byte{v}))
		}
		return vec(items...)
	}
	importing := func(fn, params, results string) []byte {
		return []byte("\x00asm\x01\x00\x00\x00" +
			"\x01" + name(vec("\x60"+params+results)) +
			"\x02" + name(vec(name("wasi_snapshot_preview1")+name(fn)+"\x00\x00")) +
			"\x05" + name(vec("\x00\x01")))
	}
	if len(host.ExportedFunctions()) < 40 {
		t.Errorf("the engine offers %d functions", len(host.ExportedFunctions()))
	}
	for fn, def := range host.ExportedFunctions() {
		if _, err := Inspect(importing(fn, types(def.ParamTypes()), types(def.ResultTypes()))); err != nil {
			t.Errorf("%s: %v", fn, err)
		}
		if _, err := Inspect(importing(fn, "\x01\x7d", types(def.ResultTypes()))); err == nil {
			t.Errorf("%s is offered with a parameter of f32", fn)
		}
	}
}

// TestGuestsAreBuiltFromSource rebuilds the guests of the tests and compares.
func TestGuestsAreBuiltFromSource(t *testing.T) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil || !strings.Contains(string(version), "Debian clang version 14.") {
		t.Skip("Debian's clang 14 is not installed: the committed guests are taken as they are")
	}
	if _, err := os.Stat("/usr/include/wasm32-wasi"); err != nil {
		t.Skip("wasi-libc is not installed: the committed guests are taken as they are")
	}
	dir := t.TempDir()
	if out, err := exec.Command("testdata/build.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for file, want := range map[string][]byte{"probe.wasm": probe, "reactor.wasm": reactor, "agent.wasm": agentModule} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what its source gives: run sandbox/testdata/build.sh (%v)", file, err)
		}
	}
}
