package capability

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// The roles that a grant may give. A member may grant both; an invite's bearer may grant nothing.
const (
	RoleMember = "member"
	RoleInvite = "invite"
)

// Limits of a chain, kept by both sides.
const (
	MaxChain  = 64               // links
	MaxSerial = 64               // bytes of a grant's serial
	Skew      = 10 * time.Minute // how far a signer's clock may run ahead of the verifier's
)

// grantDomain is the purpose for which links are sealed.
const grantDomain = "grant"

// Grant says that a subject has a role in a fabric.
type Grant struct {
	Fabric    string       `cbor:"f"`
	Subject   shoal.PeerID `cbor:"s"`
	Role      string       `cbor:"r"`           // RoleMember or RoleInvite
	NotBefore int64        `cbor:"b,omitempty"` // unix seconds, 0: none; checked with an allowance of Skew
	NotAfter  int64        `cbor:"a,omitempty"` // unix seconds, 0: none; checked exactly, by the verifier's clock
	Serial    string       `cbor:"n,omitempty"` // chosen by the signer, to name this grant later
	Uses      int          `cbor:"u,omitempty"` // how often an invite may be redeemed, 0: no limit; its signer counts
}

// Chain is a line of grants, root first. Link i is signed by the subject of link i-1, the first by
// the fabric's root.
type Chain []Envelope

// Extend returns c with one more link, g signed by key; c is not changed. key must be the subject
// of c's last link, or the fabric's root when c is empty. It fails with Refused when c may not be
// extended and with Invalid when g is malformed.
func (c Chain) Extend(key ed25519.PrivateKey, g Grant) (Chain, error) {
	out := append(c[:len(c):len(c)], Seal(key, grantDomain, wire.Marshal(g)))
	if _, err := out.walk(g.Fabric, time.Time{}); err != nil {
		return nil, err
	}
	return out, nil
}

// Verify checks that c leads from the root of fabric to subject in role, and that every link holds
// at now. It returns the last grant. A malformed chain is Invalid; one that proves nothing, or
// something else, or no longer, is Refused.
func (c Chain) Verify(fabric string, subject shoal.PeerID, role string, now time.Time) (Grant, error) {
	if now.IsZero() {
		return Grant{}, shoal.E(shoal.Invalid, "credential", "checked without a time", "")
	}
	last, err := c.walk(fabric, now)
	switch {
	case err != nil:
		return Grant{}, err
	case last.Subject != subject:
		return Grant{}, refused("it was given to " + last.Subject.Short() + ", not to " + subject.Short())
	case last.Role != role:
		return Grant{}, refused("it gives the role '" + last.Role + "', not '" + role + "'")
	}
	return last, nil
}

// walk checks every link; the zero time leaves the times out.
func (c Chain) walk(fabric string, now time.Time) (Grant, error) {
	switch {
	case len(c) == 0:
		return Grant{}, refused("it is empty")
	case len(c) > MaxChain:
		return Grant{}, invalid(fmt.Sprintf("it has %d links, more than %d", len(c), MaxChain),
			"join through a member nearer to the fabric's root")
	case FabricID(c[0].Signer) != fabric:
		return Grant{}, refused("it is from another fabric")
	}
	g := Grant{Subject: c[0].Signer, Role: RoleMember} // the root may do what a member may
	for i, link := range c {
		if link.Signer != g.Subject || g.Role != RoleMember {
			return Grant{}, refused(fmt.Sprintf("link %d was signed by %s, who could not grant it",
				i+1, link.Signer.Short()))
		}
		next, err := openGrant(link)
		if err != nil {
			return Grant{}, shoal.Wrap(shoal.Invalid, fmt.Sprintf("credential, link %d", i+1), err)
		}
		if err := next.check(fabric, now); err != nil {
			return Grant{}, err
		}
		g = next
	}
	return g, nil
}

// openGrant decodes a link. The payload must be the one canonical encoding of its grant, so that a
// chain can be rebuilt from grants and signatures.
func openGrant(e Envelope) (Grant, error) {
	var g Grant
	payload, err := e.Open(grantDomain)
	if err != nil {
		return g, err
	}
	if err := wire.Unmarshal("grant", payload, &g); err != nil {
		return g, err
	}
	if !bytes.Equal(wire.Marshal(g), payload) {
		return g, shoal.E(shoal.Invalid, "grant", "not in canonical form",
			"check that both nodes run the same version of shoal")
	}
	return g, nil
}

// check holds a grant against its fabric and the time; the zero time leaves the time out.
func (g Grant) check(fabric string, now time.Time) error {
	if _, err := PublicKey(g.Subject); err != nil {
		return shoal.Wrap(shoal.Invalid, "credential", err)
	}
	switch {
	case g.Fabric != fabric:
		return refused("it is from another fabric")
	case g.Role != RoleMember && g.Role != RoleInvite:
		return invalid("the role of "+g.Subject.Short()+" is unknown",
			"check that both nodes run the same version of shoal")
	case len(g.Serial) > MaxSerial || g.Uses < 0 || g.NotBefore < 0 || g.NotAfter < 0:
		return invalid("a field of the grant to "+g.Subject.Short()+" is out of bounds", "")
	case now.IsZero():
		return nil
	case g.NotBefore != 0 && now.Add(Skew).Unix() < g.NotBefore:
		return shoal.E(shoal.Refused, "credential", fmt.Sprintf("it holds from %s on; the clock here says %s",
			stamp(g.NotBefore), stamp(now.Unix())), "set the clocks of both machines")
	case g.NotAfter != 0 && now.Unix() >= g.NotAfter:
		return shoal.E(shoal.Refused, "credential", fmt.Sprintf("it expired at %s; the clock here says %s",
			stamp(g.NotAfter), stamp(now.Unix())), "ask a member for a new invite: shoal invite")
	}
	return nil
}

func refused(why string) error { return shoal.E(shoal.Refused, "credential", why, "") }

func invalid(why, try string) error { return shoal.E(shoal.Invalid, "credential", why, try) }

// stamp shows a time in UTC, so that people on two machines compare the same figures.
func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05 UTC") }
