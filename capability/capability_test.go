package capability

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// key returns the n-th key of the tests.
func key(n int) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Append(nil, "test key ", n))
	return ed25519.NewKeyFromSeed(seed[:])
}

func id(k ed25519.PrivateKey) shoal.PeerID { return PeerIDOf(k.Public().(ed25519.PublicKey)) }

var noon = time.Unix(1_800_000_000, 0)

// chain returns a chain root (key 0) -> key 1 -> ... -> key n, all members, and the last key.
func chain(t interface{ Fatal(...any) }, n int) (Chain, ed25519.PrivateKey) {
	var c Chain
	fabric := FabricID(id(key(0)))
	for i := range n {
		var err error
		if c, err = c.Extend(key(i), Grant{Fabric: fabric, Subject: id(key(i + 1)), Role: RoleMember}); err != nil {
			t.Fatal(err)
		}
	}
	return c, key(n)
}

func TestPeerIDIsLibp2ps(t *testing.T) {
	// Made with go-libp2p: the key of an all-zero seed.
	k := ed25519.NewKeyFromSeed(make([]byte, 32))
	const want shoal.PeerID = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
	if got := id(k); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	pub, err := PublicKey(want)
	if err != nil || !pub.Equal(k.Public()) {
		t.Fatalf("got %x, %v", pub, err)
	}
	for _, bad := range []shoal.PeerID{
		"", "12D3", want[1:], want + "1", "1" + want, want[:51] + "0",
		"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", shoal.PeerID(strings.Repeat("1", 1<<20)),
	} {
		if _, err := PublicKey(bad); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("PublicKey(%.60q): %v, want Invalid", bad, err)
		}
	}
}

func TestFabricID(t *testing.T) {
	a, b := FabricID(id(key(1))), FabricID(id(key(2)))
	if a == b || len(a) != 26 || strings.ToLower(a) != a {
		t.Fatalf("got %q and %q", a, b)
	}
}

func TestEnvelope(t *testing.T) {
	e := Seal(key(1), "record", []byte("hello"))
	if b, err := e.Open("record"); err != nil || string(b) != "hello" {
		t.Fatalf("got %q, %v", b, err)
	}
	if _, err := e.Open("grant"); shoal.KindOf(err) != shoal.Refused {
		t.Errorf("another domain: %v, want Refused", err)
	}
	other := e
	other.Signer = id(key(2))
	if _, err := other.Open("record"); shoal.KindOf(err) != shoal.Refused {
		t.Errorf("another signer: %v, want Refused", err)
	}
	for _, sig := range [][]byte{nil, e.Sig[:63], append(bytes.Clone(e.Sig), 0)} {
		cut := e
		cut.Sig = sig
		if _, err := cut.Open("record"); shoal.KindOf(err) != shoal.Refused {
			t.Errorf("signature of %d bytes: %v, want Refused", len(sig), err)
		}
	}
}

func TestChainHolds(t *testing.T) {
	for _, n := range []int{1, 2, 5, MaxChain} {
		c, last := chain(t, n)
		g, err := c.Verify(FabricID(id(key(0))), id(last), RoleMember, noon)
		if err != nil || g.Subject != id(last) {
			t.Fatalf("%d links: %+v, %v", n, g, err)
		}
	}
	c, last := chain(t, MaxChain)
	g := Grant{Fabric: FabricID(id(key(0))), Subject: id(key(99)), Role: RoleMember}
	if _, err := c.Extend(last, g); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("extending the longest chain: %v, want Invalid", err)
	}
	tooLong := append(c, Seal(last, grantDomain, wire.Marshal(g)))
	if _, err := tooLong.Verify(g.Fabric, g.Subject, RoleMember, noon); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("verifying a chain too long: %v, want Invalid", err)
	}
}

func TestExtendSharesNothing(t *testing.T) {
	c, last := chain(t, 2)
	g := Grant{Fabric: FabricID(id(key(0))), Role: RoleMember}
	g.Subject = id(key(10))
	a, err := c.Extend(last, g)
	if err != nil {
		t.Fatal(err)
	}
	g.Subject = id(key(11))
	if _, err := c.Extend(last, g); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Verify(g.Fabric, id(key(10)), RoleMember, noon); err != nil {
		t.Fatalf("a second extension changed the first: %v", err)
	}
}

