// Package members decides who belongs to the fabric, and keeps what this node believes of the others.
//
// Admission. Membership is a chain of signed grants from the fabric's root key to a node (package
// capability). A node gets one by founding the fabric, by an invite, or by a code that a member
// approves. Admit is the gate that other rooms stand behind: the first time a peer is met the two
// show one another their chains through the host's door, and the verdict is kept for a while.
//
// The table. Each member signs a record of its addresses, attributes and load; records spread by
// pushes of news to a few random peers each second and by pulls of what was missed, on each new
// connection and every 15 seconds (package view has the rules). What a node learns is kept in its KV,
// so that it finds the fabric again after a restart without the peer that invited it.
//
// Liveness is measured, by small questions to the peers in contact, and is this node's own opinion:
// Suspect about three seconds after a peer stopped answering, Down after thirty, Alive again with the
// first answer. A member is gone for good when it leaves or is forgotten; a signed departure then
// spreads, and outlives every record and credential of that membership. Who departed must join anew.
//
// The code of JoinLAN has 60 bits. Forty are a deliberately slow hash of the joiner's key and a
// nonce, so that another machine on the network would need 2^58 hashes within ten minutes to ask
// under the same code; twenty are a secret that only the two operators see, by which the joiner knows
// that the fabric it enters is the one where the code was typed.
//
// Members never sees a socket: deps.go has what it needs of the network.
package members
