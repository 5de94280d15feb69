//go:build unix

package yield

import (
	"os"
	"runtime"
	"syscall"
	"time"
)

// Point is where one goroutine gives way. The zero Point is ready; it takes its pipe when it is used first.
type Point struct {
	read, write *os.File
	raw         syscall.RawConn
	failed      bool // there is no pipe to be had: Gosched must do
}

// Yield returns when what waited for a processor, messages included, has had its turn. It sends itself a byte
// and waits for it as for any other message.
func (p *Point) Yield() {
	if p.raw == nil && !p.failed {
		p.failed = !p.open()
	}
	if p.failed || !p.wait() {
		p.failed = true
		runtime.Gosched()
	}
}

func (p *Point) open() bool {
	r, w, err := os.Pipe()
	if err != nil {
		return false
	}
	p.read, p.write = r, w
	p.raw, err = r.SyscallConn()
	// Where pipes cannot be waited for without a thread, a deadline cannot be set either.
	return err == nil && r.SetReadDeadline(time.Time{}) == nil
}

// wait sends the byte only when it is going to wait: one that is there already is read without waiting.
func (p *Point) wait() bool {
	var b [1]byte
	sent, ok := false, false
	err := p.raw.Read(func(fd uintptr) bool {
		if !sent {
			sent = true
			if n, err := p.write.Write(b[:]); n == 1 && err == nil {
				return false
			}
			return true
		}
		n, err := syscall.Read(int(fd), b[:])
		if n < 0 && (err == syscall.EAGAIN || err == syscall.EINTR) {
			return false
		}
		ok = n == 1 && err == nil
		return true
	})
	return err == nil && ok
}

// Close gives the pipe back; again is no fault.
func (p *Point) Close() {
	if p.read != nil {
		_ = p.read.Close()
		_ = p.write.Close()
	}
	*p = Point{failed: true}
}