func TestChainRefuses(t *testing.T) {
	fabric := FabricID(id(key(0)))
	grant := func(g Grant) Grant {
		if g.Fabric == "" {
			g.Fabric = fabric
		}
		if g.Subject == "" {
			g.Subject = id(key(2))
		}
		if g.Role == "" {
			g.Role = RoleMember
		}
		return g
	}
	// link makes root -> 1 (first) -> 2 (second) without the checks of Extend.
	link := func(first, second Grant) Chain {
		first.Subject = id(key(1))
		return Chain{
			Seal(key(0), grantDomain, wire.Marshal(grant(first))),
			Seal(key(1), grantDomain, wire.Marshal(grant(second))),
		}
	}
	at := noon.Unix()
	whole := link(Grant{}, Grant{})
	for _, c := range []struct {
		name    string
		chain   Chain
		fabric  string
		subject shoal.PeerID
		role    string
		kind    shoal.Kind
		says    string
	}{
		{"whole", whole, fabric, id(key(2)), RoleMember, 0, ""},
		{"bounds hold", link(Grant{NotBefore: at + int64(Skew.Seconds()), NotAfter: at + 1}, Grant{}), fabric, id(key(2)), RoleMember, 0, ""},
		{"empty", nil, fabric, id(key(2)), RoleMember, shoal.Refused, "empty"},
		{"another fabric", whole, FabricID(id(key(9))), id(key(2)), RoleMember, shoal.Refused, "another fabric"},
		{"grant of another fabric", link(Grant{}, Grant{Fabric: FabricID(id(key(9)))}), fabric, id(key(2)), RoleMember, shoal.Refused, "another fabric"},
		{"another subject", whole, fabric, id(key(3)), RoleMember, shoal.Refused, "not to"},
		{"subject in the middle", whole, fabric, id(key(1)), RoleMember, shoal.Refused, "not to"},
		{"another role", whole, fabric, id(key(2)), RoleInvite, shoal.Refused, "role"},
		{"root missing", whole[1:], fabric, id(key(2)), RoleMember, shoal.Refused, "another fabric"},
		{"swapped", Chain{whole[1], whole[0]}, fabric, id(key(2)), RoleMember, shoal.Refused, "another fabric"},
		{"twice", Chain{whole[0], whole[0]}, fabric, id(key(1)), RoleMember, shoal.Refused, "could not grant"},
		{"invite grants", link(Grant{Role: RoleInvite}, Grant{}), fabric, id(key(2)), RoleMember, shoal.Refused, "could not grant"},
		{"unknown role", link(Grant{}, Grant{Role: "king"}), fabric, id(key(2)), "king", shoal.Invalid, "unknown"},
		{"expired", link(Grant{}, Grant{NotAfter: at}), fabric, id(key(2)), RoleMember, shoal.Refused, "expired"},
		{"expired before the end", link(Grant{NotAfter: at - 1}, Grant{}), fabric, id(key(2)), RoleMember, shoal.Refused, "expired"},
		{"not yet", link(Grant{}, Grant{NotBefore: at + int64(Skew.Seconds()) + 1}), fabric, id(key(2)), RoleMember, shoal.Refused, "clock"},
		{"negative", link(Grant{}, Grant{Uses: -1}), fabric, id(key(2)), RoleMember, shoal.Invalid, "bounds"},
		{"long serial", link(Grant{}, Grant{Serial: strings.Repeat("x", MaxSerial+1)}), fabric, id(key(2)), RoleMember, shoal.Invalid, "bounds"},
		{"bad subject", link(Grant{}, Grant{Subject: "nobody"}), fabric, "nobody", RoleMember, shoal.Invalid, "nobody"},
		{"no grant", Chain{Seal(key(0), grantDomain, []byte{1})}, fabric, id(key(1)), RoleMember, shoal.Invalid, "malformed"},
		{"other domain", Chain{Seal(key(0), "record", whole[0].Payload)}, fabric, id(key(1)), RoleMember, shoal.Refused, "signature"},
		// {"f": fabric, ...} with the keys in another order: signed, but not canonical.
		{"not canonical", Chain{Seal(key(0), grantDomain, reordered(fabric, id(key(1))))}, fabric, id(key(1)), RoleMember, shoal.Invalid, "canonical"},
	} {
		_, err := c.chain.Verify(c.fabric, c.subject, c.role, noon)
		if c.says == "" && err != nil || c.says != "" && (err == nil || shoal.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v (%v), want %v: ...%s...", c.name, err, shoal.KindOf(err), c.kind, c.says)
		}
	}
	if _, err := whole.Verify(fabric, id(key(2)), RoleMember, time.Time{}); err == nil {
		t.Error("verified without a time")
	}
}

// reordered encodes a sound member grant with its fields in the wrong order.
func reordered(fabric string, subject shoal.PeerID) []byte {
	b := []byte{0xa3, 0x61, 's', 0x78, byte(len(subject))}
	b = append(b, subject...)
	b = append(b, 0x61, 'r', 0x66)
	b = append(b, RoleMember...)
	b = append(b, 0x61, 'f', 0x78, byte(len(fabric)))
	return append(b, fabric...)
}

