// Package shoaltest is the testbed: for each contract of the ground an in-memory double and an
// exported conformance suite.
//
// A double keeps the whole contract, holds everything in memory, and lets a test break things on
// purpose; minds are tested against doubles alone and never compile a network or a database. A
// suite (TestPeers, TestStore, ...) states the contract as tests that any implementation must pass:
// the doubles run it here, the real hands run it in their own rooms, so that a mind which works
// over the double works over the hand.
//
// Doubles read no real time of their own and block on nothing but channels and condition variables:
// inside a testing/synctest bubble their delays take virtual time.
package shoaltest
