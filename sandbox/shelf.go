package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/engine"
	"github.com/shoal-fabric/shoal/sandbox/hostcall"
	"github.com/shoal-fabric/shoal/sandbox/meter"
	"github.com/shoal-fabric/shoal/wire"
)

// shelf keeps compiled modules in a directory, one folder each: the metered module, the engine's code, and a
// card that says what they must be. The card is written last and the folder moved to its place whole,
// so that a crash leaves a complete folder or one that the next start removes.
type shelf struct {
	dir   string
	log   *slog.Logger
	child *engine.Child   // nil: compile in this process
	alive context.Context // kills the child
}

// card describes a folder.
type card struct {
	Format int               `cbor:"format"`
	Engine string            `cbor:"engine"`
	CID    []byte            `cbor:"cid"`
	Sum    []byte            `cbor:"sum"` // SHA-256 of the metered module
	Info   shoal.ModuleInfo  `cbor:"info"`
	Meter  meter.Info        `cbor:"meter"`
	Files  map[string]uint64 `cbor:"files"` // path in the folder: bytes
}

const (
	cardFormat = 3
	cardName   = "card"
	wasmName   = engine.Module
	codeName   = engine.Cache
	halfDone   = "new-"
)

// folder is where a module lies.
func (s *shelf) folder(c cid.Cid) string {
	sum := sha256.Sum256(c.Bytes())
	return filepath.Join(s.dir, hex.EncodeToString(sum[:]))
}

// scan reads all cards. What is incomplete, or was compiled by another engine, is removed.
func (s *shelf) scan() map[cid.Cid]*known {
	all := map[cid.Cid]*known{}
	if s.dir == "" {
		return all
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the compilation cache cannot be read", "dir", s.dir, "error", err)
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), halfDone) && len(e.Name()) != 2*sha256.Size {
			continue // not ours
		}
		if c, k, ok := s.read(path); ok {
			all[c] = k
			continue
		}
		s.log.Info("dropping a compiled module that is incomplete or of another version", "path", path)
		s.remove(path)
	}
	return all
}

// read checks one folder, without reading the code.
func (s *shelf) read(path string) (cid.Cid, *known, bool) {
	at := filepath.Join(path, cardName)
	b, err := os.ReadFile(at)
	if err != nil {
		return cid.Undef, nil, false
	}
	var d card
	if wire.Unmarshal("card", b, &d) != nil || d.Format != cardFormat || d.Engine != engineName() {
		return cid.Undef, nil, false
	}
	c, err := cid.Cast(d.CID)
	if err != nil || s.folder(c) != path {
		return cid.Undef, nil, false
	}
	k := &known{info: d.Info, meter: d.Meter, sum: d.Sum}
	for name, size := range d.Files {
		st, err := os.Stat(filepath.Join(path, filepath.FromSlash(name)))
		if err != nil || uint64(st.Size()) != size {
			return cid.Undef, nil, false
		}
		k.disk += size
	}
	if st, err := os.Stat(at); err == nil {
		k.touched = st.ModTime()
	}
	return c, k, true
}

// add compiles a metered module into its folder.
func (s *shelf) add(c cid.Cid, info shoal.ModuleInfo, m meter.Info, wasm []byte) (k *known, err error) {
	sum := sha256.Sum256(wasm)
	k = &known{info: info, meter: m, sum: sum[:], touched: time.Now()}
	if s.dir == "" && s.child == nil {
		k.code, err = open("", wasm)
		return k, err
	}
	if s.dir != "" {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, s.fault(err)
		}
	}
	tmp, err := os.MkdirTemp(s.dir, halfDone)
	if err != nil {
		return nil, s.fault(err)
	}
	defer s.remove(tmp)
	if err := os.WriteFile(filepath.Join(tmp, wasmName), wasm, 0o600); err != nil {
		return nil, s.fault(err)
	}
	if k.code, err = s.build(tmp, wasm); err != nil || s.dir == "" {
		return k, err
	}
	if err = s.settle(c, tmp, k); err != nil {
		k.code.Close()
		return nil, s.fault(err)
	}
	return k, nil
}

// settle writes the card of a new folder and moves the folder to its place.
func (s *shelf) settle(c cid.Cid, tmp string, k *known) error {
	d := card{Format: cardFormat, Engine: engineName(), CID: c.Bytes(), Sum: k.sum, Info: k.info, Meter: k.meter}
	d.Files = map[string]uint64{}
	err := filepath.WalkDir(tmp, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(tmp, path)
		d.Files[filepath.ToSlash(name)] = uint64(st.Size())
		k.disk += uint64(st.Size())
		return err
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, cardName), wire.Marshal(d), 0o600); err != nil {
		return err
	}
	s.remove(s.folder(c))
	return os.Rename(tmp, s.folder(c))
}

// load reads a module's code back. If the code is damaged, the module, whose sum is checked, is
// compiled again.
func (s *shelf) load(c cid.Cid, k *known) (*engine.Code, error) {
	path := s.folder(c)
	wasm, err := os.ReadFile(filepath.Join(path, wasmName))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(wasm); string(sum[:]) != string(k.sum) {
		return nil, errors.New("the module on disk has changed")
	}
	at := filepath.Join(path, codeName)
	loaded, err := s.build(path, wasm)
	if err != nil {
		s.log.Warn("compiled code is damaged, compiling again", "module", c, "error", err)
		s.remove(at)
		if loaded, err = s.build(path, wasm); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	k.touched = now
	if err := os.Chtimes(filepath.Join(path, cardName), now, now); err != nil {
		s.log.Debug("the use of a module is not noted", "module", c, "error", err)
	}
	return loaded, nil
}

// drop removes a module's folder.
func (s *shelf) drop(c cid.Cid) {
	if s.dir != "" {
		s.remove(s.folder(c))
	}
}

func (s *shelf) remove(path string) {
	if err := os.RemoveAll(path); err != nil {
		s.log.Warn("a part of the compilation cache cannot be removed", "path", path, "error", err)
	}
}

func (s *shelf) fault(err error) error {
	return shoal.Wrap(diskKind(err), "compilation cache "+s.dir, err)
}

// engineName identifies who wrote compiled code.
func engineName() string { return fmt.Sprintf("%s-gas%d", engine.Name(), meter.Schedule) }

// build compiles the module in a folder into the code there, in a child if there is one, and loads it.
func (s *shelf) build(folder string, wasm []byte) (*engine.Code, error) {
	at := filepath.Join(folder, codeName)
	if s.child != nil {
		if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
			if err := s.child.Compile(s.alive, folder); err != nil {
				return nil, err
			}
		}
	}
	return open(at, wasm)
}

// open reads a module's code, or compiles it here, and offers it what guests may import.
func open(dir string, wasm []byte) (*engine.Code, error) {
	c, err := engine.Compile(dir, wasm)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if _, err = wasi_snapshot_preview1.Instantiate(ctx, c.Runtime); err == nil {
		err = instantiateMeter(ctx, c.Runtime)
	}
	if err == nil {
		err = hostcall.Instantiate(ctx, c.Runtime)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
