// Package cast brings the messages of fast topics from the nodes that publish to those that subscribe, at best effort: in their
// order for each publisher, each once, and with gaps told where some are lost for good.
package cast