// TestChainAltered changes one byte anywhere in a chain, or drops or repeats a link.
func TestChainAltered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "links")
		c, last := chain(t, n)
		fabric := FabricID(id(key(0)))
		verify := func(c Chain) error {
			_, err := c.Verify(fabric, id(last), RoleMember, noon)
			return err
		}
		if err := verify(c); err != nil {
			t.Fatal(err)
		}
		var altered Chain
		if err := wire.Unmarshal("chain", wire.Marshal(c), &altered); err != nil {
			t.Fatal(err)
		}
		i := rapid.IntRange(0, n-1).Draw(t, "link")
		flip := func(b []byte) {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= byte(rapid.IntRange(1, 255).Draw(t, "xor"))
		}
		switch rapid.SampledFrom([]string{"payload", "sig", "signer", "drop", "repeat", "swap"}).Draw(t, "how") {
		case "payload":
			flip(altered[i].Payload)
		case "sig":
			flip(altered[i].Sig)
		case "signer":
			b := []byte(altered[i].Signer)
			flip(b)
			altered[i].Signer = shoal.PeerID(b)
		case "drop":
			altered = append(altered[:i], altered[i+1:]...)
		case "repeat":
			altered = append(altered[:i+1], altered[i:]...)
		case "swap":
			j := rapid.IntRange(0, n-1).Draw(t, "with")
			if i == j {
				t.Skip("same link")
			}
			altered[i], altered[j] = altered[j], altered[i]
		}
		if err := verify(altered); err == nil {
			t.Fatal("an altered chain verifies")
		}
		if err := verify(c); err != nil {
			t.Fatalf("verifying changed the chain: %v", err)
		}
	})
}

// invite returns an invite through n members.
func invite(t interface{ Fatal(...any) }, n int, g Grant, addrs ...string) Invite {
	c, last := chain(t, n)
	seed := sha256.Sum256([]byte("bearer"))
	i, err := NewInvite(last, c, g, seed[:], addrs)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func addresses(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("/ip4/10.0.0.%d/tcp/4170/p2p/%s", i, id(key(i/2))))
	}
	return out
}

func TestInviteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := invite(t, rapid.IntRange(0, 8).Draw(t, "links"), Grant{
			NotAfter: rapid.Int64Range(0, 1<<40).Draw(t, "after"), Uses: rapid.IntRange(0, 99).Draw(t, "uses"),
			Serial: rapid.StringN(0, 10, MaxSerial).Draw(t, "serial"),
		}, addresses(rapid.IntRange(0, 5).Draw(t, "addresses"))...)
		text := i.String()
		back, err := ParseInvite(text)
		if err != nil || !reflect.DeepEqual(i, back) {
			t.Fatalf("%s: got %+v, %v; want %+v", text, back, err, i)
		}
		at := rapid.IntRange(0, len(text)).Draw(t, "break")
		if _, err := ParseInvite(" " + text[:at] + "\n  " + text[at:] + "\r\n"); err != nil {
			t.Fatalf("with blanks: %v", err)
		}
	})
}

func TestInviteVerify(t *testing.T) {
	i := invite(t, 1, Grant{NotAfter: noon.Unix() + 10, Uses: 3, Serial: "s"}, addresses(2)...)
	if g, err := i.Verify(noon); err != nil || g.Uses != 3 || g.Serial != "s" || g.Subject != id(i.Bearer()) {
		t.Fatalf("got %+v, %v", g, err)
	}
	if _, err := i.Verify(noon.Add(10 * time.Second)); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "expired") {
		t.Fatalf("expired: %v", err)
	}
	t.Logf("an invite through one member with two addresses has %d characters", len(i.String()))
}

func TestInviteUnsound(t *testing.T) {
	sound := invite(t, 1, Grant{}, addresses(1)...)
	for name, f := range map[string]func(i *Invite){
		"another seed":  func(i *Invite) { i.Seed = make([]byte, 32) },
		"short seed":    func(i *Invite) { i.Seed = i.Seed[:31] },
		"no chain":      func(i *Invite) { i.Chain = nil },
		"member chain":  func(i *Invite) { i.Chain = i.Chain[:1] },
		"root":          func(i *Invite) { i.Root = id(key(7)) },
		"issuer":        func(i *Invite) { i.Issuer = id(key(7)) },
		"fabric":        func(i *Invite) { i.Fabric = "x" },
		"bare address":  func(i *Invite) { i.Addresses = []string{"/ip4/1.2.3.4/tcp/1"} },
		"no address":    func(i *Invite) { i.Addresses = []string{""} },
		"bad peer":      func(i *Invite) { i.Addresses = []string{"/ip4/1.2.3.4/tcp/1/p2p/x"} },
		"too many":      func(i *Invite) { i.Addresses = make([]string, MaxAddresses+1) },
		"text too long": func(i *Invite) { i.Addresses[0] = "/" + strings.Repeat("x", MaxInvite) + i.Addresses[0] },
	} {
		bad := sound
		bad.Addresses = append([]string(nil), sound.Addresses...)
		f(&bad)
		if s := bad.String(); s != "" {
			t.Errorf("%s: the text is %q, want none", name, s)
		}
		if name != "text too long" {
			if _, err := bad.Verify(noon); err == nil {
				t.Errorf("%s: verifies", name)
			}
		}
	}
	if _, err := ParseInvite(sound.String()); err != nil {
		t.Fatalf("a case changed the sound invite: %v", err)
	}
}

