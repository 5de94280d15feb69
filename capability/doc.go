// Package capability says who may do what in a fabric, as values that anybody can check.
//
// An identity is an Ed25519 key in libp2p's text form. An Envelope is bytes that an identity signed
// for one purpose. A Chain of envelopes leads from a fabric's root key to a subject: each link is a
// Grant, signed by the subject of the link before it. An Invite is a chain to a bearer key, that key,
// and addresses, as one line of text that survives copying and pasting, or says how it did not.
//
// Everything here is a pure function of its arguments: nothing is stored, looked up or timed, and
// nothing is revoked; the members room does that. Signatures are Ed25519 (RFC 8032) over
// "shoal/" + purpose + NUL + payload, so that a signature for one purpose is none for another.
// Delegation by signed chain follows SPKI (RFC 2693), cut down to two roles.
package capability
