package view

import (
	"crypto/ed25519"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/wire"
)

// Domains under which facts are signed.
const (
	recordDomain    = "member"
	departureDomain = "departure"
)

// Limits of a record; one beyond them is refused as Invalid.
const (
	maxAddresses = 32
	maxAddress   = 256 // bytes
	maxLabels    = 64
	maxText      = 256 // bytes of a label, model, version
	maxGPUs      = 64
	maxExecutors = 64
	minTTL       = 5         // seconds
	maxTTL       = 24 * 3600 // seconds
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
	if err := r.check(); err != nil {
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
		return r, invalid("record", "longer than 16 KiB")
	}
	if err := wire.Unmarshal("record", e.Payload, &r); err != nil {
		return r, err
	}
	if r.Fabric != fabric {
		return r, shoal.E(shoal.Refused, "record of "+e.Signer.Short(), "from another fabric", "")
	}
	return r, r.check()
}

func (r Record) check() error {
	a := r.Attributes
	switch {
	case r.Life == 0 || r.Life > math.MaxInt64 || r.Seq == 0:
		return invalid("record", "no life or sequence number")
	case r.TTL < minTTL || r.TTL > maxTTL:
		return invalid("record", "time to live out of bounds")
	case len(r.Addresses) > maxAddresses || len(a.Labels) > maxLabels || len(a.GPUs) > maxGPUs || len(a.Executors) > maxExecutors:
		return invalid("record", "too many addresses, labels, GPUs or executors")
	case a.CPUs < 0 || r.Load.Slots < 0 || r.Load.Running < 0 || r.Load.Queued < 0:
		return invalid("record", "a count is negative")
	case !sane(a.HashMBs) || !sane(r.Load.TaskSecs):
		return invalid("record", "a measurement is no number")
	case !texts(maxText, a.OS, a.Arch, a.Version):
		return invalid("record", "os, arch or version is no short printable text")
	}
	for _, s := range r.Addresses {
		if !strings.HasPrefix(s, "/") || !texts(maxAddress, s) {
			return invalid("record", "an address is malformed")
		}
	}
	for k, v := range a.Labels {
		if k == "" || !texts(maxText, k, v) {
			return invalid("record", "a label is no short printable text")
		}
	}
	for _, g := range a.GPUs {
		if !texts(maxText, g.Vendor, g.Model, g.ID) {
			return invalid("record", "the name of a GPU is no short printable text")
		}
	}
	for _, name := range a.Executors {
		if err := shoal.CheckExecName(name); err != nil {
			return shoal.Wrap(shoal.Invalid, "record", err)
		}
	}
	return nil
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

func sane(f float64) bool { return f >= 0 && !math.IsInf(f, 0) }

// texts reports whether each string is printable and at most limit bytes.
func texts(limit int, list ...string) bool {
	for _, s := range list {
		if len(s) > limit || !utf8.ValidString(s) {
			return false
		}
		for _, r := range s {
			if !unicode.IsPrint(r) {
				return false
			}
		}
	}
	return true
}
