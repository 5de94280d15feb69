// Package topic compares fast topics with plain gossipsub and with NATS: one publisher, four subscribers.
package topic
