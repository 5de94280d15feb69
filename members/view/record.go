package view

import (
	"crypto/ed25519"
	"math"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/wire"
)

// Domains under which facts are signed.
const (
	recordDomain    = "member"
	departureDomain = "departure"
)

// Record is what a member says of itself. The signer of its envelope is the member.
type Record struct {
	Fabric     string           `cbor:"f"`
	Life       uint64           `cbor:"l"` // of the membership, from the member's credential
	Seq        uint64           `cbor:"q"` // grows with each record of this life, over restarts too
	At         int64            `cbor:"t"` // unix milliseconds, by the signer's clock
	TTL        uint32           `cbor:"v"` // seconds for which it holds; a new one comes well before
	Addresses  []string         `cbor:"a"` // multiaddrs without /p2p
	Attributes shoal.Attributes `cbor:"d"`
	Load       shoal.Load       `cbor:"o"`
}

// Seal signs r.
func (r Record) Seal(key ed25519.PrivateKey) (capability.Envelope, error) {
	if err := r.check("this node's record"); err != nil {
		return capability.Envelope{}, err
	}
	payload := wire.Marshal(r)
	if len(payload) > wire.MaxRecord {
		return capability.Envelope{}, shoal.E(shoal.Invalid, "this node's record", "longer than 16 KiB",
			"use fewer or shorter labels")
	}
	return capability.Seal(key, recordDomain, payload), nil
}

// OpenRecord verifies and decodes a record of fabric. Errors are Invalid or Refused.
func OpenRecord(e capability.Envelope, fabric string) (Record, error) {
	r, err := readRecord(e, fabric)
	if err == nil {
		_, err = e.Open(recordDomain)
	}
	return r, err
}

// readRecord decodes a record and does not look at the signature.
func readRecord(e capability.Envelope, fabric string) (Record, error) {
	var r Record
	if len(e.Payload) > wire.MaxRecord {
		return r, invalid("record of "+e.Signer.Short(), "longer than 16 KiB")
	}
	if err := wire.Unmarshal("record of "+e.Signer.Short(), e.Payload, &r); err != nil {
		return r, err
	}
	if r.Fabric != fabric {
		return r, shoal.E(shoal.Refused, "record of "+e.Signer.Short(), "from another fabric", "")
	}
	return r, r.check("record of " + e.Signer.Short())
}

// Member returns the row for r; states and times are left to the caller.
func (r Record) Member(id shoal.PeerID) shoal.Member {
	return shoal.Member{ID: id, Addresses: r.Addresses, Attributes: r.Attributes, Load: r.Load, Seq: r.Seq}
}

// Departure says that the memberships of Subject up to Life are over.
type Departure struct {
	Fabric    string           `cbor:"f"`
	Subject   shoal.PeerID     `cbor:"s"`
	Life      uint64           `cbor:"l"`
	Forgotten bool             `cbor:"x,omitempty"` // declared dead for good; else Subject left, and signs
	At        int64            `cbor:"t"`           // unix milliseconds, by the signer's clock
	Chain     capability.Chain `cbor:"c,omitempty"` // the signer's credential, if it is not Subject
}

// State returns Left or Forgotten.
func (d Departure) State() shoal.MemberState {
	if d.Forgotten {
		return shoal.Forgotten
	}
	return shoal.Left
}

// Seal signs d.
func (d Departure) Seal(key ed25519.PrivateKey) capability.Envelope {
	return capability.Seal(key, departureDomain, wire.Marshal(d))
}

// OpenDeparture verifies and decodes a departure from fabric. Errors are Invalid or Refused.
func OpenDeparture(e capability.Envelope, fabric string, now time.Time) (Departure, error) {
	d, err := readDeparture(e, fabric)
	if err != nil {
		return d, err
	}
	return d, d.verify(e, now)
}

// verify checks the signature, and that the signer may say so.
func (d Departure) verify(e capability.Envelope, now time.Time) error {
	if _, err := e.Open(departureDomain); err != nil {
		return err
	}
	if !d.Forgotten {
		if e.Signer != d.Subject {
			return shoal.E(shoal.Refused, "departure of "+d.Subject.Short(), "not signed by itself", "")
		}
		return nil
	}
	_, err := d.Chain.Verify(d.Fabric, e.Signer, capability.RoleMember, now)
	return err
}

// readDeparture decodes a departure and does not look at signatures.
func readDeparture(e capability.Envelope, fabric string) (Departure, error) {
	var d Departure
	if len(e.Payload) > 2*wire.MaxRecord {
		return d, invalid("departure", "longer than 32 KiB")
	}
	if err := wire.Unmarshal("departure", e.Payload, &d); err != nil {
		return d, err
	}
	if _, err := capability.PublicKey(d.Subject); err != nil {
		return d, err
	}
	switch {
	case d.Fabric != fabric:
		return d, shoal.E(shoal.Refused, "departure of "+d.Subject.Short(), "from another fabric", "")
	case d.Life == 0 || d.Life > math.MaxInt64:
		return d, invalid("departure", "life out of bounds")
	}
	return d, nil
}

func invalid(what, why string) error {
	return shoal.E(shoal.Invalid, what, why, "check that both nodes run the same version of shoal")
}
