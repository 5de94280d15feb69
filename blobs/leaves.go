package blobs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"syscall"
	"unicode/utf8"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// errShrank says that a file ended before the size it had when it was opened.
var errShrank = errors.New("it became shorter while it was read")

// errWritten says that a file which is to stay as it is did not.
var errWritten = errors.New("somebody wrote to it while it was read")

// splitter cuts left bytes of a reader into leaves. By lines, a leaf ends after its last newline; a
// line that is longer than a leaf is cut, and so are all lines without it. What a growing file gains
// meanwhile is not read.
type splitter struct {
	r     io.Reader
	left  int64
	leaf  int64
	lines bool
	reuse bool     // leaves are not looked at once they were yielded
	rest  []byte   // read, and behind the newline that ended the last leaf
	spare [][]byte // buffers to use again
}

// buffer returns n bytes.
func (s *splitter) buffer(n int64) []byte {
	if last := len(s.spare) - 1; last >= 0 && int64(cap(s.spare[last])) >= n {
		b := s.spare[last][:n]
		s.spare = s.spare[:last]
		return b
	}
	return make([]byte, n)
}

// done takes a leaf back that nobody needs any more.
func (s *splitter) done(leaf []byte) {
	if s.reuse {
		s.spare = append(s.spare, leaf)
	}
}

// next returns a leaf that nobody else writes to until it is done, or io.EOF.
func (s *splitter) next() ([]byte, error) {
	n := min(s.leaf, int64(len(s.rest))+s.left)
	if n == 0 {
		return nil, io.EOF
	}
	buf := s.buffer(n)
	have := copy(buf, s.rest)
	s.rest = s.rest[:0]
	read, err := io.ReadFull(s.r, buf[have:])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, errShrank
	}
	if err != nil {
		return nil, err
	}
	s.left -= int64(read)
	if !s.lines || s.left == 0 {
		return buf, nil
	}
	end := bytes.LastIndexByte(buf, '\n') + 1
	if end == 0 {
		return buf, nil
	}
	s.rest = append(s.rest, buf[end:]...)
	return buf[:end], nil
}

// sparse reads a file of a known size and leaves the disk alone where it has holes: they read as zeros.
type sparse struct {
	f          *os.File
	size       int64
	at         int64
	data, hole int64 // zeros until data, and then no hole until hole
}

// Read follows io.Reader.
func (s *sparse) Read(p []byte) (int, error) {
	if s.at >= s.size {
		return 0, io.EOF
	}
	if s.at >= s.hole {
		s.look()
	}
	if s.at < s.data {
		n := int(min(int64(len(p)), s.data-s.at))
		clear(p[:n])
		s.at += int64(n)
		return n, nil
	}
	n, err := s.f.ReadAt(p[:min(int64(len(p)), s.hole-s.at)], s.at)
	s.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// look asks where the next data and the next hole are. A system that cannot say has no holes.
func (s *sparse) look() {
	s.data, s.hole = s.at, s.size
	toData, toHole := 3, 4 // what lseek calls SEEK_DATA and SEEK_HOLE
	switch runtime.GOOS {
	case "linux":
	case "darwin":
		toData, toHole = 4, 3
	default:
		return
	}
	data, err := s.f.Seek(s.at, toData)
	if errors.Is(err, syscall.ENXIO) { // a hole up to the end, unless the file became shorter
		if info, err := s.f.Stat(); err == nil && info.Size() >= s.size {
			s.data = s.hole
		}
		return
	}
	if err != nil {
		return
	}
	s.data = data
	if hole, err := s.f.Seek(data, toHole); err == nil && hole > data {
		s.hole = hole
	}
}

// piece is a leaf with its CID.
type piece struct {
	cid  cid.Cid
	data []byte
}

// clean reports whether the piece ends a line.
func (p piece) clean() bool { return bytes.HasSuffix(p.data, []byte{'\n'}) }

// hashed yields the leaves of s in order, hashed by as many goroutines as there are processors; one that
// repeats the last is not hashed again. Few leaves are in memory at once.
func hashed(s *splitter, yield func(piece) error) error {
	type job struct {
		piece
		done chan struct{}
		same *job // the one before, if it is equal
	}
	window := max(2, runtime.GOMAXPROCS(0)) // two at least: the last leaf is compared with the next
	var queue []*job
	for {
		data, err := s.next()
		if err != nil && err != io.EOF {
			return err
		}
		if err == nil {
			j := &job{piece: piece{data: data}, done: make(chan struct{})}
			if n := len(queue); n > 0 && bytes.Equal(queue[n-1].data, data) {
				j.same = queue[n-1]
				close(j.done)
			} else if n == 0 && s.left == 0 && len(s.rest) == 0 {
				j.cid = shoal.BlockCID(data) // the only leaf of a small file
				close(j.done)
			} else {
				go func() {
					j.cid = shoal.BlockCID(j.data)
					close(j.done)
				}()
			}
			queue = append(queue, j)
		}
		for len(queue) == window || err == io.EOF && len(queue) > 0 {
			j := queue[0]
			queue = queue[1:]
			<-j.done
			if j.same != nil {
				j.cid, j.same = j.same.cid, nil // it was yielded before
			}
			if err := yield(j.piece); err != nil {
				return err
			}
			s.done(j.data)
		}
		if err == io.EOF {
			return nil
		}
	}
}

// looksLikeText guesses from the start of a file whether it has lines.
func looksLikeText(start []byte, whole bool) bool {
	if bytes.IndexByte(start, 0) >= 0 {
		return false
	}
	if !whole { // the last rune may be cut
		for i := 0; i < utf8.UTFMax-1 && len(start) > 0; i++ {
			r, size := utf8.DecodeLastRune(start)
			if r != utf8.RuneError || size > 1 {
				break
			}
			start = start[:len(start)-1]
		}
	}
	return utf8.Valid(start)
}
