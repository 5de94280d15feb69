package dht_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/dht/record"
	"github.com/shoal-fabric/shoal/wire"
)

func (f *fabric) startWithKey(key ed25519.PrivateKey) *node {
	f.t.Helper()
	k, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.start(newHost(f.t, libp2p.Identity(k)))
}

func sealed(key ed25519.PrivateKey, seq uint64) []byte {
	return wire.Marshal(capability.Seal(key, record.Domain, wire.Marshal(map[string]any{"f": fabricID, "l": 1, "q": seq})))
}

func TestRecords(t *testing.T) {
	f := newFabric(t, patient())
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	a := f.startWithKey(key)
	if capability.PeerIDOf(key.Public().(ed25519.PublicKey)) != a.id {
		t.Fatal("capability and libp2p disagree about peer IDs")
	}
	if err := a.PutRecord(t.Context(), a.id, sealed(key, 1)); err != nil {
		t.Fatalf("alone: %v", err)
	}
	if got, err := a.GetRecord(t.Context(), a.id); err != nil || !bytes.Equal(got, sealed(key, 1)) {
		t.Fatalf("alone: %x, %v", got, err)
	}
	b, c := f.start(newHost(t)), f.start(newHost(t))
	f.connect(b, a)
	f.connect(c, b)
	got := func(n *node) []byte {
		v, err := n.GetRecord(t.Context(), a.id)
		if err != nil && shoal.KindOf(err) != shoal.NotFound {
			t.Fatal(err)
		}
		return v
	}
	for _, n := range []*node{b, c} {
		f.until("the record that was put before they came", func() bool { return bytes.Equal(got(n), sealed(key, 1)) })
	}
	if err := a.PutRecord(t.Context(), a.id, sealed(key, 3)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{a, b, c} {
		f.until("the new record", func() bool { return bytes.Equal(got(n), sealed(key, 3)) })
	}
	if err := a.PutRecord(t.Context(), a.id, sealed(key, 2)); shoal.KindOf(err) != shoal.Exists {
		t.Errorf("an older record: %v", err)
	}
	forger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))
	if err := b.PutRecord(t.Context(), a.id, sealed(forger, 9)); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("a forged record: %v", err)
	}
	if _, err := a.GetRecord(t.Context(), b.id); shoal.KindOf(err) != shoal.NotFound {
		t.Errorf("no record: %v", err)
	}
	if v := got(c); !bytes.Equal(v, sealed(key, 3)) {
		t.Errorf("in the end: %x", v)
	}
}
