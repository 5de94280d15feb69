// Package gravity says when what is paid for the distance between code and data is worth moving one of
// them. It is pure: observations go in (who paid how many seconds for reads from where, what moving
// would cost, which sites fit), a decision with both costs comes out. It moves nothing.
//
// A Ledger is for a thing that has one place, an agent or a replica: online page migration (Black and
// Sleator, Competitive algorithms for replication and migration problems, 1989). It keeps the work
// function of that problem on a uniform network: for each site the least that a plan, made in hindsight
// and ending there, would have paid. Once the thing's own site is dearer than the best one by the price
// of a move, the thing moves there. What it pays in all is at most 3+x/d times the best plan in
// hindsight, plus d: d is the price of a move, x the greatest single payment; with payments that divide
// the price it is 3 times. Proof: with g the work function above its least value, 2 times the sum of
// d-g over the sites where the thing is not, less g where it is, is a potential. The tests hold it
// against dynamic programming.
//
// A Copy is for what is bought once: ski rental. A site buys a copy when the rent, the time its reads
// have taken, would pass the price: at most 2 times the best plan in hindsight.
//
// Hysteresis is in the ledger: a thing that moved goes back only after twice the price was paid for
// the distance to its old site. Two agents that call one another are kept from chasing each other round by
// Follows: of two, one alone counts what their calls cost, always the same one, so it comes and the other stays.
//
// What the bounds do not say: prices here differ from site to site and change with the state's size; the bound holds
// with d the greatest over the least as a further factor. A dataset that several sites hold is counted at the one that
// served it, so callers should let the same one serve as long as it does.
package gravity
