package capability

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Limits of an invite.
const (
	MaxInvite    = 16 << 10 // characters of its text
	MaxAddresses = 64
)

// Invite lets whoever has it ask to join a fabric: it holds the bearer key, so it is a secret.
type Invite struct {
	Fabric    string
	Root      shoal.PeerID
	Issuer    shoal.PeerID // signed the last link
	Addresses []string     // where members are: multiaddrs that end in /p2p/ID
	Chain     Chain        // root to bearer, the last link with RoleInvite
	Seed      []byte       // Ed25519 seed of the bearer key, the subject of the last link
}

// NewInvite makes an invite: chain, which ends at key, extended by g to the bearer key that seed
// yields. Fabric, Subject and Role of g are filled in. The seed, 32 bytes, must be random.
func NewInvite(key ed25519.PrivateKey, chain Chain, g Grant, seed []byte, addresses []string) (Invite, error) {
	if len(seed) != ed25519.SeedSize {
		return Invite{}, shoal.E(shoal.Invalid, "invite", "the bearer's seed must have 32 bytes", "")
	}
	issuer := PeerIDOf(key.Public().(ed25519.PublicKey))
	i := Invite{Root: issuer, Issuer: issuer, Addresses: addresses, Seed: bytes.Clone(seed)}
	if len(chain) > 0 {
		i.Root = chain[0].Signer
	}
	i.Fabric = FabricID(i.Root)
	g.Fabric, g.Subject, g.Role = i.Fabric, PeerIDOf(i.Bearer().Public().(ed25519.PublicKey)), RoleInvite
	var err error
	if i.Chain, err = chain.Extend(key, g); err != nil {
		return Invite{}, err
	}
	return i, i.check()
}

// Bearer returns the key that the invite carries.
func (i Invite) Bearer() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(i.Seed) }

// Verify returns the grant to the bearer if the invite holds at now.
func (i Invite) Verify(now time.Time) (Grant, error) {
	if err := i.check(); err != nil {
		return Grant{}, err
	}
	return i.Chain.Verify(i.Fabric, PeerIDOf(i.Bearer().Public().(ed25519.PublicKey)), RoleInvite, now)
}

// check holds the parts against each other, times left out.
func (i Invite) check() error {
	if len(i.Seed) != ed25519.SeedSize {
		return badInvite("the bearer key is malformed", "")
	}
	last, err := i.Chain.walk(i.Fabric, time.Time{})
	switch {
	case err != nil:
		return shoal.Wrap(shoal.Invalid, "invite", err)
	case i.Root != i.Chain[0].Signer || i.Issuer != i.Chain[len(i.Chain)-1].Signer:
		return badInvite("root or issuer do not fit the chain", "")
	case last.Role != RoleInvite || last.Subject != PeerIDOf(i.Bearer().Public().(ed25519.PublicKey)):
		return badInvite("the chain does not lead to the bearer key", "")
	case len(i.Addresses) > MaxAddresses:
		return badInvite(fmt.Sprintf("%d addresses, more than %d", len(i.Addresses), MaxAddresses), "")
	}
	for _, a := range i.Addresses {
		addr, id, ok := cutPeer(a)
		if _, err := PublicKey(id); !ok || err != nil || !strings.HasPrefix(addr, "/") {
			return badInvite("address '"+strings.ToValidUTF8(a, "?")+"' does not end in /p2p/ID", "")
		}
	}
	return nil
}

// inviteWire is the body of the text. What can be computed from the rest is left out: signers,
// fabric and the bearer's public key; peers of addresses are kept once.
type inviteWire struct {
	_     struct{} `cbor:",toarray"`
	Root  []byte
	Links []linkWire
	Seed  []byte
	Peers [][]byte
	Addrs []addrWire
}

type linkWire struct {
	_         struct{} `cbor:",toarray"`
	Subject   []byte   // empty: the bearer
	Member    bool
	NotBefore int64
	NotAfter  int64
	Serial    string
	Uses      int
	Sig       []byte
}

type addrWire struct {
	_    struct{} `cbor:",toarray"`
	Peer uint32   // index in Peers
	Addr string
}

