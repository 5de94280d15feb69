// Package rates is what a node learns of peers and modules by the tasks it sends: how fast, against what was said, and how
// far a peer's offers can be relied on. It is this node's own experience: nobody is told, and it fades.
//
//   - A strike is a task that a peer offered to take and never ran: StrikeSeconds are added to what the peer costs, half
//     as many after Halving, and its data does not pull meanwhile. So others are asked first, for a while.
//   - A peer's factor is how much longer tasks run there than the speed that it says of its cores, and what
//     is known of the module, lets expect. It is never below 1, or whoever was tried first would seem fast beside
//     those never tried, and fades to 1.
//   - A module's effort is what its runs took, in seconds times the speed of the core, and its gas rate.
//
// The package is pure. A Book is bounded, can be encoded, and is not safe for concurrent use. Without it, after a
// restart say, peers are trusted and modules unknown.
package rates
