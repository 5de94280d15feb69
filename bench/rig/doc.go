// Package rig is the instrument of the benchmarks: it starts worker processes and pins them, takes turns
// between ours and theirs, keeps the raw samples, and turns these, and nothing else, into figures.
//
// What is compared is measured in one run, in rounds: each round measures every kind once, in an order
// drawn from the seed, and the first round is dropped. A ratio is the median of the rounds' ratios, so
// what slows the machine for a while slows both sides of it.
package rig
