package rig

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// LAN is a network of shaped links on this machine: every worker that is started in it has a network namespace of its own,
// with one interface, and this process carries the packets between them as a switch would, at the rate and with the delay
// that it was given. It needs the rights to make namespaces and /dev/net/tun; a netem in the kernel it does not need.
type LAN struct {
	rate  float64       // bytes/s of a link, in each direction
	delay time.Duration // of a packet, one way

	mu    sync.Mutex
	ports map[byte]*port
	next  byte
	done  chan struct{}
	loops sync.WaitGroup

	carried, dropped atomic.Int64
}

const (
	lanMTU   = 1500
	lanQueue = 1 << 20 // bytes that wait for a link; more are dropped, as a router does
)

// port is where one worker is plugged in.
type port struct {
	tun      *os.File
	up, down *link
	carried  atomic.Int64 // bytes towards it
}

// NewLAN makes an empty network, whose links have a rate in bits per second and a delay one way.
func NewLAN(bits float64, delay time.Duration) *LAN {
	return &LAN{rate: bits / 8, delay: delay, ports: map[byte]*port{}, done: make(chan struct{})}
}

// Plug calls start on a thread that is in a new namespace, whose address it is told: a process that start starts lives there.
func (l *LAN) Plug(start func(address string) error) error {
	l.mu.Lock()
	l.next++
	n := l.next
	l.mu.Unlock()
	address := fmt.Sprintf("10.77.0.%d", n)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function, its namespace with the process
		tun, err := openTUN(net.IPv4(10, 77, 0, n).To4())
		if err != nil {
			failed <- fmt.Errorf("a network of its own for a worker: %w: run it as root, where there is /dev/net/tun", err)
			return
		}
		p := &port{tun: tun, up: newLink(l.rate, l.delay), down: newLink(l.rate, 0)}
		l.mu.Lock()
		l.ports[n] = p
		l.mu.Unlock()
		l.loops.Go(func() { l.read(p) })
		l.loops.Go(func() { p.up.run(l.done, l.forward) })
		l.loops.Go(func() {
			p.down.run(l.done, func(b []byte) {
				n, err := p.tun.Write(b)
				if err == nil {
					p.carried.Add(int64(n))
					l.carried.Add(int64(n))
				}
			})
		})
		failed <- start(address)
	}()
	return <-failed
}

// read takes in what a worker sends.
func (l *LAN) read(p *port) {
	for {
		b := make([]byte, lanMTU)
		n, err := p.tun.Read(b)
		if err != nil {
			return // it was closed
		}
		if n >= 20 && b[0]>>4 == 4 && !p.up.put(b[:n]) {
			l.dropped.Add(1)
		}
	}
}

// forward gives a packet that has come through one link to the other one.
func (l *LAN) forward(b []byte) {
	l.mu.Lock()
	p := l.ports[b[19]]
	l.mu.Unlock()
	if p != nil && !p.down.put(b) {
		l.dropped.Add(1)
	}
}

// Carried is how many bytes of IP packets have arrived in all.
func (l *LAN) Carried() int64 { return l.carried.Load() }

// Dropped is how many packets found a queue full.
func (l *LAN) Dropped() int64 { return l.dropped.Load() }

// Close ends the network. Workers that still live hear nothing any more.
func (l *LAN) Close() {
	close(l.done)
	l.mu.Lock()
	for _, p := range l.ports {
		p.tun.Close()
	}
	l.mu.Unlock()
	l.loops.Wait()
}

// link passes packets on at a rate, each after a delay.
type link struct {
	rate  float64
	delay time.Duration

	mu     sync.Mutex
	free   time.Time // when what waits will have gone
	queue  []packet
	signal chan struct{}
}

type packet struct {
	b  []byte
	at time.Time // when it arrives at the other end
}

func newLink(rate float64, delay time.Duration) *link {
	return &link{rate: rate, delay: delay, signal: make(chan struct{}, 1)}
}

// put queues a packet, unless too much waits.
func (l *link) put(b []byte) bool {
	now := time.Now()
	l.mu.Lock()
	if l.free.Before(now) {
		l.free = now
	}
	if l.free.Sub(now).Seconds()*l.rate > lanQueue {
		l.mu.Unlock()
		return false
	}
	l.free = l.free.Add(time.Duration(float64(len(b)) / l.rate * float64(time.Second)))
	l.queue = append(l.queue, packet{b, l.free.Add(l.delay)})
	l.mu.Unlock()
	select {
	case l.signal <- struct{}{}:
	default:
	}
	return true
}

// run delivers packets when their time has come.
func (l *link) run(done <-chan struct{}, deliver func([]byte)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		l.mu.Lock()
		n := 0
		for n < len(l.queue) && !l.queue[n].at.After(now) {
			n++
		}
		due := l.queue[:n:n]
		l.queue = l.queue[n:]
		wait := time.Hour
		if len(l.queue) > 0 {
			wait = l.queue[0].at.Sub(now)
		}
		l.mu.Unlock()
		for _, p := range due {
			deliver(p.b)
		}
		if n > 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-l.signal:
		case <-done:
			return
		}
	}
}

// openTUN puts this thread into a new network namespace and gives that an interface with an address.
func openTUN(ip net.IP) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("unshare: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	const name = "lan0"
	r, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make a tun device: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(s)
	set := func(name string, request uint, fill func(*unix.Ifreq) error) error {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = fill(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, request, r)
		}
		return err
	}
	up := func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }
	addr := func(ip []byte) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { return r.SetInet4Addr(ip) }
	}
	err = errors.Join(
		set("lo", unix.SIOCSIFFLAGS, up),
		set(name, unix.SIOCSIFADDR, addr(ip)),
		set(name, unix.SIOCSIFNETMASK, addr([]byte{255, 255, 255, 0})),
		set(name, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(lanMTU); return nil }),
		set(name, unix.SIOCSIFFLAGS, up),
	)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}
