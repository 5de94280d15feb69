// Package pubsub is a node's part in the fabric's topics: names to which messages are sent, whoever is bound to them and wherever
// that lives.
package pubsub
