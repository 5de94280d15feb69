// Package dht finds peers: it is shoal.Directory over a Kademlia DHT (Maymounkov and Mazieres, 2002;
// go-libp2p-kad-dht), and the one room that knows of it.
//
// What is found is a hint; truth is with the peers it names. The DHT has the fabric's own protocol
// prefix and consists of members: a peer enters the routing table, or is answered, once Config.Member
// says that it is one.
//
// Announcing. Keys go to the peers closest to them through kad-dht's SweepingProvider, which batches
// by region of the key space, spreads the work over the interval and repeats it before records
// expire. A peer that enters the table, or comes back, is handed what it should have kept, at once.
// So an announcement is heard within moments in a fabric of two nodes as in one of thousands, no
// matter who started first; a node alone announces to itself.
//
// Keeping. What grows with the number of keys, announcements heard and made, lies in Config.Table and not in memory. It
// is never synced, and thrown away at the next start (see hints).
//
// Looking up. No step waits for a dead peer: each is given Config.Step, or what dials were seen to take (dht/patience), a peer that
// did not answer in time is passed over for a while (see reach), and dialing goes on behind the lookup's back. Records
// about peers, signed by them, lie under /shoal-peer/<peer ID> (see dht/record).
package dht
