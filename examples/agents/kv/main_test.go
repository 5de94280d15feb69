package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

func open() (call func(method, payload string) (string, error)) {
	f := agenttest.New()
	f.Add("kv", agenttest.Methods{"get": Get, "put": Put, "swap": Swap, "delete": Delete, "list": List})
	return func(method, payload string) (string, error) {
		b, err := f.Call("kv", method, []byte(payload))
		return string(b), err
	}
}

func TestKv(t *testing.T) {
	call := open()
	for _, c := range []struct{ method, payload, want string }{
		{"get", "a", "0"},
		{"put", "a\none\ntwo", "1"},
		{"get", "a", "1\none\ntwo"},
		{"put", "a", "2"},
		{"get", "a", "2\n"},
		{"swap", "a\n1\nx", "conflict 2"},
		{"swap", "a\n2\nx", "swapped 3"},
		{"swap", "b\n0\ny", "swapped 4"},
		{"swap", "b\n0\ny", "conflict 4"},
		{"delete", "a", "deleted"},
		{"delete", "a", "absent"},
		{"swap", "a\n3\nz", "conflict 0"},
		{"swap", "a\n0\nz", "swapped 5"},
		{"list", "", "a\nb"},
		{"list", "\na", "b"},
		{"list", "b", "b"},
		{"list", "c", ""},
	} {
		if got, err := call(c.method, c.payload); err != nil || got != c.want {
			t.Fatalf("%s %q: %q, %v, want %q", c.method, c.payload, got, err, c.want)
		}
	}
	for _, c := range []struct{ method, payload string }{
		{"get", ""},
		{"put", "\nx"},
		{"delete", ""},
		{"swap", "a"},
		{"swap", "a\n-1\nx"},
		{"put", strings.Repeat("k", 1001)},
		{"put", "a\n" + strings.Repeat("v", 1<<20)},
	} {
		if got, err := call(c.method, c.payload); err == nil {
			t.Errorf("%s %.20q: %q", c.method, c.payload, got)
		}
	}
	if got, err := call("get", "a"); err != nil || got != "5\nz" {
		t.Errorf("after refusals: %q, %v", got, err)
	}
}

// TestKvIsAMap does random things to it and to a map.
func TestKvIsAMap(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		call, twin, last := open(), map[string]string{}, map[string]int{}
		version := 0
		for range 200 {
			key, value := fmt.Sprint("k", r.IntN(5)), fmt.Sprint(r.IntN(100))
			switch r.IntN(3) {
			case 0:
				known := last[key] - r.IntN(2)
				got, err := call("swap", fmt.Sprintf("%s\n%d\n%s", key, max(0, known), value))
				if err != nil {
					t.Fatal(err)
				}
				if max(0, known) == last[key] {
					version++
					last[key], twin[key] = version, value
					if want := fmt.Sprint("swapped ", version); got != want {
						t.Fatalf("seed %d: %q, want %q", seed, got, want)
					}
				} else if want := fmt.Sprint("conflict ", last[key]); got != want {
					t.Fatalf("seed %d: %q, want %q", seed, got, want)
				}
			case 1:
				if _, err := call("delete", key); err != nil {
					t.Fatal(err)
				}
				delete(twin, key)
				delete(last, key)
			case 2:
				want := "0"
				if v, ok := twin[key]; ok {
					want = fmt.Sprintf("%d\n%s", last[key], v)
				}
				if got, err := call("get", key); err != nil || got != want {
					t.Fatalf("seed %d: %q, %v, want %q", seed, got, err, want)
				}
			}
		}
	}
}
