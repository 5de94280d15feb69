package sandbox

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/examples"
)

// example runs one of the examples and returns what it printed.
func example(t testing.TB, s *Sandbox, name string, r shoal.Run) (stdout string, exit int) {
	t.Helper()
	wasm, ok := examples.Module(name)
	if !ok {
		t.Fatalf("no example %s", name)
	}
	return command(t, s, wasm, name, r)
}

func command(t testing.TB, s *Sandbox, wasm []byte, name string, r shoal.Run) (stdout string, exit int) {
	t.Helper()
	r.Module = shoal.BlockCID(wasm)
	if _, err := s.Compile(t.Context(), r.Module, wasm); err != nil {
		t.Fatal(err)
	}
	var out, stderr bytes.Buffer
	r.Args, r.Stdout, r.Stderr = append([]string{name}, r.Args...), &out, &stderr
	ran, err := s.Run(t.Context(), r)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, stderr.String())
	}
	return out.String(), ran.Exit
}

// counts parses a counts.tsv, which must be sorted.
func counts(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "counts.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, last := map[string]uint64{}, ""
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		word, n, _ := strings.Cut(lines.Text(), "\t")
		if word <= last {
			t.Fatalf("%.40q after %.40q", word, last)
		}
		last = word
		if out[word], err = strconv.ParseUint(n, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// corpus is a tree of files that is hard on a word counter: words of all lengths at all offsets.
func corpus(r *rand.Rand) fstest.MapFS {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_\xc3\xa9\xff"
	const blanks = " \n\t.,-'\"()\x00\x7f@[`{/:"
	data := fstest.MapFS{
		"set/empty":                &fstest.MapFile{},
		"set/a":                    {Data: []byte("a")},
		"set/only-blanks":          {Data: []byte(strings.Repeat(" ", 1000))},
		"set/one-long":             {Data: []byte(strings.Repeat("Long", 300_000))},
		"set/deep/er/and/er/x.txt": {Data: []byte("The the THE")},
	}
	for i := range 20 {
		var b bytes.Buffer
		for n := r.IntN(1 << (8 + i%12)); b.Len() < n; {
			for range 1 + min(r.IntN(40), r.IntN(40)) {
				b.WriteByte(letters[r.IntN(len(letters))])
			}
			for range 1 + r.IntN(2)*r.IntN(70) {
				b.WriteByte(blanks[r.IntN(len(blanks))])
			}
			if r.IntN(3) == 0 {
				fmt.Fprintf(&b, "w%d ", r.IntN(5000))
			}
		}
		data[fmt.Sprintf("set/%d", i)] = &fstest.MapFile{Data: b.Bytes()}
	}
	return data
}

func TestWordcountCountsAsItsTwin(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	data := corpus(rand.New(rand.NewPCG(seed, 1)))
	want, total := map[string]uint64{}, uint64(0)
	for _, f := range data {
		if err := examples.CountWords(bytes.NewReader(f.Data), want); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range want {
		total += n
	}
	s := fresh(t, Config{})
	whole := t.TempDir()
	if out, exit := example(t, s, "wordcount", shoal.Run{Data: data, Out: whole}); exit != 0 || out != "" {
		t.Fatalf("wordcount: exit %d, %q", exit, out)
	}
	if got := counts(t, whole); !maps.Equal(got, want) {
		t.Fatalf("%d words, want %d", len(got), len(want))
	}

	// By parts, as a map and reduce job does it.
	parts := t.TempDir()
	for i, args := range [][]string{{"set/deep", "set/one-long", "/data/set/empty"}, {"set/a", "set/only-blanks"}} {
		dir := filepath.Join(parts, "parts", strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, exit := example(t, s, "wordcount", shoal.Run{Args: args, Data: data, Out: dir}); exit != 0 {
			t.Fatalf("wordcount %v: exit %d", args, exit)
		}
	}
	for i := range 20 {
		dir := filepath.Join(parts, strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		example(t, s, "wordcount", shoal.Run{Args: []string{fmt.Sprintf("set/%d", i)}, Data: data, Out: dir})
	}
	if err := os.WriteFile(filepath.Join(parts, "other.tsv"), []byte("not\tcounted\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := t.TempDir()
	out, exit := example(t, s, "wordsum", shoal.Run{Data: os.DirFS(parts), Out: sum})
	if want := fmt.Sprintf("words %d distinct %d\n", total, len(want)); exit != 0 || out != want {
		t.Fatalf("wordsum: exit %d, %q; want %q", exit, out, want)
	}
	one, _ := os.ReadFile(filepath.Join(whole, "counts.tsv"))
	two, _ := os.ReadFile(filepath.Join(sum, "counts.tsv"))
	if !bytes.Equal(one, two) {
		t.Fatalf("the sum of the parts differs from the whole: %d and %d bytes", len(two), len(one))
	}
}

func TestWordsumRefusesWhatIsNoList(t *testing.T) {
	s := fresh(t, Config{})
	for _, bad := range []string{"word\tcount\n", "word\n", "word\t1\nword", "w\t99999999999999999999\n"} {
		data := fstest.MapFS{"counts.tsv": {Data: []byte(bad)}}
		if _, exit := example(t, s, "wordsum", shoal.Run{Data: data, Out: t.TempDir()}); exit != 1 {
			t.Errorf("%q: exit %d, want 1", bad, exit)
		}
	}
	out, exit := example(t, s, "wordsum", shoal.Run{Data: fstest.MapFS{}, Out: t.TempDir()})
	if exit != 0 || out != "words 0 distinct 0\n" {
		t.Errorf("of nothing: exit %d, %q", exit, out)
	}
}

func TestSmallExamples(t *testing.T) {
	s := fresh(t, Config{})
	data := fstest.MapFS{
		"set/a": {Data: []byte("one fish\ntwo fish\nred\n")},
		"set/b": {Data: []byte(strings.Repeat("x", 300_000) + " fish in a long line")},
		"set/c": {Data: []byte("none")},
	}
	for _, c := range []struct {
		name, want string
		exit       int
		run        shoal.Run
	}{
		{"hello", "Hello from a shoal.\n", 0, shoal.Run{}},
		{"hello", "Hello, Ada.\nHello, Alan.\n", 0, shoal.Run{Args: []string{"Ada", "Alan"}}},
		{"cat", "none", 0, shoal.Run{Args: []string{"/data/set/c"}, Data: data}},
		{"cat", "none", 1, shoal.Run{Args: []string{"/data/set/x", "/data/set/c"}, Data: data}},
		{"cat", "through", 0, shoal.Run{Stdin: strings.NewReader("through")}},
		{
			"grep", "/data/set/a:one fish\n/data/set/a:two fish\n/data/set/b:" + string(data["set/b"].Data) + "\n", 0,
			shoal.Run{Args: []string{"fish"}, Data: data},
		},
		{"grep", "", 1, shoal.Run{Args: []string{"whale"}, Data: data}},
		{"grep", "/data/set/c:none\n", 0, shoal.Run{Args: []string{"on", "/data/set/c"}, Data: data}},
		{"grep", "", 2, shoal.Run{}},
		{"fail", "", 1, shoal.Run{}},
		{"fail", "", 7, shoal.Run{Args: []string{"7"}}},
	} {
		out, exit := example(t, s, c.name, c.run)
		if out != c.want || exit != c.exit {
			t.Errorf("%s %q: exit %d, %.80q; want %d, %.80q", c.name, c.run.Args, exit, out, c.exit, c.want)
		}
	}
}

// TestLinecount builds the example in Go as its users do.
func TestLinecount(t *testing.T) {
	at := filepath.Join(t.TempDir(), "linecount.wasm")
	build := exec.Command("go", "build", "-o", at, "../examples/linecount")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wasm, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	data := fstest.MapFS{"set/a": {Data: []byte("1\n2\n3")}, "set/b/c": {Data: []byte("4\n" + strings.Repeat("x", 100_000) + "\n")}}
	dir := t.TempDir()
	out, exit := command(t, fresh(t, Config{}), wasm, "linecount", shoal.Run{Data: data, Out: dir})
	if exit != 0 || out != "lines 4\n" {
		t.Errorf("exit %d, %q", exit, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "lines.tsv"))
	if want := "/data/set/a\t2\n/data/set/b/c\t2\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func BenchmarkHello(b *testing.B) {
	s := fresh(b, Config{})
	example(b, s, "hello", shoal.Run{})
	wasm, _ := examples.Module("hello")
	c := shoal.BlockCID(wasm)
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		if _, err := s.Run(b.Context(), shoal.Run{Module: c, Args: []string{"hello"}, Stdout: &out}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWordcount(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 20_000)
	for i := range words {
		w := make([]byte, 2+r.IntN(8))
		for j := range w {
			w[j] = byte('a' + r.IntN(26))
		}
		words[i] = string(w)
	}
	zipf := rand.NewZipf(r, 1.07, 1, uint64(len(words)-1))
	var text bytes.Buffer
	for text.Len() < 32<<20 {
		text.WriteString(words[zipf.Uint64()])
		text.WriteByte(' ')
	}
	s := fresh(b, Config{})
	run := shoal.Run{Data: fstest.MapFS{"set/text": {Data: text.Bytes()}}, Out: b.TempDir()}
	example(b, s, "wordcount", run)
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		example(b, s, "wordcount", run)
	}
}

func BenchmarkCompile(b *testing.B) {
	wasm, _ := examples.Module("wordcount")
	c := shoal.BlockCID(wasm)
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			s := fresh(b, Config{CacheDir: b.TempDir()})
			if _, err := s.Compile(b.Context(), c, wasm); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("from disk", func(b *testing.B) {
		dir := b.TempDir()
		for b.Loop() {
			s := fresh(b, Config{CacheDir: dir})
			if _, err := s.Compile(b.Context(), c, wasm); err != nil {
				b.Fatal(err)
			}
			k, _, _, err := s.acquire(b.Context(), c, "")
			if err != nil {
				b.Fatal(err)
			}
			s.release(k, 0)
		}
	})
}
