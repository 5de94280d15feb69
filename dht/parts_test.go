package dht

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p-kbucket/peerdiversity"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

// FuzzReadMessage: whatever a peer sends, it is a message or an error, and no more memory is used
// than bytes came.
func FuzzReadMessage(f *testing.F) {
	m, err := proto.Marshal(pb.NewMessage(pb.Message_FIND_NODE, []byte("key"), 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(binary.AppendUvarint(nil, uint64(len(m))), m...))
	f.Add(binary.AppendUvarint(nil, 1<<40))
	f.Add(binary.AppendUvarint(nil, 1<<21))
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMessage(bufio.NewReader(bytes.NewReader(b)))
		if (m == nil) == (err == nil) {
			t.Fatalf("%v, %v", m, err)
		}
		for _, ai := range pb.PBPeersToPeerInfos(m.GetCloserPeers()) {
			_ = ai.String()
		}
	})
}

// TestSilence: a silent peer is passed over for longer and longer, and a sign of life ends that.
func TestSilence(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r := &reach{memory: 2 * time.Second, silent: map[peer.ID]*silence{}}
		p := peer.ID("p")
		for _, want := range []time.Duration{2, 4, 8, 16, 30, 30} {
			if err := r.check(p); err != nil {
				t.Fatal(err)
			}
			r.failed(p, errors.New("silent"))
			r.failed(p, errors.New("silent")) // steps that began together count once
			start := time.Now()
			for r.check(p) != nil {
				if k := shoal.KindOf(r.check(p)); k != shoal.Unavailable {
					t.Fatal(k)
				}
				time.Sleep(100 * time.Millisecond)
			}
			if took := time.Since(start); took != want*time.Second {
				t.Errorf("passed over for %v, want %v", took, want*time.Second)
			}
		}
		r.failed(p, errors.New("silent"))
		r.alive(p)
		if err := r.check(p); err != nil {
			t.Error(err)
		}
		for i := range 3 * maxFaults {
			r.failed(peer.ID(fmt.Sprint(i)), errors.New("silent"))
		}
		if len(r.silent) > maxFaults {
			t.Errorf("%d remembered", len(r.silent))
		}
	})
}

// TestGate: a refusal is remembered for a while; no answer is none; a late answer is not lost, one in time is no sign of life.
func TestGate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		member, delay := false, time.Duration(0)
		var yes []peer.ID
		g := newGate(t.Context(), Config{IsMember: func(ctx context.Context, _ shoal.PeerID) bool {
			select {
			case <-time.After(delay):
				return member
			case <-ctx.Done():
				return false
			}
		}}, func(p peer.ID) { yes = append(yes, p) })
		if g.admits(t.Context(), "p") || g.maybe("p") {
			t.Error("a stranger was admitted")
		}
		time.Sleep(refusalTime + time.Second)
		synctest.Wait()
		if !g.maybe("p") {
			t.Error("refused for ever")
		}
		if member = true; !g.admits(t.Context(), "p") || len(yes) > 0 {
			t.Error("a member was refused, or taken for alive because it is a member")
		}
		delay = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		if g.admits(ctx, "p") || !g.maybe("p") {
			t.Error("a question without an answer counts as a refusal")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(yes) != 1 {
			t.Error("the late answer was lost")
		}
		delay = time.Hour
		if start := time.Now(); g.admits(t.Context(), "p") || time.Since(start) != admitTime || !g.maybe("p") {
			t.Error("a question may take for ever")
		}
		member, delay = false, 0
		for i := range 2 * maxRefusals {
			g.admits(t.Context(), peer.ID(fmt.Sprint(i)))
		}
		if len(g.refused) > maxRefusals {
			t.Errorf("%d remembered", len(g.refused))
		}
		g.close()
		if g.admits(t.Context(), "p") {
			t.Error("admitted after the end")
		}
	})
}

// TestDiversity: one public network cannot fill a bucket; a lab can.
func TestDiversity(t *testing.T) {
	d := &diversity{limit: 10, changed: func() {}, counts: map[bucketGroup]int{}}
	fill := func(ip string, bucket int) (n int) {
		for ; n < 100; n++ {
			g := peerdiversity.PeerGroupInfo{Cpl: bucket, IPGroupKey: peerdiversity.IPGroupKey(net.ParseIP(ip))}
			if !d.Allow(g) {
				return n
			}
			d.Increment(g)
		}
		return n
	}
	for _, c := range []struct {
		ip   string
		want int
	}{
		{"8.8.8.8", 10},
		{"8.8.4.4", 0},
		/* the same /16 */ {"9.9.9.9", 10},
		{"2001:4860:4860::8888", 10},
		{"127.0.0.1", 100},
		{"192.168.1.7", 100},
		{"10.1.2.3", 100},
		{"172.20.0.1", 100},
		{"169.254.1.1", 100},
		{"100.64.0.9", 100},
		{"::1", 100},
		{"fe80::1", 100},
		{"fd00::1", 100},
	} {
		if n := fill(c.ip, 0); n != c.want {
			t.Errorf("%s: %d in a bucket, want %d", c.ip, n, c.want)
		}
	}
	if n := fill("8.8.8.8", 1); n != 10 {
		t.Errorf("another bucket takes %d", n)
	}
	d.Decrement(peerdiversity.PeerGroupInfo{Cpl: 0, IPGroupKey: "8.8.0.0"})
	if n := fill("8.8.8.8", 0); n != 1 {
		t.Errorf("after one left, %d came", n)
	}
}
