// Package storage keeps a node's bytes on its disk: blocks under their CID, and the small state of
// rooms. It is the only room that touches the node's directory through Pebble.
//
// What it promises: what Put and Set acknowledged survives kill -9 and power loss; a block whose
// bytes no longer match its CID is never handed out; a full disk refuses writes with kind Full while
// reads go on; one directory is used by one process.
//
//	DIR/lock        held while a node runs here; DIR/owner says which process
//	DIR/kv/         Pebble: the KV of every room, keys prefixed with the room's name
//	DIR/tmp/        blocks being written; emptied at Open
//	DIR/blocks/xx/  one file per block, named by its CID, in 64 folders by hash
//
// A block may also lie in place, in a file of the user's: the KV then says in which (places.go). Such
// files are only read, through the operating system.
//
// A block is written as LWN and others teach for journaling file systems: to a temporary file, sync
// the file, rename, sync the folder. A Put writes its files in parallel, then syncs them in parallel,
// so that one commit of the file system's journal has them all, then syncs each folder it touched once;
// concurrent Puts share the folder syncs. All access goes through Pebble's
// vfs.FS, so that tests can drop unsynced bytes, fill the disk and flip bits.
package storage
