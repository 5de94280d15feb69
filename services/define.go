package services

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/match"
	"github.com/shoal-fabric/shoal/wire"
)

// What a definition may not exceed.
const (
	MaxPayload   = 1 << 20 // bytes of a payload, and of a reply
	MaxInstances = 10_000
	maxNeeds     = 4 << 10
	maxMethod    = 1 << 10
	nonceBytes   = 16
	DefaultIdle  = time.Minute
	DefaultWait  = 20 * time.Millisecond
)

// Spec is what a service is. At least one of Code and Exec is set.
type Spec struct {
	Name       string        `cbor:"n"`           // as it was created: "name" or "owner/name"
	Code       string        `cbor:"c,omitempty"` // CID of a module
	Exec       string        `cbor:"x,omitempty"` // name of a native executor
	Method     string        `cbor:"m"`
	Min        int           `cbor:"i,omitempty"`
	Max        int           `cbor:"a,omitempty"` // 0: no limit
	Target     time.Duration `cbor:"t"`           // that a call may wait before there are more instances
	Idle       time.Duration `cbor:"d"`           // after which an instance without use goes
	Needs      string        `cbor:"e,omitempty"`
	Idempotent bool          `cbor:"p,omitempty"` // calls may be repeated
	Nonce      []byte        `cbor:"o"`           // no two services are the same
}

// The implementations that a service may have.
const (
	Wasm   = "wasm"
	Native = "exec"
)

// kinds lists the implementations that a service has.
func (s *Spec) kinds() (list []string) {
	if s.Code != "" {
		list = append(list, Wasm)
	}
	if s.Exec != "" {
		list = append(list, Native)
	}
	return list
}

// requirement is what a machine must fulfil for an implementation.
func (s *Spec) requirement(kind string) string {
	if kind == Native {
		return match.Requirement(shoal.ExecCID(s.Exec), s.Needs)
	}
	return s.Needs
}

// check fills in defaults and says what is wrong.
func (s *Spec) check() error {
	what := "service " + s.Name
	bad := func(why, try string) error { return shoal.E(shoal.Invalid, what, why, try) }
	if s.Target == 0 {
		s.Target = DefaultWait
	}
	if s.Idle == 0 {
		s.Idle = DefaultIdle
	}
	switch {
	case s.Code == "" && s.Exec == "":
		return bad("it has no code", "give --code MODULE, --exec NAME, or both")
	case s.Method == "" || len(s.Method) > maxMethod || strings.HasPrefix(s.Method, "_"):
		return bad("no method, or one that cannot be", "name an exported function with --method")
	case s.Min < 0 || s.Max < 0 || s.Min > MaxInstances || s.Max > MaxInstances:
		return bad(fmt.Sprintf("a number of instances that is not from 0 to %d", MaxInstances), "give another")
	case s.Max > 0 && s.Min > s.Max:
		return bad(fmt.Sprintf("at least %d instances and at most %d", s.Min, s.Max), "let --min be no more than --max")
	case s.Target < time.Millisecond || s.Target > time.Hour:
		return bad(fmt.Sprintf("a target of %v", s.Target), "give from 1ms to 1h")
	case s.Idle < time.Second || s.Idle > 24*time.Hour:
		return bad(fmt.Sprintf("an idle time of %v", s.Idle), "give from 1s to 24h")
	case len(s.Needs) > maxNeeds:
		return bad(fmt.Sprintf("a requirement of %d bytes, more than the limit of %d", len(s.Needs), maxNeeds),
			"say it shorter, with a label for what many have in common")
	}
	if s.Code != "" {
		if _, err := shoal.ParseCID(s.Code); err != nil {
			return shoal.Wrap(shoal.Invalid, what, err)
		}
	}
	if s.Exec != "" {
		if err := shoal.CheckExecName(s.Exec); err != nil {
			return shoal.Wrap(shoal.Invalid, what, err)
		}
	}
	if _, err := match.Compile(s.Needs, shoal.Limits{}); err != nil {
		return shoal.Wrap(shoal.Invalid, what+": requirements", err)
	}
	return nil
}

// seal gives a spec its nonce, and returns its bytes and the key that they have.
func (s *Spec) seal() (sealed []byte, key shoal.Key) {
	s.Nonce = make([]byte, nonceBytes)
	_, _ = rand.Read(s.Nonce) // it never fails
	sealed = wire.Marshal(s)
	return sealed, keyOf(sealed)
}

// keyOf is the key of a service: whoever has its bytes can tell that they are the right ones.
func keyOf(sealed []byte) shoal.Key { return shoal.DataKey(shoal.BlockCID(sealed)) }

// open reads a spec, of which key is the key.
func open(key shoal.Key, sealed []byte) (*Spec, error) {
	if keyOf(sealed) != key {
		return nil, shoal.E(shoal.Invalid, "service", "what it is does not match its key", "")
	}
	var s Spec
	if err := wire.Unmarshal("service", sealed, &s); err != nil {
		return nil, err
	}
	if len(s.Nonce) != nonceBytes {
		return nil, shoal.E(shoal.Invalid, "service "+s.Name, "its nonce has the wrong length", "")
	}
	return &s, s.check()
}
