package dht

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// TestHints: hints do what the library's own datastore does.
func TestHints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := shoaltest.NewTable()
		other := openHints(Config{Table: table}, "other")
		if err := other.Put(t.Context(), ds.NewKey("/a/b"), []byte("not yours")); err != nil {
			t.Fatal(err)
		}
		is, want := openHints(Config{Table: table}, "part"), ds.Batching(ds.NewMapDatastore())
		word := rapid.SampledFrom([]string{"a", "b", "ab", "0", "zz"})
		name := rapid.Custom(func(t *rapid.T) ds.Key {
			return ds.KeyWithNamespaces(rapid.SliceOfN(word, 1, 3).Draw(t, "names"))
		})
		for range rapid.IntRange(0, 20).Draw(t, "batches") {
			a, _ := is.Batch(t.Context())
			b, _ := want.Batch(t.Context())
			for range rapid.IntRange(1, 10).Draw(t, "writes") {
				k := name.Draw(t, "key")
				if rapid.Bool().Draw(t, "delete") {
					_, _ = a.Delete(t.Context(), k), b.Delete(t.Context(), k)
					continue
				}
				v := []byte(word.Draw(t, "value"))
				_, _ = a.Put(t.Context(), k, v), b.Put(t.Context(), k, v)
			}
			if err := errors.Join(a.Commit(t.Context()), b.Commit(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		k := name.Draw(t, "one")
		v, err := is.Get(t.Context(), k)
		w, wantErr := want.Get(t.Context(), k)
		if !bytes.Equal(v, w) || !errors.Is(err, wantErr) {
			t.Fatalf("%s is %q, %v, want %q, %v", k, v, err, w, wantErr)
		}
		q := query.Query{
			Prefix: rapid.SampledFrom([]string{"", "/", "/a", "a", "/ab/", "/a/b", "/zz/0/a"}).Draw(t, "prefix"),
			Orders: []query.Order{query.OrderByKey{}}, KeysOnly: rapid.Bool().Draw(t, "keys only"),
			Limit: rapid.IntRange(0, 5).Draw(t, "limit"), Offset: rapid.IntRange(0, 3).Draw(t, "offset"),
		}
		if got, want := ask(t, is, q), ask(t, want, q); !slices.Equal(got, want) {
			t.Fatalf("%s: %q, want %q", q, got, want)
		}
	})
}

func ask(t *rapid.T, d ds.Batching, q query.Query) (out []string) {
	r, err := d.Query(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := r.Rest()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s=%s", e.Key, e.Value))
	}
	return out
}

// TestHintsPages: more than a page is read whole, in order, also when nobody reads to the end.
func TestHintsPages(t *testing.T) {
	d := openHints(Config{Table: shoaltest.NewTable()}, "part")
	b, _ := d.Batch(t.Context())
	const n = 1000
	for i := range n {
		_ = b.Put(t.Context(), ds.NewKey(fmt.Sprintf("/k/%04d", i)), []byte{byte(i)})
	}
	if err := b.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	i := 0
	for e, err := range ds.QueryIter(t.Context(), d, query.Query{Prefix: "/k"}) {
		if err != nil || e.Key != fmt.Sprintf("/k/%04d", i) || !bytes.Equal(e.Value, []byte{byte(i)}) {
			t.Fatalf("%d: %s, %x, %v", i, e.Key, e.Value, err)
		}
		i++
	}
	if i != n {
		t.Errorf("%d of %d were read", i, n)
	}
	for range ds.QueryIter(t.Context(), d, query.Query{Prefix: "/k"}) {
		break
	}
}

// TestHintsBeginEmpty: what an earlier life left, sound or not, is gone; a disk that takes nothing is said, and does
// not keep a node from starting.
func TestHintsBeginEmpty(t *testing.T) {
	table := shoaltest.NewTable()
	left := []shoal.Write{
		{Key: []byte("heard/providers/rubbish/rubbish"), Value: []byte{0xff}},
		{Key: []byte("said/size"), Value: []byte("rubbish")},
		{Key: []byte("said/0/1")},
		{Key: []byte("mine"), Value: []byte("of another room")},
	}
	if err := table.Commit(true, left...); err != nil {
		t.Fatal(err)
	}
	openHints(Config{Table: table}, "heard")
	openHints(Config{Table: table}, "said")
	var keys []string
	for p := range table.Scan(nil, nil) {
		keys = append(keys, string(p.Key))
	}
	if !slices.Equal(keys, []string{"mine"}) {
		t.Errorf("there is %q", keys)
	}
	table.Fail(errors.New("no space"))
	var said strings.Builder
	d := openHints(Config{Table: table, Log: slog.New(slog.NewTextHandler(&said, nil))}, "heard")
	if err := d.Put(t.Context(), ds.NewKey("/a"), []byte("b")); err != nil {
		t.Error(err)
	}
	if ok, err := d.Has(t.Context(), ds.NewKey("/a")); err != nil || !ok || !strings.Contains(said.String(), "no space") {
		t.Errorf("%v, %v; the log says %q", ok, err, &said)
	}
}
