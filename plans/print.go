package plans

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/job"
)

// What the tasks of a job print. The rule: a task's output is printed once, whole, when the task has its
// result or has failed the job; of attempts that are tried again or were beaten by another copy nothing
// is. One task is printed after the other, so lines never mix. Until then a spool keeps it: a little in
// memory, more in a file.
const (
	spoolMemory = 64 << 10    // of one attempt
	spoolsInAll = 8 << 20     // of all attempts of a job
	spoolFile   = 64 << 20    // of one attempt, on disk; what is printed beyond is left out, and it is said so
	printAhead  = 64 << 20    // that wait to be printed, before no further task is started
	printWait   = time.Second // for whoever does not read, after the job was canceled
)

// The streams of a task.
const (
	stdout byte = 1
	stderr byte = 2
)

// printer prints what tasks have printed: to the caller of the job, and to the job's log.
type printer struct {
	ctx      context.Context // of the job; when it has ended nothing is printed any more
	out, err io.Writer       // nil: nobody watches
	log      job.Tracker
	dir      string

	mu     sync.Mutex
	memory int // bytes of all spools in memory
	behind int64
	queue  []printout
	closed bool
	more   *sync.Cond
	done   chan struct{}
}

// printout is the output of one task.
type printout struct {
	s      *spool
	prefix string // of each line in the job's log
	quiet  bool   // its standard output is for the log only
	exact  bool   // nothing is added to it
}

func newPrinter(ctx context.Context, out, err io.Writer, log job.Tracker, dir string) *printer {
	p := &printer{ctx: ctx, out: out, err: err, log: log, dir: dir, done: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	go p.loop()
	return p
}

// full reports whether the caller reads so slowly that no further task should be started.
func (p *printer) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behind > printAhead
}

// print has an output printed, and dropped.
func (p *printer) print(o printout) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, o)
	p.behind += o.s.size
	p.more.Signal()
}

// say prints what a task has printed, unless an earlier run of it was: its output was lost since.
func (f *flow) say(i int, s *spool) {
	switch {
	case s == nil:
	case f.printed[i]:
		s.drop()
	case i == len(f.parts):
		f.printed[i] = true
		f.print.print(printout{s: s, exact: true})
	default:
		f.printed[i] = true
		f.print.print(printout{s: s, prefix: fmt.Sprintf("task %d: ", i), quiet: f.j.Reduce != nil})
	}
}

// close waits until everything is printed. A caller that has canceled the job, and reads no more, does
// not keep it from ending.
func (p *printer) close() {
	p.mu.Lock()
	p.closed = true
	p.more.Signal()
	p.mu.Unlock()
	select {
	case <-p.done:
		return
	case <-p.ctx.Done():
	}
	stuck := time.NewTimer(printWait)
	defer stuck.Stop()
	select {
	case <-p.done:
	case <-stuck.C:
	}
}

func (p *printer) loop() {
	defer close(p.done)
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && !p.closed {
			p.more.Wait()
		}
		if len(p.queue) == 0 {
			p.mu.Unlock()
			return
		}
		o := p.queue[0]
		p.queue = p.queue[1:]
		p.mu.Unlock()
		if p.ctx.Err() == nil {
			p.one(o)
		}
		size := o.s.size
		o.s.drop()
		p.mu.Lock()
		p.behind -= size
		p.mu.Unlock()
	}
}

// one prints the output of one task.
func (p *printer) one(o printout) {
	lines := prefixer{log: p.log, prefix: o.prefix}
	within := map[byte]bool{} // streams that are within a line
	live := func(stream byte, b []byte) {
		w := p.out
		if stream == stderr {
			w = p.err
		}
		if w == nil || o.quiet && stream == stdout {
			return
		}
		_, _ = w.Write(b) // whoever is gone misses it; the log has it
		within[stream] = b[len(b)-1] != '\n'
	}
	show := func(stream byte, b []byte) {
		if p.ctx.Err() != nil {
			return
		}
		lines.write(stream == stderr, b)
		live(stream, b)
	}
	if err := o.s.read(show); err != nil {
		show(stderr, fmt.Appendf(nil, "[shoal: %swhat it printed cannot be read back: %v]\n", o.prefix, err))
	}
	if o.s.cut > 0 {
		show(stderr, fmt.Appendf(nil, "[shoal: %s%d bytes more were printed and left out: %s]\n", o.prefix, o.s.cut, o.s.why))
	}
	lines.end()
	for _, stream := range []byte{stdout, stderr} {
		if within[stream] && !o.exact {
			live(stream, []byte("\n"))
		}
	}
}

