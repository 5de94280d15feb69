package agents

import (
	"crypto/ed25519"
	"fmt"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/wire"
)

// Genesis is the record of an agent's birth. The agent's key is the hash of the signed record, so that one
// key has one birth.
type Genesis struct {
	Fabric   string         `cbor:"f"`
	Owner    shoal.PeerID   `cbor:"o"`
	Name     string         `cbor:"n"` // in the owner's directory
	Nonce    []byte         `cbor:"x"`
	Code     string         `cbor:"c"`           // CID of a module, or the name of native code
	Replicas int            `cbor:"r"`           // keepers wanted: 1, 3 or 5
	Keepers  []group.Keeper `cbor:"k"`           // the first ones
	At       int64          `cbor:"a"`           // Unix milliseconds
	Needs    string         `cbor:"e,omitempty"` // what a peer must be to become a keeper: an expression over attributes
}

// maxNeeds bounds a requirement, in bytes.
const maxNeeds = 4096

const (
	sealGenesis = "agent-genesis"
	sealOwner   = "agent-owner"
	// NativeCode begins the code IDs of what comes with the node.
	NativeCode = "native:"
	// DirectoryCode is the code of directories.
	DirectoryCode = NativeCode + "directory"
	directoryName = "directory"
)

// seal signs a genesis. The owner's key signs, or that of a member that acts for the owner.
func (g *Genesis) seal(key ed25519.PrivateKey) (sealed []byte, k shoal.Key) {
	sealed = wire.Marshal(capability.Seal(key, sealGenesis, wire.Marshal(g)))
	return sealed, keyOf(sealed)
}

func keyOf(sealed []byte) shoal.Key { return shoal.DataKey(shoal.BlockCID(sealed)) }

// openGenesis verifies a signed genesis of a fabric and returns it with its key and its signer.
func openGenesis(fabric string, sealed []byte) (*Genesis, shoal.Key, shoal.PeerID, error) {
	what := "genesis of an agent"
	bad := func(why string) (*Genesis, shoal.Key, shoal.PeerID, error) {
		return nil, "", "", shoal.E(shoal.Invalid, what, why, "")
	}
	if len(sealed) > directory.MaxGenesis {
		return bad("too long")
	}
	var env capability.Envelope
	if err := wire.Unmarshal(what, sealed, &env); err != nil {
		return nil, "", "", err
	}
	b, err := env.Open(sealGenesis)
	if err != nil {
		return nil, "", "", shoal.Wrap(shoal.Invalid, what, err)
	}
	var g Genesis
	if err := wire.Unmarshal(what, b, &g); err != nil {
		return nil, "", "", err
	}
	switch {
	case g.Fabric != fabric:
		return bad("of another fabric")
	case g.Replicas < 1 || g.Replicas > MaxReplicas || g.Replicas%2 == 0:
		return bad(fmt.Sprintf("%d keepers wanted: 1, 3 or 5 are possible", g.Replicas))
	case len(g.Keepers) == 0 || len(g.Keepers) > g.Replicas || len(g.Keepers) == 2:
		return bad(fmt.Sprintf("%d first keepers", len(g.Keepers)))
	case len(g.Needs) > maxNeeds:
		return bad("its requirement is too long")
	case g.Code == "" || len(g.Code) > 128 || len(g.Nonce) != 16:
		return bad("no code or nonce")
	}
	seen := map[shoal.PeerID]bool{}
	for _, k := range g.Keepers {
		if k.Store == "" || len(k.Store) > 64 || seen[k.Peer] {
			return bad("impossible keepers")
		}
		seen[k.Peer] = true
	}
	if err := directory.CheckName(g.Name); err != nil {
		return nil, "", "", err
	}
	return &g, keyOf(sealed), env.Signer, nil
}

// Manifest says which code an agent runs since an upgrade. Its owner signs, or a member that acts for the owner;
// numbers grow by one.
type Manifest struct {
	Fabric string `cbor:"f"`
	Agent  []byte `cbor:"k"` // key
	Number uint64 `cbor:"n"`
	Code   string `cbor:"c"`
	At     int64  `cbor:"a"` // Unix milliseconds
}

const sealManifest = "agent-manifest"

