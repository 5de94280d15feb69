package data

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestKindsFetch has each kind move a small file, with both processes' parts in this one.
func TestKindsFetch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	content := make([]byte, 3<<20) // no two leaves alike, else one of them moves once
	rand.NewChaCha8([32]byte{1}).Read(content)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := sumOf(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h, err := hold(t.Context(), setup{Kind: name, Dir: filepath.Join(dir, "hold"), Files: []string{file}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(h.Close)
			at := h.Ready.(ready)
			f, err := fetch(t.Context(), setup{Kind: name, Dir: filepath.Join(dir, "fetch"), Address: at.Address, Bytes: 3 << 20})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(f.Close)
			arg, err := json.Marshal(transfer{at.Roots[0], filepath.Join(dir, "out")})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // after it was cleaned the same file moves again
				if _, err := h.Do["prepare"](t.Context(), arg); err != nil {
					t.Fatal(err)
				}
				got, err := f.Do["fetch"](t.Context(), arg)
				if err != nil {
					t.Fatal(err)
				}
				if d := got.(done); !bytes.Equal(d.SHA256, want) || d.Seconds <= 0 {
					t.Errorf("%+v", d)
				}
				if _, err := f.Do["clean"](t.Context(), []byte("null")); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
