package blobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

func newTest(t testing.TB) (*Blobs, *shoaltest.Store) {
	t.Helper()
	s := shoaltest.NewStore()
	b, err := New(Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, s
}

func mustImport(t testing.TB, b *Blobs, where string, o ImportOptions) shoal.Manifest {
	t.Helper()
	m, err := b.Import(context.Background(), where, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// write makes files under a new folder; a name that ends in "/" is a folder, a content that starts
// with "-> " a symbolic link.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	writeIn(t, dir, files)
	return dir
}

func writeIn(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, p)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	s := sha256.Sum256(fmt.Append(nil, seed))
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

// content concatenates the files of a graph in the order of fs.WalkDir.
func content(t testing.TB, b *Blobs, s *shoaltest.Store, root cid.Cid) []byte {
	t.Helper()
	tree, err := b.Tree(context.Background(), root, "x", s.Get)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := tree.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(&out, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestPartitions is the property that all partitions keep: in order, their contents are the dataset's;
// lines and files are not cut where they may not be; a second import and Partition agree.
func TestPartitions(t *testing.T) {
	b, s := newTest(t)
	base := t.TempDir()
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		round++
		dir := filepath.Join(base, fmt.Sprint(round))
		aName := rapid.StringMatching(`([ab]/){0,3}[a-f]{2,4}\.?[a-c]?`)
		names := rapid.SliceOfNDistinct(aName, 0, 25, rapid.ID).Draw(r, "names")
		line := rapid.StringMatching(`[ -~]{0,40}\n?`)
		text, files := "", map[string]string{"gone/": ""}
		for _, n := range names {
			files[n] = strings.Join(rapid.SliceOfN(line, 0, 40).Draw(r, "lines"), "")
		}
		writeIn(t, dir, files)
		where, one := dir, rapid.Bool().Draw(r, "one file")
		if one {
			where = filepath.Join(dir, "the file")
			for _, n := range names {
				text += files[n]
			}
			writeIn(t, dir, map[string]string{"the file": text})
		}
		splits := []shoal.Split{shoal.SplitFiles, shoal.SplitLines, shoal.SplitBytes}
		split := rapid.SampledFrom(splits).Draw(r, "split")
		o := ImportOptions{
			Split: split, LeafBytes: rapid.Int64Range(1, 300).Draw(r, "leaf"),
			PartitionBytes: rapid.Int64Range(1, 3000).Draw(r, "partition"),
		}
		m := mustImport(t, b, where, o)
		data := content(t, b, s, m.Root)
		if one && string(data) != text || uint64(len(data)) != m.Bytes {
			r.Fatalf("the dataset has %d bytes, the manifest says %d, the file has %d", len(data), m.Bytes, len(text))
		}
		checkPartitions(r, t, b, s, m, data)
		if again := mustImport(t, b, where, o); fmt.Sprint(again) != fmt.Sprint(m) {
			r.Fatalf("a second import gives %v, not %v", again, m)
		}
		again, err := b.Partition(context.Background(), m.Root, s.Get, split, o.PartitionBytes)
		if err != nil {
			r.Fatal(err)
		}
		if again.Bytes != m.Bytes || again.Split != m.Split || len(again.Partitions) == 0 {
			r.Fatalf("Partition gives %v, not %v", again, m)
		}
		checkPartitions(r, t, b, s, again, data)
	})
}

func checkPartitions(r *rapid.T, t *testing.T, b *Blobs, s *shoaltest.Store, m shoal.Manifest, data []byte) {
	var joined []byte
	whole := map[string]bool{}
	if len(m.Partitions) == 0 {
		r.Fatal("no partition")
	}
	for i, p := range m.Partitions {
		part := content(t, b, s, p.CID)
		if uint64(len(part)) != p.Bytes {
			r.Fatalf("partition %d has %d bytes, the manifest says %d", i, len(part), p.Bytes)
		}
		joined = append(joined, part...)
		tree, err := b.Tree(context.Background(), p.CID, "the file", s.Get)
		if err != nil {
			r.Fatal(err)
		}
		_ = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				r.Fatal(err)
			}
			if m.Split != shoal.SplitFiles || d.IsDir() {
				return nil
			}
			if whole[name] {
				r.Fatalf("%s is in two partitions", name)
			}
			whole[name] = true
			return nil
		})
		// Every partition but the last ends with a line or with a file; a file's end is no newline only
		// if the file has none there, and then the next partition starts with another file.
		if m.Split == shoal.SplitLines && len(part) > 0 && !bytes.HasSuffix(part, []byte("\n")) {
			if i+1 < len(m.Partitions) && last(filesOf(t, b, s, p.CID)) == filesOf(t, b, s, m.Partitions[i+1].CID)[0] {
				r.Fatalf("partition %d ends within a line", i)
			}
		}
	}
	if !bytes.Equal(joined, data) {
		r.Fatalf("the partitions have %d bytes, the dataset %d", len(joined), len(data))
	}
}

