// Package hostile reports how a node fares under guests that mean no good: how soon each is stopped after its
// limit, and what becomes of pings, of a ticker and of collections meanwhile.
package hostile
