package shoaltest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

// TestTable holds a shoal.Table against its contract. open gives an empty one for each subtest.
func TestTable(t *testing.T, open func(t *testing.T) shoal.Table) {
	t.Run("bytes belong to the caller", func(t *testing.T) {
		tab := open(t)
		k, v := []byte("k"), []byte("v")
		mustDo(t, tab.Commit(false, shoal.Write{Key: k, Value: v}))
		clear(k)
		clear(v)
		got, ok, err := tab.Get([]byte("k"))
		if err != nil || !ok || string(got) != "v" {
			t.Fatalf("got %q, %v, %v", got, ok, err)
		}
		clear(got)
		for p, err := range tab.Scan(nil, nil) {
			mustDo(t, err)
			clear(p.Value)
		}
		if got, _, _ := tab.Get([]byte("k")); string(got) != "v" {
			t.Fatalf("got %q after the caller changed its bytes", got)
		}
	})
	t.Run("large", func(t *testing.T) {
		tab := open(t)
		var batch []shoal.Write
		for i := range 2000 {
			batch = append(batch, shoal.Write{Key: fmt.Appendf(nil, "%05d", i), Value: bytes.Repeat([]byte{byte(i)}, 2000)})
		}
		mustDo(t, tab.Commit(true, batch...))
		n := 0
		for p, err := range tab.Scan([]byte("00100"), []byte("01900")) {
			mustDo(t, err)
			if want := fmt.Sprintf("%05d", 100+n); string(p.Key) != want || len(p.Value) != 2000 {
				t.Fatalf("pair %q, want %s", p.Key, want)
			}
			if n++; n%500 == 0 { // writing while scanning is fine
				mustDo(t, tab.Commit(false, shoal.Write{Key: []byte("zz"), Value: nil}))
			}
		}
		if n != 1800 {
			t.Fatalf("%d pairs, want 1800", n)
		}
	})
	t.Run("snapshot", func(t *testing.T) {
		tab := open(t)
		mustDo(t, tab.Commit(false, shoal.Write{Key: []byte("a"), Value: []byte("1")}, shoal.Write{Key: []byte("b"), Value: []byte("1")}))
		snap, err := tab.Snapshot()
		mustDo(t, err)
		mustDo(t, tab.Commit(true, shoal.Write{Key: []byte("a"), Value: []byte("2")}, shoal.Write{Key: []byte("b"), Delete: true}))
		got := ""
		for p, err := range snap.Scan(nil, nil) {
			mustDo(t, err)
			got += string(p.Key) + string(p.Value)
		}
		for _, k := range []string{"a", "b", "c"} {
			v, ok, err := snap.Get([]byte(k))
			mustDo(t, err)
			got += fmt.Sprint(" ", k, string(v), ok)
		}
		if got != "a1b1 a1true b1true cfalse" {
			t.Fatalf("the snapshot has %q, want what was there when it was made", got)
		}
		mustDo(t, snap.Close())
		mustDo(t, snap.Close())
		_, err = tab.Snapshot() // left open: it must not keep the table from being closed
		mustDo(t, err)
	})
	t.Run("at once", func(t *testing.T) {
		tab := open(t)
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for g := range errs {
			wg.Go(func() {
				for i := range 20 {
					a, b := fmt.Appendf(nil, "a/%d", g), fmt.Appendf(nil, "b/%d", g)
					v := fmt.Appendf(nil, "%d", i)
					if err := tab.Commit(i%5 == 0, shoal.Write{Key: a, Value: v}, shoal.Write{Key: b, Value: v}); err != nil {
						errs[g] = err
						return
					}
				}
			})
		}
		wg.Wait()
		for g, err := range errs {
			mustDo(t, err)
			for _, room := range []string{"a", "b"} {
				if v, ok, err := tab.Get(fmt.Appendf(nil, "%s/%d", room, g)); err != nil || !ok || string(v) != "19" {
					t.Fatalf("%s/%d is %q, %v, %v", room, g, v, ok, err)
				}
			}
		}
	})
	t.Run("like a map", func(t *testing.T) { tableLikeMap(t, open(t)) })
}

func tableLikeMap(t *testing.T, tab shoal.Table) {
	key := rapid.SampledFrom([]string{"", "a", "aa", "a\x00", "b", "b\xff", "\xff", "\xff\xff"})
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]string{}
		if err := tab.Commit(false, shoal.Write{Delete: true, End: []byte("\xff\xff\xff")}); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 10).Draw(t, "batches") {
			var batch []shoal.Write
			for range rapid.IntRange(0, 4).Draw(t, "writes") {
				k := key.Draw(t, "key")
				w := shoal.Write{Key: []byte(k)}
				switch rapid.IntRange(0, 3).Draw(t, "op") {
				case 0:
					w.Delete = true
					delete(want, k)
				case 1:
					end := key.Draw(t, "end")
					if w.Delete, w.End = true, []byte(end); end < k {
						w.Key, w.End = w.End, w.Key
					}
					maps.DeleteFunc(want, func(x, _ string) bool { return x >= string(w.Key) && x < string(w.End) })
				default:
					w.Value = []byte(rapid.StringN(0, 5, 9).Draw(t, "value"))
					want[k] = string(w.Value)
				}
				batch = append(batch, w)
			}
			if err := tab.Commit(rapid.Bool().Draw(t, "sync"), batch...); err != nil {
				t.Fatal(err)
			}
			low, high := key.Draw(t, "low"), key.Draw(t, "high")
			var keys []string
			for _, k := range slices.Sorted(maps.Keys(want)) {
				if k >= low && k < high {
					keys = append(keys, k)
				}
			}
			for p, err := range tab.Scan([]byte(low), []byte(high)) {
				if err != nil || len(keys) == 0 || keys[0] != string(p.Key) || want[keys[0]] != string(p.Value) {
					t.Fatalf("scan from %q to %q yields %q: %q, %v; want %q", low, high, p.Key, p.Value, err, keys)
				}
				keys = keys[1:]
			}
			if len(keys) > 0 {
				t.Fatalf("scan from %q to %q misses %q", low, high, keys)
			}
			k := key.Draw(t, "get")
			v, ok, err := tab.Get([]byte(k))
			if w, there := want[k]; err != nil || ok != there || string(v) != w {
				t.Fatalf("get %q: %q, %v, %v; want %q, %v", k, v, ok, err, w, there)
			}
		}
	})
}
