package log

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// bench is a log alone, one turn after the other.
type bench struct {
	t     testing.TB
	kept  *agenttest.Kept
	rules Rules
	now   int64
}

func newBench(t testing.TB, r Rules) *bench {
	return &bench{t: t, kept: agenttest.NewKept(), rules: r, now: 1_800_000_000_000}
}

// turn runs one, and returns what it cost.
func (b *bench) turn(f func(l *Log) error) (cost agenttest.Kept, err error) {
	b.t.Helper()
	l, err := Open(b.kept, b.rules, b.now)
	if err == nil {
		err = f(l)
	}
	if err == nil {
		err = l.Close()
	}
	cost = *b.kept
	if err != nil {
		b.kept.Revert()
		return cost, err
	}
	if cost.Bytes > 3<<20 {
		b.t.Fatalf("a turn writes %d bytes", cost.Bytes)
	}
	b.kept.Commit()
	return cost, nil
}

func (b *bench) must(f func(l *Log) error) agenttest.Kept {
	b.t.Helper()
	cost, err := b.turn(f)
	if err != nil {
		b.t.Fatal(err)
	}
	return cost
}

func (b *bench) append(n, size int) agenttest.Kept {
	b.t.Helper()
	return b.must(func(l *Log) error {
		entries := make([][]byte, n)
		for i := range entries {
			entries[i] = bytes.Repeat([]byte{byte(i)}, size)
		}
		_, err := l.Append(entries)
		return err
	})
}

// fetch has a consumer that holds fetch, made at the beginning if it is new.
func (b *bench) fetch(name string, q Settle) (out Fetched, cost agenttest.Kept) {
	b.t.Helper()
	cost = b.must(func(l *Log) error {
		c, err := l.Cursor(name)
		if err == nil && c == nil {
			c, err = l.Make(name, 1, true)
		}
		if err == nil {
			out, err = l.Fetch(c, q)
		}
		return err
	})
	return out, cost
}

func (b *bench) consumer(name string) (c *Cursor) {
	b.must(func(l *Log) (err error) { c, err = l.Cursor(name); return err })
	return c
}

// TestCost: what an append costs depends on what is appended alone, not on the log, its consumers, or what waits.
func TestCost(t *testing.T) {
	b := newBench(t, Rules{Retain: 3600_000, Wait: 1000, Tries: 5})
	for range 300 {
		b.append(50, 100)
		b.now++
	}
	for i := range 30 {
		b.fetch(fmt.Sprint("c", i), Settle{Worker: "w", Limit: 100})
	}
	for _, n := range []int{1, 64, 512} {
		c := b.append(n, 1024)
		chunks := (n*1024 + chunk - 1) / chunk
		if c.Reads != 1 || c.Scans != 0 || c.Writes != chunks+1 {
			t.Errorf("%d entries cost %d reads, %d scans and %d writes", n, c.Reads, c.Scans, c.Writes)
		}
		if extra := c.Bytes - 1024*n; extra > 3*n+120 {
			t.Errorf("%d entries of 1 KiB cost %d bytes more than theirs", n, extra)
		}
	}
	// What is fetched costs as much whether the log before it is short or long.
	if _, c := b.fetch("c1", Settle{Worker: "w", Limit: 64}); c.Scans > 3 || c.Pairs > 8 || c.Writes != 1 {
		t.Errorf("a fetch of 64 costs %d scans of %d chunks, and %d writes", c.Scans, c.Pairs, c.Writes)
	}
	if c := b.must(func(l *Log) error { _, err := l.Since(b.now - 150); return err }); c.Scans > 16 || c.Pairs > 16 {
		t.Errorf("a time is found by %d scans of %d chunks", c.Scans, c.Pairs)
	}
	// A binding that holds what is old costs a look at the consumers once a second.
	b.now += 2 * 3600_000
	looks := 0
	for range 20 {
		b.now += 10
		if c := b.append(1, 10); c.Scans > 0 {
			looks++
		}
	}
	if looks != 1 {
		t.Errorf("20 appends within 200 ms looked %d times for what may be dropped", looks)
	}
}

