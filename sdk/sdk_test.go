package sdk

import (
	"archive/zip"
	"bytes"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write go.zip anew")

// pack makes the archive. Files are stored as they are, without times, so that equal files give equal bytes.
func pack(t *testing.T) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	err := fs.WalkDir(os.DirFS("go"), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(filepath.Join("go", path))
		if err != nil {
			return err
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: path, Method: zip.Store})
		if err != nil {
			return err
		}
		_, err = f.Write(b)
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPacked(t *testing.T) {
	want := pack(t)
	if *update {
		if err := os.WriteFile("go.zip", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(packed, want) {
		t.Error("go.zip is not what go/ holds: run 'make examples' and commit it")
	}
	files, err := Go()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile(files, "go.mod"); err != nil || !bytes.Contains(b, []byte("module github.com/shoal-fabric/shoal/sdk/go\n")) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestFake runs the C SDK's double of the host, and the tests of the counter in C, natively.
func TestFake(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("there is no C compiler for this machine: agents in C are tested with one")
	}
	for _, source := range []string{"testdata/fake.c", "../examples/classify/test.c", "../examples/counterc/test.c", "../examples/ledger/test.c", "../examples/readerc/test.c", "../examples/tally/test.c", "../examples/wordcount-stream/test.c"} {
		bin := filepath.Join(t.TempDir(), "test")
		if out, err := exec.Command(cc, "-Wall", "-Wextra", "-Werror", "-Ic", "-o", bin, source).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", source, err, out)
		}
		if out, err := exec.Command(bin).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", source, err, out)
		}
	}
}
