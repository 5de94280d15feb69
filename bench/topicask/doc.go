// Package topicask measures a request and its reply through a topic, beside a call of the same agent and NATS.
package topicask
