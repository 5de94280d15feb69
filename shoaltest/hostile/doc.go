// Package hostile holds guests that mean no good: each meets one limit, by its own way. The tests of the
// sandbox and of the node run them, and the benchmark of that name reports on all of them. It also has what
// they are put together with.
package hostile
