package mount

import (
	"io/fs"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

type tree struct {
	fstest.MapFS
	root cid.Cid
	lone string
	read atomic.Uint64
}

func (t *tree) BytesRead() uint64 { return t.read.Load() }

func (t *tree) CID(path string) (cid.Cid, error) {
	if path == t.lone {
		return t.root, nil
	}
	return shoal.BlockCID([]byte(path)), nil
}

func (t *tree) Open(name string) (fs.File, error) {
	t.read.Add(1)
	return t.MapFS.Open(name)
}

func TestInputsAreOneFolder(t *testing.T) {
	a := &tree{MapFS: fstest.MapFS{"x/y.txt": {Data: []byte("deep")}, "top": {Data: []byte("1")}}}
	lone := &tree{MapFS: fstest.MapFS{"big.txt": {Data: []byte("lone")}}, lone: "big.txt", root: shoal.BlockCID([]byte("lone"))}
	folder := &tree{MapFS: fstest.MapFS{"only.txt": {Data: []byte("2")}}, root: shoal.BlockCID([]byte("folder"))}
	x, err := New([]shoal.Input{
		{Name: "photos", CID: shoal.BlockCID([]byte("a"))}, {Name: "text", CID: lone.root}, {Name: "00000", CID: folder.root},
	}, []Tree{a, lone, folder})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(x, "photos/x/y.txt", "photos/top", "text", "00000/only.txt"); err != nil {
		t.Fatal(err)
	}
	b, err := fs.ReadFile(x, "text")
	if err != nil || string(b) != "lone" {
		t.Errorf("%q %v", b, err)
	}
	for _, bad := range []string{"..", "photos/../text", "/text", "absent", "photos/absent", "text/below"} {
		if _, err := x.Open(bad); err == nil {
			t.Errorf("%q opens", bad)
		}
	}
	if x.BytesRead() == 0 {
		t.Error("nothing counted")
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"photos": true, "00000": true, "a b": true, "": false, ".": false, "..": false,
		"a/b": false, "/a": false, `a\b`: false, "a\x00": false,
	} {
		if ValidName(name) != ok {
			t.Errorf("%q: %v", name, !ok)
		}
	}
}
