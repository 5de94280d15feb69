// Package expr evaluates requirements on peers: expressions in CEL, Google's Common Expression
// Language (cel.dev), over what a peer says of itself. "cpus >= 8 && gpus.exists(g, g.memory >=
// gib(16))" is one.
//
// An expression is compiled once and matched against many peers. It promises that
//
//   - an error of Compile names the column, and the variables there are;
//   - a peer that does not match is told why: the first part of the conjunction that failed, with
//     the peer's value;
//   - no expression takes long, whatever its author wanted: its length, its nesting and the cost of
//     each evaluation are bounded;
//   - every peer that matches has announced each of the expression's Keys, so that a directory can
//     find it.
//
// Versions are compared by version("550.54"); as text, "99" is above "550". What is not known is zero or
// empty, so that it fulfils no requirement of some amount at least.
//
// A label or list element that a peer does not have makes the part that needs it fail, as a false
// one would; it is no error. has(labels.zone) asks.
package expr
