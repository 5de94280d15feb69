// Package spread decides which peers keep which partitions, and which copies a repair must make. It
// is a pure function of what the caller knows.
//
// The rule is greedy list scheduling (Graham 1969) with R distinct machines for each job: the largest
// partition first, each copy to the peer with the smallest share so far. With equal peers the fullest
// then exceeds the emptiest by one partition at most. On top of it: a copy goes to a zone that has
// none yet, as long as that does not load a peer with more than twice its part; a peer with little
// free space gets little, and never more than fits; ties fall to a peer that has the bytes already,
// then by a hash of the dataset's name and the peer, so that small datasets do not all meet on one peer.
package spread
