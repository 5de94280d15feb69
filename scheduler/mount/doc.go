// Package mount makes one read-only folder of a task's inputs: /data, with an entry for each. Files
// keep what they can do: reading at an offset, seeking, listing, links. Nothing is copied.
//
// The package is pure: it opens only what it is given.
package mount
