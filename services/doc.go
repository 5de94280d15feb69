// Package services runs stateless functions under a name. A mind.
//
// What a service is stands under its name in a directory of agents' names, and never changes: its ID is a hash of it.
// Instances are nobody's property: a host opens them when calls wait longer than the service wants, up to its own slots,
// and closes those that it has no use for (services/scale decides). Each host knows of the others what callers and they
// themselves told it within the last seconds.
//
// A caller sends a call to a host that it knows to have instances: of two, itself first, the one where the call is likely
// to be done earlier. A host whose queue is past the target, and that cannot grow, refuses and names others; the caller
// then asks another peer to open an instance (by the cost of scheduler/cost, of those that fit), and lets the call wait
// where it waits least. So there is no balancer, and no list of instances that somebody must keep.
//
// A call happens at most once, unless the service says that it may be repeated: it is sent again only if it was refused, or
// never left.
package services
