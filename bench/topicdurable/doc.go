// Package topicdurable measures how fast messages come into a durable topic, beside NATS JetStream.
package topicdurable
