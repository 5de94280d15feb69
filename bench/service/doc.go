// Package service measures functions under a name: batches of ten messages beside the same work over Redis lists, and how
// instances follow a load from nothing to 500 calls a second and back to nothing.
package service
