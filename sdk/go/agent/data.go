package agent

import (
	"io"
	"iter"
)

// maxRead is how much one host call reads.
const maxRead = 1 << 20

// File is a file of a dataset. It implements io.ReaderAt, so that io.NewSectionReader reads it from end to end. What the
// agent's node does not have comes from peers, only the blocks that are touched, and the turn waits meanwhile.
type File struct {
	t             *Turn
	dataset, path string
}

var _ io.ReaderAt = (*File)(nil)

// File names a file of a dataset by the dataset's CID and the path in it, "" for a dataset that is one file. Nothing is
// looked up before it is read; it is good as long as the turn.
func (t *Turn) File(dataset, path string) *File { return &File{t, dataset, path} }

// ReadAt follows io.ReaderAt. Errors are *Error: NotFound for a file that there is not, or that nobody who can be
// reached has, Invalid for a folder, or beyond the end.
func (f *File) ReadAt(b []byte, offset int64) (n int, err error) {
	for n < len(b) {
		part := b[n:min(len(b), n+maxRead)]
		got, err := f.t.host.Read(f.dataset, f.path, offset+int64(n), part)
		n += got
		if err != nil {
			return n, err
		}
		if got < len(part) {
			return n, io.EOF
		}
	}
	return n, nil
}

// Size is how many bytes the file has.
func (f *File) Size() (int64, error) {
	list, err := f.t.host.Files(f.dataset, f.path, "")
	switch {
	case err != nil:
		return 0, err
	case len(list) != 1 || list[0].Name != "":
		return 0, &Error{Invalid, "it is a folder"}
	}
	return list[0].Bytes, nil
}

// Files yields the entries of a folder of a dataset, "" for the dataset itself, in order of names; of a file, one
// without a name. An error ends it.
func (t *Turn) Files(dataset, path string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		after := ""
		for {
			page, err := t.host.Files(dataset, path, after)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = e.Name
			}
			if len(page) == 0 || after == "" {
				return
			}
		}
	}
}