func last(all []string) string { return all[len(all)-1] }

func filesOf(t *testing.T, b *Blobs, s *shoaltest.Store, c cid.Cid) (all []string) {
	tree, err := b.Tree(context.Background(), c, "x", s.Get)
	if err != nil {
		t.Fatal(err)
	}
	_ = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if info, err := d.Info(); err == nil && !d.IsDir() && info.Size() > 0 {
			all = append(all, name)
		}
		return nil
	})
	return all
}

// TestPartitionSizes checks number and balance for the shapes people have.
func TestPartitionSizes(t *testing.T) {
	b, _ := newTest(t)
	small, mixed := map[string]string{}, map[string]string{}
	for i := range 1500 {
		small[fmt.Sprintf("d%02d/f%04d", i%20, i)] = strings.Repeat("x", 2000+4*i)
	}
	for i := range 40 {
		mixed[fmt.Sprintf("f%02d", i)] = strings.Repeat("y", 10_000)
	}
	mixed["f20big"] = strings.Repeat("z", 400_000)
	var lines strings.Builder
	for i := range 400_000 {
		fmt.Fprintf(&lines, "line %d of many\n", i)
	}
	for _, c := range []struct {
		name     string
		files    map[string]string
		o        ImportOptions
		from, to int    // partitions
		most     uint64 // bytes of one
	}{
		{"small files", small, ImportOptions{}, 55, 75, 160_000},
		{"one big file", mixed, ImportOptions{PartitionBytes: 100_000}, 5, 7, 400_000},
		{
			"lines",
			map[string]string{"t": lines.String()},
			ImportOptions{Split: shoal.SplitLines, LeafBytes: 10_000},
			55, 75, 150_000,
		},
		{"nothing", map[string]string{"e/": "", "f": ""}, ImportOptions{}, 1, 1, 0},
		{
			"empty files",
			map[string]string{"e": "", "f": "", "g": "12345", "h": ""},
			ImportOptions{PartitionBytes: 1},
			1, 1, 5,
		},
	} {
		m := mustImport(t, b, write(t, c.files), c.o)
		if n := len(m.Partitions); n < c.from || n > c.to {
			t.Errorf("%s: %d partitions, not %d to %d", c.name, n, c.from, c.to)
		}
		for i, p := range m.Partitions {
			if p.Bytes > c.most {
				t.Errorf("%s: partition %d has %d bytes of %d", c.name, i, p.Bytes, m.Bytes)
			}
		}
		if c.name == "one big file" {
			alone := 0
			for _, p := range m.Partitions {
				if p.Bytes == 400_000 {
					alone++
				}
			}
			if alone != 1 {
				t.Errorf("the big file is in %d partitions of its own", alone)
			}
		}
	}
	_, err := b.Import(context.Background(), write(t, small), ImportOptions{PartitionBytes: 10})
	if shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("a million partitions: %v", err)
	}
}

func TestAuto(t *testing.T) {
	b, _ := newTest(t)
	dir := write(t, map[string]string{
		"text": "a line\nünd\n", "binary": "a\x00b", "latin": "gr\xfc\xdfe", "empty": "",
		"long": strings.Repeat("äöü\n", 30_000),
	})
	for name, want := range map[string]shoal.Split{
		"": shoal.SplitFiles, "text": shoal.SplitLines, "binary": shoal.SplitBytes, "latin": shoal.SplitBytes,
		"long": shoal.SplitLines, "empty": shoal.SplitLines,
	} {
		m := mustImport(t, b, filepath.Join(dir, name), ImportOptions{})
		if m.Split != want {
			t.Errorf("%q is split by %s, not %s", name, m.Split, want)
		}
		if name != "" && m.Name != name {
			t.Errorf("%q is called %q", name, m.Name)
		}
	}
}

