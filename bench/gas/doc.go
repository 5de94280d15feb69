// Package gas measures what metering costs: the same guests through the sandbox, whose modules are rewritten
// with a gas counter, and through the bare engine.
package gas
