package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Placer is what the files of a run's Data have besides if some of them lie on this machine as they are.
type Placer interface {
	// Place returns the absolute path of the file that has just the content of name.
	Place(name string) (file string, ok bool)
}

// linked is a file that the command reads where it lies.
type linked struct {
	file string
	info os.FileInfo
}

// unpack makes a real folder of files: those that lie in place are linked, the others written out.
func unpack(ctx context.Context, files fs.FS, dir string) (links []linked, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	placer, _ := files.(Placer)
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case d.IsDir():
			return root.Mkdir(filepath.FromSlash(name), 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			return link(files, root, name)
		}
		if placer != nil {
			if file, ok := placer.Place(name); ok {
				info, err := os.Stat(file)
				if err != nil {
					return err
				}
				links = append(links, linked{file, info})
				return root.Symlink(file, filepath.FromSlash(name))
			}
		}
		return write(files, root, name)
	})
	return links, err
}

// link repeats a symbolic link that stays within its input; others are left out, as a module does not see
// them either.
func link(files fs.FS, root *os.Root, name string) error {
	target, err := fs.ReadLink(files, name)
	if err != nil {
		return err
	}
	first, _, deeper := strings.Cut(name, "/")
	to := path.Join(path.Dir(name), target)
	if path.IsAbs(target) || !deeper || to != first && !strings.HasPrefix(to, first+"/") {
		return nil
	}
	return root.Symlink(filepath.FromSlash(target), filepath.FromSlash(name))
}

func write(files fs.FS, root *os.Root, name string) error {
	in, err := files.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// changed names a linked file that is not as it was.
func changed(links []linked) string {
	for _, l := range links {
		now, err := os.Stat(l.file)
		if err != nil || now.Size() != l.info.Size() || !now.ModTime().Equal(l.info.ModTime()) {
			return l.file
		}
	}
	return ""
}

// diskKind is Full for an error that means a full disk.
func diskKind(err error) shoal.Kind {
	if errors.Is(err, syscall.ENOSPC) {
		return shoal.Full
	}
	return shoal.Internal
}

// weigh adds up what lies under a folder; links are not followed.
func weigh(dir string) (bytes uint64, files int) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went meanwhile
		}
		files++
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			bytes += uint64(info.Size())
		}
		return nil
	})
	return bytes, files - 1
}

// over says which limit what lies under dir is beyond.
func over(dir string, most uint64, files int) error {
	b, n := weigh(dir)
	switch {
	case b > most:
		return limit(fmt.Sprintf("output limit of %s under /out reached", shoal.Size(most)), "raise the limit, or write less")
	case n > files:
		return limit(fmt.Sprintf("limit of %d files under /out reached", files), "raise the limit, or write less")
	}
	return nil
}

// watchOut looks at /out from time to time, and ends the run when it is beyond a limit. A look takes a twentieth
// of the time at most.
func watchOut(ctx context.Context, dir string, most uint64, files int, end context.CancelCauseFunc) {
	pause := 250 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		if err := over(dir, most, files); err != nil {
			end(err)
			return
		}
		pause = max(250*time.Millisecond, 20*time.Since(began))
	}
}

func limit(why, try string) *shoal.Error { return shoal.E(shoal.Failed, "", why, try) }