func (m *Manifest) seal(key ed25519.PrivateKey) []byte {
	return wire.Marshal(capability.Seal(key, sealManifest, wire.Marshal(m)))
}

// openManifest verifies a signed manifest of an agent, and returns it with its signer.
func openManifest(fabric string, agent shoal.Key, sealed []byte) (m Manifest, signer shoal.PeerID, err error) {
	what := "manifest of an agent"
	if len(sealed) > directory.MaxGenesis {
		return m, "", shoal.E(shoal.Invalid, what, "too long", "")
	}
	var env capability.Envelope
	if err := wire.Unmarshal(what, sealed, &env); err != nil {
		return m, "", err
	}
	b, err := env.Open(sealManifest)
	if err != nil {
		return m, "", shoal.Wrap(shoal.Invalid, what, err)
	}
	if err := wire.Unmarshal(what, b, &m); err != nil {
		return m, "", err
	}
	if m.Fabric != fabric || string(m.Agent) != string(agent) || m.Number == 0 || m.Code == "" || len(m.Code) > 128 {
		return m, "", shoal.E(shoal.Invalid, what, "for another agent or fabric, or without a number or code", "")
	}
	return m, env.Signer, nil
}

// readGenesis reads a record of this node's own disk, where only verified ones are: a look at all agents takes a
// tenth of the time without their signatures.
func readGenesis(sealed []byte) (*Genesis, error) {
	var env capability.Envelope
	var g Genesis
	err := wire.Unmarshal("genesis of an agent", sealed, &env)
	if err == nil {
		err = wire.Unmarshal("genesis of an agent", env.Payload, &g)
	}
	return &g, err
}

// KeyText is how people write an agent's key: the CID of its genesis record.
func KeyText(k shoal.Key) string {
	return cid.NewCidV1(cid.Raw, []byte(k)).String()
}

// parseAgent reads what a user typed: a key, "name" or "owner/name".
func parseAgent(s string) (key shoal.Key, owner shoal.PeerID, name string, err error) {
	if owner, name, ok := strings.Cut(s, "/"); ok && !strings.HasPrefix(s, directory.Paths) {
		if err := directory.CheckName(name); err != nil {
			return "", "", "", err
		}
		return "", shoal.PeerID(owner), name, nil
	}
	if len(s) > 48 && strings.HasPrefix(s, "b") {
		if c, err := shoal.ParseCID(s); err == nil {
			return shoal.DataKey(c), "", "", nil
		}
	}
	return "", "", s, directory.CheckName(s)
}

// ownerRecord says which agent is the directory of an owner: signed by the owner, numbered.
type ownerRecord struct {
	Fabric    string `cbor:"f"`
	Directory []byte `cbor:"d"`
	Number    uint64 `cbor:"n"`
	Genesis   []byte `cbor:"g"` // of the directory: who its first keepers were
}

func sealOwnerRecord(key ed25519.PrivateKey, r ownerRecord) []byte {
	return wire.Marshal(capability.Seal(key, sealOwner, wire.Marshal(r)))
}

// openOwner verifies the record of an owner.
func openOwner(fabric string, owner shoal.PeerID, sealed []byte) (r ownerRecord, err error) {
	what := "record of owner " + owner.Short()
	var env capability.Envelope
	if len(sealed) > 2*directory.MaxGenesis {
		return r, shoal.E(shoal.Invalid, what, "too long", "")
	}
	if err := wire.Unmarshal(what, sealed, &env); err != nil {
		return r, err
	}
	b, err := env.Open(sealOwner)
	if err != nil {
		return r, shoal.Wrap(shoal.Invalid, what, err)
	}
	if err := wire.Unmarshal(what, b, &r); err != nil {
		return r, err
	}
	if env.Signer != owner || r.Fabric != fabric || r.Number == 0 {
		return r, shoal.E(shoal.Invalid, what, "signed by somebody else, or for another fabric", "")
	}
	g, key, _, err := openGenesis(fabric, r.Genesis)
	if err == nil && (string(key) != string(r.Directory) || g.Code != DirectoryCode || g.Owner != owner) {
		err = shoal.E(shoal.Invalid, what, "it names something that is no directory of that owner", "")
	}
	return r, err
}
