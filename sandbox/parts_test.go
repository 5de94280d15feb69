package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"testing/iotest"

	expsys "github.com/tetratelabs/wazero/experimental/sys"
	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

// TestOutCounts does random things under /out and compares what is counted with what is there.
func TestOutCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "out")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		o := &outFS{root: root, open: handles{}, maxBytes: 1 << 40, maxFiles: 1 << 20}
		path := rapid.SampledFrom([]string{"a", "b", "d", "d/a", "d/e", "d/e/b", "link", "d/link"})
		var files []expsys.File
		steps := map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				flag := expsys.O_RDWR | rapid.SampledFrom([]expsys.Oflag{
					0, expsys.O_CREAT,
					expsys.O_CREAT | expsys.O_TRUNC, expsys.O_APPEND, expsys.O_CREAT | expsys.O_EXCL,
				}).Draw(t, "flag")
				if f, errno := o.OpenFile(path.Draw(t, "path"), flag, 0); errno == 0 {
					files = append(files, f)
				}
			},
			"close": func(t *rapid.T) {
				if len(files) > 0 {
					i := rapid.IntRange(0, len(files)-1).Draw(t, "file")
					files[i].Close()
					files = append(files[:i], files[i+1:]...)
				}
			},
			"change": func(t *rapid.T) {
				if len(files) == 0 {
					return
				}
				f := files[rapid.IntRange(0, len(files)-1).Draw(t, "file")]
				n := rapid.IntRange(0, 5000).Draw(t, "n")
				switch rapid.IntRange(0, 3).Draw(t, "how") {
				case 0:
					f.Write(make([]byte, n))
				case 1:
					f.Pwrite(make([]byte, n%100), int64(n))
				case 2:
					f.Truncate(int64(n))
				case 3:
					f.Seek(int64(n), 0)
				}
			},
			"mkdir":   func(t *rapid.T) { o.Mkdir(path.Draw(t, "path"), 0) },
			"rmdir":   func(t *rapid.T) { o.Rmdir(path.Draw(t, "path")) },
			"unlink":  func(t *rapid.T) { o.Unlink(path.Draw(t, "path")) },
			"rename":  func(t *rapid.T) { o.Rename(path.Draw(t, "from"), path.Draw(t, "to")) },
			"symlink": func(t *rapid.T) { o.Symlink(path.Draw(t, "target"), path.Draw(t, "path")) },
			"": func(t *rapid.T) {
				var size uint64
				count := -1
				_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
					if count++; err == nil && d.Type().IsRegular() {
						st, _ := d.Info()
						size += uint64(st.Size())
					}
					return err
				})
				if count != o.files {
					t.Fatalf("%d files are counted, %d are there", o.files, count)
				}
				if o.bytes < size || len(files) == 0 && o.bytes != size {
					t.Fatalf("%d bytes are counted, %d are there; %d files are open", o.bytes, size, len(files))
				}
			},
		}
		t.Repeat(steps)
		o.open.closeAll()
	})
}

// plain hides what a file can do but read.
type plain struct{ fs.FS }

type plainFile struct{ f fs.File }

func (p plainFile) Read(b []byte) (int, error)          { return iotest.OneByteReader(p.f).Read(b) }
func (p plainFile) Stat() (fs.FileInfo, error)          { return p.f.Stat() }
func (p plainFile) Close() error                        { return p.f.Close() }
func (p plain) ReadDir(n string) ([]fs.DirEntry, error) { return fs.ReadDir(p.FS, n) }

func (p plain) Open(name string) (fs.File, error) {
	f, err := p.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return plainFile{f}, nil
}

func TestDataOfPlainFiles(t *testing.T) {
	body := []byte("0123456789")
	for name, fsys := range map[string]fs.FS{
		"random access": fstest.MapFS{"d/f": {Data: body}},
		"stream only":   plain{fstest.MapFS{"d/f": {Data: body}}},
	} {
		d := &dataFS{fsys: fsys, open: handles{}}
		f, errno := d.OpenFile("d/./f", expsys.O_RDONLY, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		buf := make([]byte, 7)
		for _, want := range []string{"0123456", "789", ""} {
			if n, errno := f.Read(buf); errno != 0 || string(buf[:n]) != want {
				t.Errorf("%s: read %q, %v; want %q", name, buf[:n], errno, want)
			}
		}
		_, errno = f.Pread(buf, 2)
		_, seek := f.Seek(0, 0)
		if ok := errno == 0 && seek == 0; ok != (name == "random access") {
			t.Errorf("%s: pread %v, seek %v", name, errno, seek)
		}
		if st, errno := f.Stat(); errno != 0 || st.Size != 10 || st.Mtim != 0 || st.Ino == 0 {
			t.Errorf("%s: stat %+v, %v", name, st, errno)
		}
		for path, want := range map[string]expsys.Errno{"d/f/": expsys.ENOTDIR, "d/g": expsys.ENOENT, "../f": expsys.EPERM, "d/": 0, "": 0} {
			if _, errno := d.Stat(path); errno != want {
				t.Errorf("%s: stat %q: %v, want %v", name, path, errno, want)
			}
		}
		if len(d.open) != 1 {
			t.Errorf("%s: %d files are open", name, len(d.open))
		}
		f.Close()
		if len(d.open) != 0 {
			t.Errorf("%s: %d files are open after close", name, len(d.open))
		}
	}
}

func TestDataErrorsEndTheRun(t *testing.T) {
	for _, err := range []error{errors.New("the disk is on fire"), shoal.E(shoal.Corrupt, "block", "altered", "")} {
		func() {
			defer func() {
				h, ok := recover().(*halt)
				if !ok || shoal.KindOf(h.err) != shoal.KindOf(shoal.Wrap(shoal.Unavailable, "", err)) {
					t.Errorf("%v: got %v", err, h)
				}
			}()
			dataError("x", err)
		}()
	}
}

func TestList(t *testing.T) {
	if got, want := list([]string{"a", "b", "c", "d", "e", "f"}), "a, b, c, d, e, ..."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
