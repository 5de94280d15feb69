package hostcall

import (
	"bytes"
	"io"
	"strings"

	"github.com/tetratelabs/wazero/api"
)

// journal is what a guest logs.
type journal struct {
	used  int      // bytes of this turn
	early []string // lines from before the first turn
	last  string   // line of this turn, or the first that tells of a panic
	panic bool
	parts []*lines
}

// note logs a line, or several.
func (d *Desk) note(mem api.Memory, s []uint64) int32 {
	b, code := d.take(mem, s[0], min(uint64(uint32(s[1])), MaxLine), MaxLine, "line")
	if code == 0 {
		d.line(string(b))
	}
	return code
}

// line logs one. Beyond what a turn may log the rest is dropped, and a line says so.
func (d *Desk) line(s string) {
	j := &d.log
	s = strings.ToValidUTF8(s, "\uFFFD")
	if told := strings.HasPrefix(s, "panic: ") || strings.HasPrefix(s, "fatal error: "); !j.panic {
		j.last, j.panic = s, told
	}
	over := j.used > MaxLog
	j.used += len(s) + 1
	switch {
	case over:
		return
	case j.used > MaxLog:
		s = "more than 64 KiB of log in one turn: the rest is dropped"
	}
	if d.turn == nil {
		j.early = append(j.early, s)
		return
	}
	d.turn.Out.Log(s)
}

// flush logs what came before the first turn.
func (d *Desk) flush() {
	for _, s := range d.log.early {
		d.turn.Out.Log(s)
	}
	d.log.early, d.log.used = nil, 0
}

// end ends lines that were not ended, and the turn's account.
func (j *journal) end() {
	for _, l := range j.parts {
		if len(l.part) > 0 {
			l.d.line(string(l.part))
			l.part = l.part[:0]
		}
	}
	j.used, j.panic = 0, false
}

// Last is the line that may tell best why a guest has ended: what a panic printed, or the last line. It is
// cut, and forgotten with the call.
func (d *Desk) Last() string {
	s := d.log.last
	d.log.last = ""
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}

// Stream returns a standard stream of the guest: what it prints is logged line by line.
func (d *Desk) Stream() io.Writer {
	l := &lines{d: d}
	d.log.parts = append(d.log.parts, l)
	return l
}

// lines cuts a stream into lines.
type lines struct {
	d    *Desk
	part []byte // of a line that has no end yet
}

func (l *lines) Write(b []byte) (int, error) {
	l.d.Host.Charge(int64(len(b)) / gasIO)
	n := len(b)
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		l.part = append(l.part, line[:min(len(line), MaxLine-len(l.part))]...)
		if ended {
			l.d.line(string(l.part))
			l.part = l.part[:0]
		}
		b = rest
	}
	return n, nil
}
