// Package topic is what a topic is: its definition, its messages, what is bound to it, who takes part in it, and the native
// behaviour of the agent that keeps all that, so that it outlives every machine. It is pure.
//
// A topic is an agent with the code Code, under a name in its owner's directory that begins with Prefix. What is sent to it
// is either fast, from the publisher's node straight to those that are bound or subscribe, at best effort; or durable: then
// the agent keeps it in a log (pubsub/log) until everybody who is to have it has acknowledged it.
package topic
