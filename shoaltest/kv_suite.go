package shoaltest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

// TestKV holds a shoal.KV against its contract. open gives an empty one for each subtest.
func TestKV(t *testing.T, open func(t *testing.T) shoal.KV) {
	run := func(name string, f func(t *testing.T, kv shoal.KV)) {
		t.Run(name, func(t *testing.T) { f(t, open(t)) })
	}
	run("set, get, delete", func(t *testing.T, kv shoal.KV) {
		_, err := kv.Get("a")
		wantKind(t, err, shoal.NotFound)
		mustDo(t, kv.Delete("a"))
		mustDo(t, kv.Set("a", []byte("1")))
		mustDo(t, kv.Set("a", []byte("2")))
		mustDo(t, kv.Set("", nil))
		if v, err := kv.Get("a"); err != nil || string(v) != "2" {
			t.Fatalf("got %q, %v", v, err)
		}
		if v, err := kv.Get(""); err != nil || len(v) != 0 {
			t.Fatalf("empty key: %q, %v", v, err)
		}
		mustDo(t, kv.Delete("a"))
		_, err = kv.Get("a")
		wantKind(t, err, shoal.NotFound)
	})
	run("bytes belong to the caller", func(t *testing.T, kv shoal.KV) {
		v := []byte("value")
		mustDo(t, kv.Set("k", v))
		clear(v)
		got, err := kv.Get("k")
		mustDo(t, err)
		clear(got)
		for _, got := range kv.Scan("") {
			clear(got)
		}
		if again, _ := kv.Get("k"); string(again) != "value" {
			t.Fatalf("got %q", again)
		}
	})
	run("scan", func(t *testing.T, kv shoal.KV) {
		for _, k := range []string{"b/2", "a", "b/1", "b", "b0", "c", "b/\xff", "b/\xff\xff"} {
			mustDo(t, kv.Set(k, []byte(k)))
		}
		scan := kv.Scan("b/")
		mustDo(t, kv.Set("b/3", nil)) // after the call: not seen
		mustDo(t, kv.Delete("b/1"))
		var keys []string
		for k, v := range scan {
			if string(v) != k {
				t.Fatalf("%q has %q", k, v)
			}
			keys = append(keys, k)
		}
		if want := []string{"b/1", "b/2", "b/\xff", "b/\xff\xff"}; !slices.Equal(keys, want) {
			t.Fatalf("got %q, want %q", keys, want)
		}
		for range kv.Scan("") {
			break // leaving early is fine
		}
		for k := range kv.Scan("b/\xff\xff\xff") {
			t.Fatalf("unexpected %q", k)
		}
	})
	run("at once", func(t *testing.T, kv shoal.KV) {
		var wg sync.WaitGroup
		errs := make(chan error, 8)
		for g := range 8 {
			wg.Go(func() {
				for i := range 20 {
					key := fmt.Sprintf("%d/%d", g, i)
					if err := kv.Set(key, []byte(key)); err != nil {
						errs <- err
						return
					}
					if v, err := kv.Get(key); err != nil || string(v) != key {
						errs <- fmt.Errorf("%s: %q, %w", key, v, err)
						return
					}
				}
			})
		}
		wg.Wait()
		select {
		case err := <-errs:
			t.Fatal(err)
		default:
		}
		n := 0
		for range kv.Scan("") {
			n++
		}
		if n != 160 {
			t.Fatalf("%d pairs, want 160", n)
		}
	})
	run("like a map", func(t *testing.T, kv shoal.KV) { likeMap(t, kv) })
}

// likeMap holds kv against a plain map over random operations.
func likeMap(t *testing.T, kv shoal.KV) {
	keys := rapid.SampledFrom([]string{"", "a", "aa", "a\x00", "b", "b\xff", "\xff"})
	rapid.Check(t, func(t *rapid.T) {
		want := map[string][]byte{}
		for k := range kv.Scan("") {
			if err := kv.Delete(k); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 8).Draw(t, "n") {
			key := keys.Draw(t, "key")
			switch rapid.SampledFrom([]string{"set", "delete", "get", "scan"}).Draw(t, "op") {
			case "set":
				v := rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "value")
				if err := kv.Set(key, v); err != nil {
					t.Fatal(err)
				}
				want[key] = v
			case "delete":
				if err := kv.Delete(key); err != nil {
					t.Fatal(err)
				}
				delete(want, key)
			case "get":
				v, err := kv.Get(key)
				w, ok := want[key]
				if ok != (err == nil) || !bytes.Equal(v, w) {
					t.Fatalf("get %q: %q, %v; want %q, %v", key, v, err, w, ok)
				}
			case "scan":
				n := 0
				for k, v := range kv.Scan(key) {
					if w, ok := want[k]; !ok || !bytes.Equal(v, w) || !strings.HasPrefix(k, key) {
						t.Fatalf("scan %q yields %q: %q", key, k, v)
					}
					n++
				}
				for k := range want {
					if strings.HasPrefix(k, key) {
						n--
					}
				}
				if n != 0 {
					t.Fatalf("scan %q is off by %d", key, n)
				}
			}
		}
	})
}