// prefixer writes lines to the job's log, each with the name of its task.
type prefixer struct {
	log    job.Tracker
	prefix string
	within bool // a line
	stderr bool // that is of this stream
}

func (x *prefixer) write(stderr bool, b []byte) {
	var out []byte
	if x.within && x.stderr != stderr {
		x.end()
	}
	x.stderr = stderr
	for line := range bytes.Lines(b) {
		if !x.within {
			out = append(out, x.prefix...)
		}
		out = append(out, line...)
		x.within = line[len(line)-1] != '\n'
	}
	x.log.Log(stderr, out)
}

// end ends a line.
func (x *prefixer) end() {
	if x.within && x.prefix != "" {
		x.log.Log(x.stderr, []byte("\n"))
	}
	x.within = false
}

// spool keeps what one attempt prints, as frames: the stream, the length, the bytes.
type spool struct {
	p *printer

	mu   sync.Mutex
	mem  []byte
	file *os.File
	buf  *bufio.Writer // of file
	size int64         // of mem and file
	cut  int64         // bytes left out
	why  string
	gone bool
}

func (p *printer) spool() *spool { return &spool{p: p} }

// writer is one stream of an attempt.
func (s *spool) writer(stream byte) io.Writer { return spoolWriter{s, stream} }

type spoolWriter struct {
	s      *spool
	stream byte
}

func (w spoolWriter) Write(b []byte) (int, error) {
	if len(b) > 0 {
		w.s.add(w.stream, b)
	}
	return len(b), nil
}

func (s *spool) add(stream byte, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	head := binary.AppendUvarint([]byte{stream}, uint64(len(b)))
	n := len(head) + len(b)
	switch {
	case s.gone:
		return
	case s.cut > 0:
		s.cut += int64(len(b))
		return
	case s.file == nil && len(s.mem)+n <= spoolMemory && s.p.take(n):
		s.mem = append(append(s.mem, head...), b...)
		s.size += int64(n)
		return
	case s.size+int64(n) > spoolFile:
		s.leave(len(b), fmt.Sprintf("of one task %d MiB are kept", spoolFile>>20))
		return
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.p.dir, "printed-*")
		if err != nil {
			s.leave(len(b), err.Error())
			return
		}
		_ = os.Remove(f.Name()) // where that works it leaves nothing behind, whatever happens; else see drop
		s.file, s.buf = f, bufio.NewWriter(f)
	}
	for _, part := range [][]byte{head, b} {
		if _, err := s.buf.Write(part); err != nil {
			s.leave(len(b), err.Error())
			return
		}
	}
	s.size += int64(n)
}

// leave notes that bytes are left out. The lock is held.
func (s *spool) leave(n int, why string) { s.cut, s.why = s.cut+int64(n), why }

// take reserves memory for a spool.
func (p *printer) take(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.memory+n > spoolsInAll {
		return false
	}
	p.memory += n
	return true
}

// read gives what was printed to show, in order. The attempt has ended.
func (s *spool) read(show func(stream byte, b []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := io.Reader(bytes.NewReader(s.mem))
	var lost error // of the end of the file: what is there is shown
	if s.file != nil {
		lost = s.buf.Flush()
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		in = io.MultiReader(in, io.LimitReader(s.file, s.size-int64(len(s.mem))))
	}
	r := bufio.NewReader(in)
	buf := make([]byte, 32<<10)
	for {
		stream, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return lost
		}
		if err != nil {
			return err
		}
		left, err := binary.ReadUvarint(r)
		for err == nil && left > 0 {
			var n int
			n, err = io.ReadFull(r, buf[:min(left, uint64(len(buf)))])
			if left -= uint64(n); n > 0 {
				show(stream, buf[:n])
			}
		}
		if err != nil {
			return cmp.Or(lost, err)
		}
	}
}

// drop forgets what was printed.
func (s *spool) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	s.gone = true
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name())
	}
	s.p.take(-len(s.mem))
	s.mem, s.file, s.buf = nil, nil, nil
}
