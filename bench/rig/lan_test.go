package rig

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	lanReceiver = `
import socket
s=socket.create_server(("0.0.0.0",9)); print("up",flush=True)
c,_=s.accept(); c.recv(1); c.send(b"x")
while c.recv(65536): pass
c.close()`
	lanSender = `
import socket,sys,time
s=socket.create_connection((sys.argv[1],9)); t=time.time(); s.send(b"x"); s.recv(1); print((time.time()-t)*1e3)
t=time.time(); s.sendall(b"y"*(4<<20)); s.shutdown(socket.SHUT_WR); s.recv(1); print((time.time()-t)*1e3)`
)

// TestLAN sends bytes from one namespace to another: they take as long as the links let them, and are counted.
func TestLAN(t *testing.T) {
	const bits, delay, size = 40e6, 10 * time.Millisecond, 4 << 20
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	l := NewLAN(bits, delay)
	defer l.Close()
	var to string
	receive := exec.Command("python3", "-c", lanReceiver)
	out, err := receive.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Plug(func(a string) error { to = a; return receive.Start() }); err != nil {
		t.Skip(err) // it takes root, and /dev/net/tun
	}
	defer receive.Wait()
	defer receive.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatal(line, err)
	}
	go io.Copy(io.Discard, out)
	var said []byte
	if err := l.Plug(func(string) (err error) {
		said, err = exec.Command("python3", "-c", lanSender, to).Output()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var rtt, took float64
	if _, err := fmt.Fscan(strings.NewReader(string(said)), &rtt, &took); err != nil {
		t.Fatal(err)
	}
	least := size * 8 / bits * 1e3 // what the rate alone takes; a young connection is slower, and a busy machine
	if rtt < 19.5 || rtt > 150 || took < 0.95*least || took > 3*least {
		t.Errorf("a round trip of %.1f ms, %d bytes in %.1f ms; the rate alone takes %.1f", rtt, size, took, least)
	}
	if c := l.Carried(); c < size || c > size*5/4 {
		t.Errorf("%d bytes were carried for %d", c, size)
	}
}

// TestLinkDrops has a queue run full: what does not fit is dropped, and the rest comes in order.
func TestLinkDrops(t *testing.T) {
	l := newLink(1e6, time.Millisecond) // a queue of a second
	sent := 0
	for l.put(make([]byte, 1000)) {
		sent++
	}
	if sent < 1000 || sent > 1100 {
		t.Errorf("%d packets of 1000 bytes fit", sent)
	}
	done := make(chan struct{})
	n, begun := 0, time.Now()
	l.run(done, func([]byte) {
		if n++; n == 100 {
			close(done)
			if took := time.Since(begun); took < 80*time.Millisecond {
				t.Errorf("100 packets took %v", took)
			}
		}
	})
}
