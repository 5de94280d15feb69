// Package log is the log of a durable topic and the positions of its consumers, as functions over an agent's state. It is pure.
package log
