package shoal

import (
	"time"

	"github.com/ipfs/go-cid"
)

// Split says what a partition may not cut.
type Split string

// The ways to split a dataset.
const (
	SplitAuto  Split = ""      // files for a folder, lines for one text file, bytes for any other
	SplitFiles Split = "files" // a partition holds whole files
	SplitLines Split = "lines" // a partition may cut a file, but only at the end of a line
	SplitBytes Split = "bytes" // a partition may cut anywhere
)

// Manifest describes a dataset: a UnixFS graph whose leaves are grouped into partitions. Each
// partition is a UnixFS graph of its own over the same leaves, so that it can be mounted, kept and
// fetched like any dataset. Every peer that holds a part of the dataset keeps its manifest.
type Manifest struct {
	Root       cid.Cid     `cbor:"root"`
	Name       string      `cbor:"name"` // base name of what was put; the folder under /data
	Split      Split       `cbor:"split"`
	Bytes      uint64      `cbor:"bytes"` // of content
	Public     bool        `cbor:"public,omitempty"`
	Replicas   int         `cbor:"replicas"`        // the number of copies to keep
	Needs      string      `cbor:"needs,omitempty"` // CEL: what a member must fulfil to be given copies
	Partitions []Partition `cbor:"partitions"`
}

// Partition is the unit of spreading and of 'run --each'. Partitions of a dataset have names in
// order, and their contents, concatenated, are the dataset's.
type Partition struct {
	CID   cid.Cid `cbor:"cid"`
	Bytes uint64  `cbor:"bytes"` // of content
}

// Holder is what a peer says of its part of a dataset.
type Holder struct {
	Peer       PeerID
	Partitions []int     // indexes into Manifest.Partitions, ascending
	Extra      []int     // of these, the copies beyond the replicas asked for: the peer keeps them while that pays
	Bytes      uint64    // of content held
	Asked      time.Time // when the peer said so
}