// TestInviteEveryTypo replaces each character by each other one.
func TestInviteEveryTypo(t *testing.T) {
	text := invite(t, 1, Grant{NotAfter: noon.Unix(), Uses: 1}, addresses(2)...).String()
	for at := range text {
		for _, r := range alphabet + "0OIl-_ " {
			typo := text[:at] + string(r) + text[at+1:]
			if typo == text {
				continue
			}
			if _, err := ParseInvite(typo); shoal.KindOf(err) != shoal.Invalid {
				t.Fatalf("%q for %q at %d: %v, want Invalid", r, text[at], at, err)
			}
		}
		if _, err := ParseInvite(text[:at]); shoal.KindOf(err) != shoal.Invalid {
			t.Fatalf("cut at %d: %v", at, err)
		} else if at > 0 && !strings.Contains(err.Error(), "cut off") {
			t.Fatalf("cut at %d: %v does not say so", at, err)
		}
		if _, err := ParseInvite(text[:at] + text[at+1:]); shoal.KindOf(err) != shoal.Invalid {
			t.Fatalf("without %d: %v", at, err)
		}
		if at > 0 && text[at] != text[at-1] {
			b := []byte(text)
			b[at], b[at-1] = b[at-1], b[at]
			if _, err := ParseInvite(string(b)); shoal.KindOf(err) != shoal.Invalid {
				t.Fatalf("swapped at %d: %v", at, err)
			}
		}
	}
}

func TestInviteErrorsSayWhatIsWrong(t *testing.T) {
	text := invite(t, 1, Grant{}, addresses(2)...).String()
	for _, c := range []struct{ text, says string }{
		{"", "empty"},
		{"hello", "must begin with 'shoal1'"},
		{"shoal9" + text[6:], "must begin with 'shoal1'"},
		{text[:len(text)-1], fmt.Sprintf("cut off after %d of %d", len(text)-1, len(text))},
		{text + "x", "1 characters too long"},
		{text[:50] + "0" + text[51:], "'0' at position 51"},
		{text[:7] + "?" + text[8:], "a typo"},
		{"shoal1" + strings.Repeat("z", MaxInvite), "too many"},
		{strings.Repeat(" ", 3*MaxInvite), "too many"},
	} {
		_, err := ParseInvite(c.text)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.40q: got %v, want ...%s...", c.text, err, c.says)
		}
	}
}

func FuzzParseInvite(f *testing.F) {
	i := invite(f, 1, Grant{NotAfter: 5}, addresses(2)...)
	f.Add(i.String())
	f.Add("shoal1")
	f.Fuzz(func(t *testing.T, s string) {
		i, err := ParseInvite(s)
		if err != nil {
			if shoal.KindOf(err) != shoal.Invalid {
				t.Fatalf("kind %v: %v", shoal.KindOf(err), err)
			}
			return
		}
		if strings.Join(strings.Fields(s), "") != i.String() {
			t.Fatal("two texts for one invite")
		}
	})
}

// FuzzInviteBody gets behind the checksum.
func FuzzInviteBody(f *testing.F) {
	body, err := openText(invite(f, 2, Grant{}, addresses(3)...).String())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		if i, err := ParseInvite(sealText(body)); err == nil {
			if back, err := ParseInvite(i.String()); err != nil || !reflect.DeepEqual(i, back) {
				t.Fatalf("does not survive a round trip: %v", err)
			}
		}
	})
}

func FuzzChain(f *testing.F) {
	c, _ := chain(f, 2)
	f.Add(wire.Marshal(c))
	fabric := FabricID(id(key(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Chain
		if wire.Unmarshal("chain", b, &c) != nil {
			return
		}
		g, err := c.Verify(fabric, id(key(2)), RoleMember, noon)
		if err == nil && (g.Subject != id(key(2)) || len(c) != 2) {
			t.Fatalf("got %+v of %d links", g, len(c))
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	c, last := chain(b, 4)
	for b.Loop() {
		if _, err := c.Verify(FabricID(id(key(0))), id(last), RoleMember, noon); err != nil {
			b.Fatal(err)
		}
	}
}