// TestImportFaults: each fault has one line that names the file.
func TestImportFaults(t *testing.T) {
	b, s := newTest(t)
	pipe := write(t, map[string]string{"ok": "x"})
	l, err := net.Listen("unix", filepath.Join(pipe, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	deep := path.Join(append([]string{}, strings.Split(strings.Repeat("d/", 300), "/")...)...)
	for _, c := range []struct {
		name string
		dir  string
		kind shoal.Kind
		says string
	}{
		{"absent", "/nowhere/at/all", shoal.NotFound, "no such file or folder"},
		{"socket", pipe, shoal.Invalid, "socket: a socket has no content"},
		{"device", "/dev/null", shoal.Invalid, "a device has no content"},
		{
			"link out", write(t, map[string]string{"a/l": "-> ../../x"}), shoal.Invalid,
			"a/l: a symbolic link that leads out",
		},
		{
			"absolute link", write(t, map[string]string{"l": "-> /etc/passwd"}), shoal.Invalid,
			"l: a symbolic link that leads out",
		},
		{
			"crooked link", write(t, map[string]string{"b": "-> .", "l": "-> b/b/b/../../x"}), shoal.Invalid,
			"l: a symbolic link that leads out",
		},
		{"not UTF-8", write(t, map[string]string{"gr\xfc\xdfe": ""}), shoal.Invalid, "it is not UTF-8"},
		{"deep", write(t, map[string]string{deep + "/": ""}), shoal.Invalid, "nested deeper than 256"},
	} {
		_, err := b.Import(context.Background(), c.dir, ImportOptions{})
		says := fmt.Sprint(err)
		if shoal.KindOf(err) != c.kind || !strings.Contains(says, c.says) || !strings.HasPrefix(says, "put ") {
			t.Errorf("%s: %v (%v), want %q", c.name, err, shoal.KindOf(err), c.says)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", c.name, err)
		}
	}
	gone := write(t, map[string]string{"a": "1", "b": "2", "sub/c": "3"})
	_, err = b.Import(context.Background(), gone, ImportOptions{Progress: func(int64, int64, string) {
		os.Remove(filepath.Join(gone, "sub", "c"))
	}})
	if err != nil {
		t.Errorf("a file that vanishes before its folder is read does no harm: %v", err)
	}
	gone = write(t, map[string]string{"a": "1", "b": "2"})
	_, err = b.Import(context.Background(), gone, ImportOptions{Progress: func(int64, int64, string) {
		os.Remove(filepath.Join(gone, "b"))
	}})
	if shoal.KindOf(err) != shoal.NotFound || !strings.Contains(err.Error(), "b: it vanished") {
		t.Errorf("vanished: %v", err)
	}
	shrunk := write(t, map[string]string{"a": string(noise(1, 5<<20))})
	_, err = b.Import(context.Background(), shrunk, ImportOptions{Progress: func(int64, int64, string) {
		os.Truncate(filepath.Join(shrunk, "a"), 100)
	}})
	if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "a: it became shorter") {
		t.Errorf("shrunk: %v", err)
	}
	s.SetLimit(1 << 20)
	large := write(t, map[string]string{"a": string(noise(2, 50<<20))})
	_, err = b.Import(context.Background(), large, ImportOptions{})
	if shoal.KindOf(err) != shoal.Full {
		t.Errorf("full disk: %v", err)
	}
}

func TestLinksStay(t *testing.T) {
	b, s := newTest(t)
	m := mustImport(t, b, write(t, map[string]string{
		"a/file": "content", "a/up": "-> ../b/x", "b/x": "-> ../a/file",
		"dangling": "-> not/here", "loop": "-> loop", "dir": "-> a",
	}), ImportOptions{})
	tree, err := b.Tree(context.Background(), m.Root, "", s.Get)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a/up": "content", "dir/file": "content", "dir/up": "content"} {
		if got, err := fs.ReadFile(tree, name); string(got) != want {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"dangling", "loop", "dir/nothing", "a/file/x"} {
		if _, err := tree.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if target, err := tree.ReadLink("a/up"); target != "../b/x" {
		t.Errorf("ReadLink: %q, %v", target, err)
	}
	if info, err := tree.Lstat("dir"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("Lstat: %v, %v", info, err)
	}
	if got := string(content(t, b, s, m.Partitions[0].CID)); got != "content" || len(m.Partitions) != 1 {
		t.Errorf("partitions: %q", got)
	}
}
