// Package api is the door for programs: HTTP under /v1 on the node's Unix socket, and on TCP, with
// a token, when the operator asks for it. Server serves a node; Client is what the command line
// uses. Bodies are JSON; verbs that take time answer with one JSON event per line and end with a
// "result" or an "error" event.
package api
