package capability

import (
	"crypto/ed25519"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// Envelope is bytes signed by an identity for one purpose, the domain, which both sides know and
// the envelope does not say.
type Envelope struct {
	Signer  shoal.PeerID `cbor:"s"`
	Payload []byte       `cbor:"p"`
	Sig     []byte       `cbor:"g"`
}

// Seal signs payload with key for domain. The envelope keeps payload itself, not a copy. A domain
// is a constant of the caller's and holds no NUL; Seal panics if it does.
func Seal(key ed25519.PrivateKey, domain string, payload []byte) Envelope {
	return Envelope{
		Signer:  PeerIDOf(key.Public().(ed25519.PublicKey)),
		Payload: payload,
		Sig:     ed25519.Sign(key, signed(domain, payload)),
	}
}

// Open returns the payload, not copied, if Signer signed it for domain. A signer that is no
// identity is Invalid, a signature that does not fit is Refused.
func (e Envelope) Open(domain string) ([]byte, error) {
	pub, err := PublicKey(e.Signer)
	if err != nil {
		return nil, err
	}
	if len(e.Sig) != ed25519.SignatureSize || !verify(pub, signed(domain, e.Payload), e.Sig) {
		return nil, shoal.E(shoal.Refused, domain+" of "+e.Signer.Short(), "the signature does not fit", "")
	}
	return e.Payload, nil
}

// signed returns the bytes that are signed. The NUL ends the domain, so that no domain and payload
// can be read as another pair.
func signed(domain string, payload []byte) []byte {
	if strings.IndexByte(domain, 0) >= 0 {
		panic("capability: NUL in domain")
	}
	b := make([]byte, 0, len("shoal/")+len(domain)+1+len(payload))
	b = append(b, "shoal/"...)
	b = append(b, domain...)
	b = append(b, 0)
	return append(b, payload...)
}