// String returns the text of a sound invite, which ParseInvite reads, and "" of any other.
func (i Invite) String() string {
	if i.check() != nil {
		return ""
	}
	w := inviteWire{Root: mustKey(i.Root), Seed: i.Seed}
	for n, link := range i.Chain {
		g, err := openGrant(link)
		if err != nil {
			return ""
		}
		l := linkWire{
			Member: g.Role == RoleMember, NotBefore: g.NotBefore, NotAfter: g.NotAfter,
			Serial: g.Serial, Uses: g.Uses, Sig: link.Sig,
		}
		if n < len(i.Chain)-1 {
			l.Subject = mustKey(g.Subject)
		}
		w.Links = append(w.Links, l)
	}
	index := map[shoal.PeerID]uint32{}
	for _, a := range i.Addresses {
		addr, id, _ := cutPeer(a)
		n, ok := index[id]
		if !ok {
			n = uint32(len(w.Peers))
			index[id], w.Peers = n, append(w.Peers, mustKey(id))
		}
		w.Addrs = append(w.Addrs, addrWire{Peer: n, Addr: addr})
	}
	return sealText(wire.Marshal(w))
}

// ParseInvite reads the text of an invite; blanks and line breaks within are skipped. It checks all
// signatures, and leaves the times to Verify. Errors are Invalid and say what is wrong: no invite,
// cut off, mistyped.
func ParseInvite(s string) (Invite, error) {
	body, err := openText(s)
	if err != nil {
		return Invite{}, err
	}
	var w inviteWire
	if err := wire.Unmarshal("invite", body, &w); err != nil {
		return Invite{}, err
	}
	i, err := w.invite()
	if err != nil {
		return Invite{}, err
	}
	return i, i.check()
}

// invite rebuilds what the wire form left out.
func (w inviteWire) invite() (Invite, error) {
	if len(w.Root) != ed25519.PublicKeySize || len(w.Seed) != ed25519.SeedSize ||
		len(w.Links) == 0 || len(w.Links) > MaxChain {
		return Invite{}, badInvite("malformed", "")
	}
	i := Invite{Root: PeerIDOf(w.Root), Seed: w.Seed}
	i.Fabric = FabricID(i.Root)
	signer := i.Root
	for n, l := range w.Links {
		if n == len(w.Links)-1 {
			l.Subject = i.Bearer().Public().(ed25519.PublicKey)
		}
		if len(l.Subject) != ed25519.PublicKeySize {
			return Invite{}, badInvite("malformed", "")
		}
		g := Grant{
			Fabric: i.Fabric, Subject: PeerIDOf(l.Subject), Role: RoleInvite, NotBefore: l.NotBefore,
			NotAfter: l.NotAfter, Serial: l.Serial, Uses: l.Uses,
		}
		if l.Member {
			g.Role = RoleMember
		}
		i.Chain = append(i.Chain, Envelope{Signer: signer, Payload: wire.Marshal(g), Sig: l.Sig})
		i.Issuer, signer = signer, g.Subject
	}
	for _, a := range w.Addrs {
		if int(a.Peer) >= len(w.Peers) || len(w.Peers[a.Peer]) != ed25519.PublicKeySize {
			return Invite{}, badInvite("an address names no peer", "")
		}
		i.Addresses = append(i.Addresses, a.Addr+"/p2p/"+string(PeerIDOf(w.Peers[a.Peer])))
	}
	return i, nil
}

// cutPeer splits an address at its last /p2p/.
func cutPeer(a string) (addr string, id shoal.PeerID, ok bool) {
	n := strings.LastIndex(a, "/p2p/")
	if n < 0 {
		return a, "", false
	}
	return a[:n], shoal.PeerID(a[n+len("/p2p/"):]), true
}

// mustKey returns the key of an identity that has been checked.
func mustKey(id shoal.PeerID) []byte {
	pub, err := PublicKey(id)
	if err != nil {
		panic(err)
	}
	return pub
}

func badInvite(why, try string) error { return shoal.E(shoal.Invalid, "invite", why, try) }