// TestDropsAFew: whatever must go, a turn drops some of it.
func TestDropsAFew(t *testing.T) {
	b := newBench(t, Rules{Retain: 1000, Bytes: 1 << 20})
	for range 1000 {
		b.append(1, 100)
	}
	b.now += 5000
	if c := b.append(1, 100); c.Writes > few+2 {
		t.Errorf("an append drops %d chunks", c.Writes-2)
	}
	b.rules.Retain = 0
	for range 500 {
		b.append(1, 1000)
	}
	if c := b.append(1, 200<<10); c.Writes > many+2 {
		t.Errorf("an append drops %d chunks", c.Writes-2)
	}
	for range 20 {
		b.append(1, 1000)
	}
	if n := b.kept.Size(); n > 1<<20+10_000 {
		t.Errorf("%d bytes are kept", n)
	}
}

// TestWindow: so much is delivered and not settled, and what is acknowledged out of order does not pile up.
func TestWindow(t *testing.T) {
	b := newBench(t, Rules{Wait: 1000, Tries: 5})
	for range 40 {
		b.append(100, 10)
	}
	got := 0
	for range 10 {
		out, _ := b.fetch("c", Settle{Worker: "w", Limit: 300})
		got += len(out.Given)
		if len(out.Given) == 0 && out.Due != b.now+1000 {
			t.Fatalf("more may be had at %d", out.Due)
		}
	}
	if got != Window {
		t.Fatalf("%d are delivered and not settled, want %d", got, Window)
	}
	var odd []uint64
	for o := uint64(1); o <= Window; o += 2 {
		odd = append(odd, o)
	}
	if _, cost := b.fetch("c", Settle{Worker: "w", Ack: odd}); cost.Bytes > 40_000 {
		t.Errorf("a consumer with holes takes %d bytes", cost.Bytes)
	}
	out, _ := b.fetch("c", Settle{Worker: "w", Limit: 10_000})
	if len(out.Given) != Window/2 {
		t.Fatalf("%d more, want %d", len(out.Given), Window/2)
	}
	var ack []uint64
	for o := uint64(2); o < 2*Window; o++ {
		ack = append(ack, o)
	}
	if _, cost := b.fetch("c", Settle{Worker: "w", Ack: ack}); cost.Bytes > 200 {
		t.Errorf("a consumer that has settled all takes %d bytes", cost.Bytes)
	}
}

// TestPages: what is delivered and read at once has a megabyte at most, and goes on where it ended.
func TestPages(t *testing.T) {
	b := newBench(t, Rules{Wait: 1000, Tries: 50})
	for range 10 {
		b.append(5, 60_000)
	}
	b.append(1, MaxEntry) // more than a page's rest
	for round := range 2 {
		next := uint64(1)
		for next < 52 {
			out, _ := b.fetch("c", Settle{Worker: "w", Limit: 100})
			size := 0
			for _, g := range out.Given {
				if g.Offset != next || g.Try != round+1 {
					t.Fatalf("round %d gives %d, try %d, want %d", round, g.Offset, g.Try, next)
				}
				size += len(g.Bytes)
				next++
			}
			if size > MaxBudget || len(out.Given) == 0 || next < 52 && out.Due != b.now {
				t.Fatalf("%d entries of %d bytes, more at %d", len(out.Given), size, out.Due)
			}
		}
		b.now += 1000
	}
	if out, _ := b.fetch("c", Settle{Worker: "w", Limit: 9, Bytes: 1}); len(out.Given) != 1 {
		t.Errorf("one at least, and %d were given", len(out.Given))
	}
}

// TestDeadAreBounded: of what is given up the oldest go, and are counted; what is to be delivered again stays.
func TestDeadAreBounded(t *testing.T) {
	b := newBench(t, Rules{Wait: 1000, Tries: 1})
	const n = MaxDead + 500
	for range n / 100 {
		b.append(100, 10)
	}
	rounds := 0
	var resent uint64
	for died := 0; died < n; rounds++ {
		out, cost := b.fetch("c", Settle{Worker: "w", Limit: 300})
		if died += len(out.Died); len(out.Died) > maxDie || cost.Writes > 2*maxDie+2 {
			t.Fatalf("one turn gives up %d, in %d writes", len(out.Died), cost.Writes)
		}
		if resent == 0 && died > 0 {
			resent = out.Died[0]
			b.must(func(l *Log) error {
				c, err := l.Cursor("c")
				if err == nil {
					_, err = l.Resend(c, []uint64{resent}, false)
				}
				return err
			})
		}
		if b.now += 1000; rounds > 100 {
			t.Fatalf("%d of %d were given up", died, n)
		}
	}
	c := b.consumer("c")
	if c.Dead != MaxDead || c.Gone == 0 || int(c.Gone)+c.Dead < n-1 { // one was given up twice
		t.Fatalf("%+v", c)
	}
	big := newBench(t, Rules{Wait: 1000, Tries: 1})
	for range 30 {
		big.append(4, 200_000)
	}
	for range 200 {
		big.fetch("c", Settle{Worker: "w", Limit: 100})
		big.now += 1000
	}
	if c := big.consumer("c"); c.Bytes > MaxDeadBytes || c.Dead < 18 || int(c.Gone)+c.Dead != 120 {
		t.Fatalf("%+v", c)
	}
}

