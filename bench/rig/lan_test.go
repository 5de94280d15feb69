package rig

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestLAN sends bytes from one namespace to another, and looks at what that takes.
func TestLAN(t *testing.T) {
	const bits, delay, size = 20e6, 10 * time.Millisecond, 1 << 20
	l := NewLAN(bits, delay)
	defer l.Close()
	var to string
	var in bytes.Buffer
	receive := exec.Command("python3", "-c", `
import socket,sys
s=socket.create_server(("0.0.0.0",9)); print("up",flush=True)
c,_=s.accept(); c.recv(1); c.send(b"x")
n=0
while True:
    b=c.recv(65536)
    if not b: break
    n+=len(b)
c.close(); print(n)`)
	receive.Stdout = &in
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	if err := l.Plug(func(a string) error { to = a; return receive.Start() }); err != nil {
		t.Skip(err)
	}
	defer receive.Process.Kill()
	for !strings.Contains(in.String(), "up") {
		time.Sleep(10 * time.Millisecond)
	}
	send := exec.Command("python3", "-c", `
import socket,sys,time
s=socket.create_connection((sys.argv[1],9)); t=time.time(); s.send(b"x"); s.recv(1); print((time.time()-t)*1e3)
t=time.time(); s.sendall(b"y"*(1<<20)); s.shutdown(socket.SHUT_WR); s.recv(1); print((time.time()-t)*1e3)`, to)
	var out []byte
	if err := l.Plug(func(string) (err error) { out, err = send.Output(); return err }); err != nil {
		t.Fatal(err)
	}
	t.Logf("round trip, transfer in ms: %s; %d bytes carried", out, l.Carried())
}
