package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/shoal-fabric/shoal/shoaltest/hostile"
)

// What this binary can be besides the tests.
const (
	compiles = "compile"
	priority = "priority"
	gluttony = "gluttony" // takes 300 MiB and waits
	sloth    = "sloth"    // does nothing, for ever
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == compiles {
		os.Exit(Main(os.Args[2:], os.Stdout))
	}
	if len(os.Args) > 1 && os.Args[1] == gluttony {
		all := make([]byte, 300<<20)
		for i := range all {
			all[i] = 1
		}
		time.Sleep(time.Hour)
		fmt.Println(all[0])
	}
	for len(os.Args) > 1 && os.Args[1] == sloth {
	}
	if len(os.Args) > 1 && os.Args[1] == priority {
		if err := bound(1<<30, time.Minute); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		threads, _ := filepath.Glob("/proc/self/task/*/stat")
		for _, path := range threads {
			b, _ := os.ReadFile(path)
			_, rest, _ := strings.Cut(string(b), ") ")
			fmt.Println(strings.Fields(rest)[16]) // the nineteenth of all
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func self(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, os.Args[0], append([]string{compiles}, args...)...)
}

func says(word string) func(context.Context, ...string) *exec.Cmd {
	return func(ctx context.Context, _ ...string) *exec.Cmd { return exec.CommandContext(ctx, "echo", word) }
}

// folder has a module in it.
func folder(t *testing.T, wasm []byte) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, Module), wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func files(t *testing.T, dir string) (n int) {
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return n
}

// TestCodeOfAChildIsUsed has a child compile and this process load what it left, without writing anything.
func TestCodeOfAChildIsUsed(t *testing.T) {
	wasm := hostile.Command("\x00", "")
	dir := folder(t, wasm)
	c := Child{Command: self, Time: time.Minute, Memory: 1 << 30}
	if err := c.Compile(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(dir, Cache)
	if files(t, cache) != 1 {
		t.Fatalf("the child left %d files, want the code", files(t, cache))
	}
	code, err := Compile(cache, wasm)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := code.Runtime.InstantiateModule(t.Context(), code.Compiled, wazero.NewModuleConfig()); err != nil {
		t.Errorf("it does not run: %v", err)
	}
	code.Close()
	code.Close() // again is no fault
	if files(t, cache) != 1 {
		t.Error("loading has compiled")
	}
}

func TestCompileNeedsNoDirectory(t *testing.T) {
	code, err := Compile("", hostile.Command("\x00", ""))
	if err != nil {
		t.Fatal(err)
	}
	code.Close()
	for name, wasm := range map[string][]byte{
		"no module": []byte("hello"), "no validation": hostile.Command("\x00", "\x6a"), "empty": nil,
	} {
		if code, err := Compile("", wasm); err == nil || code != nil {
			t.Errorf("%s: compiled", name)
		}
	}
}

// TestChildrenSayWhatIsWrong has every way in which a child can end.
func TestChildrenSayWhatIsWrong(t *testing.T) {
	good, bad := folder(t, hostile.Command("\x00", "")), folder(t, hostile.Command("\x00", "\x6a"))
	slow := folder(t, hostile.Branches(20_000))
	limited := func(err error) bool { return errors.As(err, new(*ErrLimit)) }
	for _, c := range []struct {
		name, folder, want string
		child              Child
		is                 func(error) bool
	}{
		{"invalid", bad, "cannot pop", Child{self, time.Minute, 1 << 30}, func(err error) bool { return errors.As(err, new(*ErrInvalid)) }},
		{"slow", slow, "more than 200ms", Child{self, 200 * time.Millisecond, 8 << 30}, limited},
		{"large", slow, "more than 100 MiB", Child{self, time.Minute, 100 << 20}, limited},
		{"another version", good, "another version", Child{says(saidDone + " wazero-0"), time.Minute, 1 << 30}, func(err error) bool { return !limited(err) }},
		{"no program", good, "the child failed", Child{func(ctx context.Context, _ ...string) *exec.Cmd {
			return exec.CommandContext(ctx, filepath.Join(good, "none"))
		}, time.Minute, 1 << 30}, func(err error) bool { return !limited(err) }},
		{"no module", t.TempDir(), Module, Child{self, time.Minute, 1 << 30}, func(err error) bool { return !limited(err) }},
	} {
		began := time.Now()
		err := c.child.Compile(t.Context(), c.folder)
		took := time.Since(began)
		if err == nil || !strings.Contains(err.Error(), c.want) || !c.is(err) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		var limit *ErrLimit
		if errors.As(err, &limit) && (limit.Over() <= 0 || limit.Over() > took) {
			t.Errorf("%s: ended %v after its limit, of %v in all", c.name, limit.Over(), took)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Child{self, time.Minute, 1 << 30}).Compile(ctx, good); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestMainRefuses what no node would ask for.
func TestMainRefuses(t *testing.T) {
	for _, args := range [][]string{nil, {"a"}, {"a", "soon", "1"}, {"a", "1s", "much"}} {
		var out bytes.Buffer
		if code := quiet(func() int { return Main(args, &out) }); code != 1 || out.Len() != 0 {
			t.Errorf("%q: exit %d, %q", args, code, out.String())
		}
	}
}

// quiet keeps what f says on the error stream from the test's.
func quiet(f func() int) int {
	was := os.Stderr
	defer func() { os.Stderr = was }()
	os.Stderr, _ = os.Open(os.DevNull)
	return f()
}

func TestTailKeepsTheBeginning(t *testing.T) {
	w := tail{most: 5}
	for _, s := range []string{"abc", "", "defg", "h"} {
		if n, err := io.WriteString(&w, s); n != len(s) || err != nil {
			t.Errorf("%q: %d, %v", s, n, err)
		}
	}
	if string(w.b) != "abcde" {
		t.Errorf("kept %q", w.b)
	}
}