func TestRefusals(t *testing.T) {
	b := newBench(t, Rules{})
	want := func(kind shoal.Kind, f func(l *Log) error) {
		t.Helper()
		if _, err := b.turn(f); err == nil || shoal.KindOf(err) != kind {
			t.Errorf("%v, want %v", err, kind)
		}
	}
	want(shoal.Invalid, func(l *Log) error { _, err := l.Append([][]byte{make([]byte, MaxEntry+1)}); return err })
	want(shoal.Invalid, func(l *Log) error { _, err := l.Append(make8()); return err })
	want(shoal.Invalid, func(l *Log) error { _, err := l.Cursor(""); return err })
	want(shoal.Invalid, func(l *Log) error { _, err := l.Cursor(string(make([]byte, MaxName+1))); return err })
	want(shoal.Exists, func(l *Log) error {
		if _, err := l.Make("a", 0, true); err != nil {
			return err
		}
		_, err := l.Make("a", 0, false)
		return err
	})
	b.must(func(l *Log) error { _, err := l.Make("a", 0, true); return err })
	for _, q := range []Settle{
		{Limit: 1}, {Worker: string(make([]byte, MaxWorker+1))}, {Worker: "w", Limit: -1}, {Ack: make([]uint64, MaxSettle+1)},
	} {
		want(shoal.Invalid, func(l *Log) error { c, _ := l.Cursor("a"); _, err := l.Fetch(c, q); return err })
	}
	want(shoal.Invalid, func(l *Log) error {
		c, _ := l.Cursor("a")
		_, err := l.Resend(c, make([]uint64, MaxDead+1), false)
		return err
	})
}

func make8() (out [][]byte) {
	for range 8 {
		out = append(out, make([]byte, MaxEntry))
	}
	return out
}

// TestConsumersAreBounded: of those that hold nothing back, one that was long unused makes way.
func TestConsumersAreBounded(t *testing.T) {
	b := newBench(t, Rules{})
	full := func(l *Log) error { _, err := l.Make("one more", 0, false); return err }
	for i := range MaxConsumers {
		b.must(func(l *Log) error { _, err := l.Make(fmt.Sprint("c", i), 0, false); return err })
		b.now++
	}
	if _, err := b.turn(full); shoal.KindOf(err) != shoal.Full {
		t.Fatal(err)
	}
	b.now += idle
	b.must(full)
	if b.consumer("c0") != nil || b.consumer("c1") == nil || b.consumer("one more") == nil {
		t.Error("another than the one longest unused made way")
	}
}

// TestDamage: what is not as it was written is told, and never a panic.
func TestDamage(t *testing.T) {
	b := newBench(t, Rules{Wait: 1000, Tries: 1})
	b.append(3, 10)
	b.fetch("c", Settle{Worker: "w", Limit: 2})
	b.fetch("c", Settle{Worker: "w", Fail: []Failure{{Offset: 1, Why: "w"}}})
	for _, k := range b.kept.Keys("") {
		was, _, _ := b.kept.Get([]byte(k))
		for cut := range len(was) {
			_ = b.kept.Put([]byte(k), was[:cut])
			b.kept.Commit()
			_, _ = b.turn(func(l *Log) error {
				c, err := l.Cursor("c")
				if err != nil {
					return err
				}
				if _, err = l.Read(1, 9, 1000); err == nil {
					_, err = l.ReadDead(c, 0, 9, 1000)
				}
				if err == nil && k[0] != 'h' && cut > 0 && k[0] != 'c' {
					t.Errorf("%q cut to %d of %d bytes is taken", k, cut, len(was))
				}
				return shoal.E(shoal.Failed, "", "", "")
			})
		}
		_ = b.kept.Put([]byte(k), was)
		b.kept.Commit()
	}
}
