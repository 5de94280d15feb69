package scheduler

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/wire"
)

// logs keeps what tasks printed: a file per task, of frames that begin with the stream's number.
// The first half of the bound is written as it comes; of the rest the last part is kept in memory
// and written at the end, after a line that says how much is missing. A task that prints nothing
// has no file.
type logs struct {
	dir string
	cfg Config

	mu   sync.Mutex // taken before that of a taskLog, never after
	open map[shoal.TaskID]*taskLog
	made atomic.Int64 // files so far
	kick chan struct{}
}

// The streams of a log.
const (
	logOut byte = 1
	logErr byte = 2
)

const (
	logChunk   = 32 << 10 // bytes of one frame
	sweepEvery = time.Hour
	sweepFiles = 1000
)

func openLogs(dir string, cfg Config) (*logs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "make "+dir, err)
	}
	return &logs{dir: dir, cfg: cfg, open: map[shoal.TaskID]*taskLog{}, kick: make(chan struct{}, 1)}, nil
}

func (l *logs) path(id shoal.TaskID) string { return filepath.Join(l.dir, job.FileName(id)) }

// begin starts the log of a task; an older one of that name is dropped.
func (l *logs) begin(id shoal.TaskID) *taskLog {
	t := &taskLog{of: l, id: id, changed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.open[id]; old != nil {
		old.abandon()
	}
	l.open[id] = t
	if err := os.Remove(l.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.cfg.Log.Warn("an old log stays", "task", id, "error", err)
	}
	return t
}

// has reports whether this node has, or had, output of the task.
func (l *logs) has(id shoal.TaskID) bool {
	l.mu.Lock()
	running := l.open[id] != nil
	l.mu.Unlock()
	if running {
		return true
	}
	_, err := os.Stat(l.path(id))
	return err == nil
}

// taskLog is the log of a task that runs.
type taskLog struct {
	of *logs
	id shoal.TaskID

	mu      sync.Mutex
	head    [][]byte // frames on disk, for those who follow
	size    int64    // bytes of head
	tail    [][]byte
	tailLen int64
	cut     int64 // bytes between head and tail that were left out
	cutN    int   // frames left out
	file    *os.File
	broken  bool
	done    bool
	changed chan struct{}
}

// write adds what the task printed.
func (t *taskLog) write(stream byte, p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	for chunk := range slices.Chunk(p, logChunk) {
		f := append([]byte{stream}, chunk...)
		if half := t.of.cfg.LogBytes / 2; t.size+int64(len(chunk)) <= half && t.cut == 0 && len(t.tail) == 0 {
			t.size += int64(len(chunk))
			t.head = append(t.head, f)
			t.toFile(f)
			continue
		}
		t.tail = append(t.tail, f)
		t.tailLen += int64(len(chunk))
		for t.tailLen > t.of.cfg.LogBytes/2 && len(t.tail) > 1 {
			n := int64(len(t.tail[0]) - 1)
			t.cut, t.tailLen, t.cutN = t.cut+n, t.tailLen-n, t.cutN+1
			t.tail = t.tail[1:]
		}
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// toFile writes one frame. The lock is held.
func (t *taskLog) toFile(f []byte) {
	if t.broken {
		return
	}
	if t.file == nil {
		file, err := os.OpenFile(t.of.path(t.id), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			t.fail(err)
			return
		}
		t.file = file
		t.of.note()
	}
	if err := wire.WriteFrame(t.file, f, logChunk+64); err != nil {
		t.fail(err)
	}
}

// fail gives up the file: a full disk must not stop the task.
func (t *taskLog) fail(err error) {
	t.broken = true
	t.of.cfg.Log.Warn("the log of a task is not kept", "task", t.id, "error", err)
}

// end writes the tail and closes the log. Until all of it is in the file it is read from memory.
func (t *taskLog) end() {
	t.finish()
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if t.of.open[t.id] == t {
		delete(t.of.open, t.id)
	}
}

func (t *taskLog) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	if t.cut > 0 {
		t.toFile(leftOut(t.cut))
	}
	for _, f := range t.tail {
		t.toFile(f)
	}
	t.close()
}

// abandon closes the log of an attempt that a new one replaces.
func (t *taskLog) abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.done {
		t.close()
	}
}

func (t *taskLog) close() {
	t.done = true
	if t.file != nil {
		if err := t.file.Close(); err != nil && !t.broken {
			t.fail(err)
		}
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

func leftOut(n int64) []byte {
	return append([]byte{logErr}, fmt.Sprintf("\n[shoal: %d bytes left out here]\n", n)...)
}

// cursor is how far a follower has read.
type cursor struct {
	head int
	tail int // counted from the first frame after the head, those left out included
}

// next returns the frames after at, whether that is all there will be, and a channel that closes
// when there is more.
func (t *taskLog) next(at *cursor) (frames [][]byte, done bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	frames = append(frames, t.head[at.head:]...)
	at.head = len(t.head)
	if at.tail < t.cutN { // it was too slow
		frames = append(frames, leftOut(t.cut))
		at.tail = t.cutN
	}
	frames = append(frames, t.tail[at.tail-t.cutN:]...)
	at.tail = t.cutN + len(t.tail)
	return frames, t.done, t.changed
}

// read gives the frames of a log to f, live ones until the task ends if follow is set. NotFound
// means that the task has no output here.
func (l *logs) read(ctx context.Context, id shoal.TaskID, follow bool, f func(frame []byte) error) error {
	l.mu.Lock()
	t := l.open[id]
	l.mu.Unlock()
	if t == nil {
		return l.readFile(id, f)
	}
	var at cursor
	for {
		frames, done, changed := t.next(&at)
		for _, frame := range frames {
			if err := f(frame); err != nil {
				return err
			}
		}
		if done || !follow {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return shoal.Wrap(shoal.Canceled, "logs of "+string(id), ctx.Err())
		}
	}
}

func (l *logs) readFile(id shoal.TaskID, f func(frame []byte) error) error {
	what := "logs of " + string(id)
	file, err := os.Open(l.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return shoal.E(shoal.NotFound, what, "it printed nothing here, or the log was dropped with age", "")
	}
	if err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	defer file.Close()
	r := bufio.NewReader(file)
	for {
		frame, err := wire.ReadFrame(r, logChunk+64)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // the node died while it wrote
			return nil
		case err != nil:
			return shoal.Wrap(shoal.Corrupt, what, err)
		case len(frame) == 0:
			continue
		}
		if err := f(frame); err != nil {
			return err
		}
	}
}

// note counts a new file and has the loop sweep after many.
func (l *logs) note() {
	if l.made.Add(1)%sweepFiles != 0 {
		return
	}
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// sweepLoop drops old logs, at once and from time to time until ctx ends.
func (l *logs) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := l.sweep(time.Now()); err != nil {
			l.cfg.Log.Warn("old logs stay", "error", err)
		}
		select {
		case <-tick.C:
		case <-l.kick:
		case <-ctx.Done():
			return
		}
	}
}

// sweep drops logs that are too old, and the oldest of too many bytes.
func (l *logs) sweep(now time.Time) error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	var infos []fs.FileInfo
	var total int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			infos = append(infos, info)
			total += info.Size()
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range infos {
		if total <= l.cfg.LogTotal && now.Sub(info.ModTime()) <= l.cfg.LogAge {
			break
		}
		if err := os.Remove(filepath.Join(l.dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= info.Size()
	}
	return nil
}

// logsAt reads the log that one node has.
func (s *Scheduler) logsAt(ctx context.Context, at shoal.PeerID, id shoal.TaskID, follow bool, stdout, stderr io.Writer) error {
	show := func(kind uint8, data []byte) error {
		w := stdout
		if kind == frameStderr {
			w = stderr
		}
		_, err := w.Write(data)
		return err
	}
	if at == s.self {
		return s.logs.read(ctx, id, follow, func(f []byte) error {
			kind, data := logFrame(f)
			return show(kind, data)
		})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.d.Peers.Open(ctx, at, "task.logs", wire.Marshal(taskRequest{ID: id, Follow: follow}))
	if err != nil {
		return err
	}
	defer stream.Close()
	c := newConn(stream)
	for {
		f, err := c.watched(s.cfg.Silence)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if ctx.Err() != nil {
			return shoal.Wrap(shoal.Canceled, "logs of "+string(id), ctx.Err())
		}
		if err != nil {
			return lost("logs of "+string(id), err)
		}
		switch f.Kind {
		case frameStdout, frameStderr:
			if err := show(f.Kind, f.Data); err != nil {
				stream.Reset()
				return shoal.Wrap(shoal.Canceled, "show the log", err)
			}
		case frameBeat:
		default:
			stream.Reset()
			return shoal.E(shoal.Invalid, "logs of "+string(id), "an unexpected frame", "")
		}
	}
}

// logFrame splits a frame of a log.
func logFrame(f []byte) (kind uint8, data []byte) {
	if f[0] == logErr {
		return frameStderr, f[1:]
	}
	return frameStdout, f[1:]
}

func (s *Scheduler) handleLogs(ctx context.Context, _ shoal.PeerID, request []byte, stream shoal.Stream) error {
	q, err := parseTask(request)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	unlink := context.AfterFunc(s.life, cancel)
	defer unlink()
	go func() { // the reader only closes
		_, _ = bufio.NewReader(stream).WriteTo(io.Discard)
		cancel()
	}()
	c := newConn(stream)
	done := make(chan struct{})
	var beats sync.WaitGroup
	beats.Go(func() { c.beat(s.cfg.Silence, done) })
	defer beats.Wait()
	defer close(done)
	return s.logs.read(ctx, q.ID, q.Follow, func(f []byte) error {
		kind, data := logFrame(f)
		return c.send(frame{Kind: kind, Data: data})
	})
}
