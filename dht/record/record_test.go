package record_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/dht/record"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

type body struct {
	Fabric string `cbor:"f"`
	Life   uint64 `cbor:"l"`
	Seq    uint64 `cbor:"q"`
	Name   string `cbor:"name"`
}

const fabric = "f1"

func key(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func id(k ed25519.PrivateKey) shoal.PeerID {
	return capability.PeerIDOf(k.Public().(ed25519.PublicKey))
}

func seal(k ed25519.PrivateKey, domain string, v any) []byte {
	return wire.Marshal(capability.Seal(k, domain, wire.Marshal(v)))
}

func TestValidate(t *testing.T) {
	k, other := key(1), key(2)
	good := seal(k, record.Domain, body{fabric, 1, 7, "a"})
	trailing := append(bytes.Clone(good), 0)
	flipped := bytes.Clone(good)
	flipped[10] ^= 1 // in the signature, which comes first
	for _, c := range []struct {
		name, key string
		value     []byte
		kind      shoal.Kind
		ok        bool
	}{
		{"good", record.Key(id(k)), good, 0, true},
		{"under another peer", record.Key(id(other)), good, shoal.Invalid, false},
		{"another namespace", "/other/" + string(id(k)), good, shoal.Invalid, false},
		{"no peer", record.Key(""), good, shoal.Invalid, false},
		{"another domain", record.Key(id(k)), seal(k, "else", body{fabric, 1, 7, "a"}), shoal.Refused, false},
		{"no number", record.Key(id(k)), seal(k, record.Domain, map[string]string{"f": fabric}), shoal.Invalid, false},
		{"another fabric", record.Key(id(k)), seal(k, record.Domain, body{"f2", 1, 7, "a"}), shoal.Refused, false},
		{"no map", record.Key(id(k)), seal(k, record.Domain, "seq"), shoal.Invalid, false},
		{"trailing byte", record.Key(id(k)), trailing, shoal.Invalid, false},
		{"flipped bit", record.Key(id(k)), flipped, shoal.Refused, false},
		{"too large", record.Key(id(k)), seal(k, record.Domain, body{fabric, 1, 7, string(make([]byte, 17<<10))}), shoal.Invalid, false},
		{"empty", record.Key(id(k)), nil, shoal.Invalid, false},
	} {
		err := record.Validator{Fabric: fabric}.Validate(c.key, c.value)
		if (err == nil) != c.ok || !c.ok && shoal.KindOf(err) != c.kind {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestMembersRecords: what a member gossips may stand in the DHT as it is.
func TestMembersRecords(t *testing.T) {
	k := key(1)
	e, err := view.Record{Fabric: fabric, Life: 3, Seq: 9, TTL: 60}.Seal(k)
	if err != nil {
		t.Fatal(err)
	}
	_, version, err := record.Validator{Fabric: fabric}.Open(record.Key(id(k)), wire.Marshal(e))
	if err != nil || version != (record.Version{Life: 3, Seq: 9}) {
		t.Fatalf("%v, %v", version, err)
	}
}

// TestSelect: whatever the order of the values, all nodes choose the same one, the latest.
func TestSelect(t *testing.T) {
	k := key(1)
	v := record.Validator{Fabric: fabric}
	rapid.Check(t, func(t *rapid.T) {
		var values [][]byte
		top, any := record.Version{}, false
		for range rapid.IntRange(1, 6).Draw(t, "n") {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				values = append(values, seal(key(2), record.Domain, body{fabric, 1 << 60, 1, "forged"}))
			default:
				ver := record.Version{Life: rapid.Uint64Range(1, 3).Draw(t, "life"), Seq: rapid.Uint64Range(1, 3).Draw(t, "seq")}
				values = append(values, seal(k, record.Domain, body{fabric, ver.Life, ver.Seq, rapid.StringN(0, 2, -1).Draw(t, "name")}))
				if any = true; ver.Compare(top) > 0 {
					top = ver
				}
			}
		}
		i, err := v.Select(record.Key(id(k)), values)
		if (err == nil) != any {
			t.Fatalf("%v", err)
		}
		if err != nil {
			return
		}
		if _, ver, err := v.Open(record.Key(id(k)), values[i]); err != nil || ver != top {
			t.Fatalf("chose %d of version %v, %v; want %v", i, ver, err, top)
		}
		shuffled := rapid.Permutation(values).Draw(t, "shuffled")
		j, err := v.Select(record.Key(id(k)), shuffled)
		if err != nil || !bytes.Equal(shuffled[j], values[i]) {
			t.Fatal("another order gives another choice")
		}
	})
	if _, err := v.Select(record.Key(id(k)), nil); err == nil {
		t.Error("chose from nothing")
	}
}

func FuzzValidate(f *testing.F) {
	k := key(1)
	f.Add(seal(k, record.Domain, body{fabric, 1, 7, "a"}))
	f.Add([]byte{0xa3, 0x61, 's', 0x60})
	name := record.Key(id(k))
	f.Fuzz(func(t *testing.T, value []byte) {
		v := record.Validator{Fabric: fabric}
		err := v.Validate(name, value)
		if err != nil && shoal.KindOf(err) != shoal.Invalid && shoal.KindOf(err) != shoal.Refused {
			t.Fatalf("%v", err)
		}
		if _, serr := v.Select(name, [][]byte{value}); (serr == nil) != (err == nil) {
			t.Fatalf("validate says %v, select says %v", err, serr)
		}
	})
}
