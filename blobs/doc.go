// Package blobs turns files into graphs of blocks and graphs into files, and exchanges blocks with
// any bitswap client. It is the hand that holds boxo; nobody else imports it.
//
// The graphs are UnixFS as kubo writes it under the profile unixfs-v1-2025 (IPIP-499): CIDv1,
// SHA2-256, raw leaves of 1 MiB, 1024 links to a file node, directories sharded by HAMT once their
// node would pass 256 KiB, no modes and no times. The same content with the same options has the
// same root on every machine; with Split bytes or files it is also the root that kubo computes.
//
// What it promises:
//
//   - Import streams: memory does not grow with the size of a file. It grows with the entries of the
//     largest folder, a few hundred bytes each.
//   - Partitions are graphs of their own over the leaves of the dataset. Read in order, each in the
//     order of fs.WalkDir, their contents are the contents of the dataset.
//   - Graphs come from strangers. Every reader bounds what it decodes and follows: names, depths,
//     sizes that do not add up and hash functions that bind nothing fail with Invalid, never with a
//     panic or without end. A Getter hands out verified blocks; blobs does not hash them again.
//   - Bitswap serves members everything and strangers only what Config.Public names.
package blobs
