package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/engine"
	"github.com/shoal-fabric/shoal/sandbox/meter"
	"github.com/shoal-fabric/shoal/sandbox/module"
)

// known is a module that was compiled here.
type known struct {
	info    shoal.ModuleInfo
	meter   meter.Info
	sum     []byte
	disk    uint64    // bytes on disk
	touched time.Time // last use, in days rather than seconds: it is noted when code is loaded

	code *engine.Code // nil: on disk only
	runs int          // runs that use code
	peak uint64       // bytes of memory that runs needed lately
	used uint64       // Sandbox.clock at the last use
}

// flight is a compilation or a load that others wait for.
type flight struct {
	done chan struct{}
	err  error
}

// Compile implements shoal.Runner. It waits for a place among the compilations at work; when ctx ends
// first, a compilation that has begun goes on and later calls find it done.
func (s *Sandbox) Compile(ctx context.Context, c cid.Cid, wasm []byte) (shoal.ModuleInfo, error) {
	what := "module " + c.String()
	if info, ok := s.info(c); ok {
		return info, nil
	}
	info, err := module.Inspect(wasm)
	if err != nil {
		return info, name(what, err)
	}
	if p := c.Prefix(); p.Codec == cid.Raw {
		if sum, err := p.Sum(wasm); err != nil || !sum.Equals(c) {
			return info, shoal.E(shoal.Corrupt, what, "the bytes do not match the CID", "fetch it again")
		}
	}
	err = s.once(ctx, c, what, func() error {
		if _, ok := s.info(c); ok {
			return nil
		}
		at := source{c, sha256.Sum256(wasm)}
		if err := s.failed.find(at, time.Now()); err != nil {
			return err
		}
		err := s.compile(c, what, info, wasm)
		s.failed.note(at, err, time.Now())
		return err
	}, func() { wasm = bytes.Clone(wasm) })
	return info, err
}

// source is a module's bytes under a name: where a CID does not name the bytes themselves, others may come
// under the same.
type source struct {
	c   cid.Cid
	sum [sha256.Size]byte
}

// failures remembers what could not be compiled, so that each task that names such a module does not take a
// compiler's time anew. It is kept in memory: another version of the program, or of the gas schedule, tries again.
type failures struct {
	mu  sync.Mutex
	all map[source]failure
}

type failure struct {
	err *shoal.Error
	at  time.Time
}

// What is remembered, and for how long: a limit of time may have been met only because the machine was busy.
const (
	maxFailures = 256
	failureTime = time.Minute
)

// find returns how a module failed lately, or nil.
func (f *failures) find(at source, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, ok := f.all[at]
	if !ok || now.Sub(was.at) >= failureTime {
		delete(f.all, at)
		return nil
	}
	e := *was.err
	e.Why += fmt.Sprintf(" (found %v ago; tried again after %v)", now.Sub(was.at).Round(time.Second), failureTime)
	return &e
}

// note remembers err if it is the module's fault. The oldest gives way.
func (f *failures) note(at source, err error, now time.Time) {
	var e *shoal.Error
	if !errors.As(err, &e) || e.Kind != shoal.Invalid && e.Kind != shoal.Failed {
		return
	}
	kept := *e
	kept.Err = nil // how late it was then is no news
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[source]failure{}
	}
	f.all[at] = failure{&kept, now}
	if len(f.all) <= maxFailures {
		return
	}
	oldest := at
	for s, was := range f.all {
		if was.at.Before(f.all[oldest].at) {
			oldest = s
		}
	}
	delete(f.all, oldest)
}

// name puts what before the reason of err.
func name(what string, err error) error {
	e := *err.(*shoal.Error)
	e.What = what
	return &e
}

func (s *Sandbox) compile(c cid.Cid, what string, info shoal.ModuleInfo, wasm []byte) error {
	select {
	case s.slots <- struct{}{}:
	case <-s.alive.Done():
		return closed(what)
	}
	defer func() { <-s.slots }()
	began := time.Now()
	metered, m, err := meter.Rewrite(wasm, callOf)
	if err != nil {
		return name(what, err)
	}
	k, err := s.shelf.add(c, info, m, metered)
	if err != nil {
		return s.uncompiled(what, err)
	}
	s.cfg.Log.Debug("compiled a module", "module", c, "bytes", info.Bytes, "seconds", time.Since(began).Seconds())
	s.mu.Lock()
	s.all()[c] = k
	s.disk += k.disk
	s.warm++
	s.touch(k)
	s.mu.Unlock()
	return nil
}

// uncompiled says why there is no code.
func (s *Sandbox) uncompiled(what string, err error) error {
	var ours *shoal.Error
	var limit *engine.ErrLimit
	switch {
	case errors.As(err, &ours):
		return shoal.Wrap(shoal.Internal, what, err)
	case s.alive.Err() != nil:
		return closed(what)
	case errors.As(err, &limit):
		e := shoal.E(shoal.Failed, what, limit.Why, "split its largest functions, or build it with less optimization")
		e.Err = limit
		return e
	case s.shelf.child != nil && !errors.As(err, new(*engine.ErrInvalid)):
		return shoal.Wrap(shoal.Internal, what, err)
	}
	return shoal.E(shoal.Invalid, what, "does not validate: "+firstLine(err.Error()), "build it again")
}

// Ready implements shoal.Runner.
func (s *Sandbox) Ready(c cid.Cid) bool {
	_, ok := s.info(c)
	return ok
}

func (s *Sandbox) info(c cid.Cid) (shoal.ModuleInfo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.all()[c]; k != nil {
		info := k.info
		info.Exports = append([]string(nil), info.Exports...)
		info.Imports = append([]string(nil), info.Imports...)
		info.Methods = append([]string(nil), info.Methods...)
		return info, true
	}
	return shoal.ModuleInfo{}, false
}

// all returns the known modules; the first call reads the directory. s.mu is held.
func (s *Sandbox) all() map[cid.Cid]*known {
	if s.known == nil {
		s.known = s.shelf.scan()
		for _, k := range s.known {
			s.disk += k.disk
		}
	}
	return s.known
}

func (s *Sandbox) touch(k *known) {
	s.clock++
	k.used = s.clock
}

// acquire returns a module's code, loading it if need be, and the memory that runs of it needed;
// release must follow.
func (s *Sandbox) acquire(ctx context.Context, c cid.Cid, what string) (k *known, code *engine.Code, peak uint64, err error) {
	for {
		s.mu.Lock()
		k = s.all()[c]
		if k == nil {
			s.mu.Unlock()
			return nil, nil, 0, shoal.E(shoal.NotFound, what, "was not compiled on this node", "give it to Compile first")
		}
		if k.code != nil {
			k.runs++
			s.touch(k)
			code, peak = k.code, k.peak
			s.mu.Unlock()
			return k, code, peak, nil
		}
		s.mu.Unlock()
		if err := s.once(ctx, c, what, func() error { return s.load(c, what, k) }, func() {}); err != nil {
			return nil, nil, 0, err
		}
	}
}

func (s *Sandbox) load(c cid.Cid, what string, k *known) error {
	s.mu.Lock()
	stale := s.known[c] != k || k.code != nil
	s.mu.Unlock()
	if stale {
		return nil
	}
	loaded, err := s.shelf.load(c, k)
	s.mu.Lock()
	if err != nil {
		delete(s.known, c)
		s.disk -= k.disk
		s.mu.Unlock()
		s.shelf.drop(c)
		s.cfg.Log.Warn("a compiled module is lost", "module", c, "error", err)
		return shoal.E(shoal.NotFound, what, "its compiled code is damaged: "+firstLine(err.Error()), "compile it again")
	}
	k.code = loaded
	s.warm++
	s.touch(k)
	s.mu.Unlock()
	return nil
}

// release ends a run, which needed so many bytes of memory.
func (s *Sandbox) release(k *known, memory uint64) {
	s.mu.Lock()
	k.runs--
	k.peak = max(memory, k.peak-k.peak/8)
	s.mu.Unlock()
	s.trim()
}

// trim drops the least recently used code from memory, and modules from disk, beyond the bounds.
func (s *Sandbox) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.warm > s.cfg.Modules {
		c, k := s.least(func(k *known) bool { return k.code != nil },
			func(a, b *known) bool { return a.used < b.used })
		if k == nil {
			break // all are in use
		}
		k.code.Close()
		k.code = nil
		s.warm--
		if s.cfg.CacheDir == "" {
			delete(s.known, c)
		}
	}
	for s.disk > s.cfg.CacheBytes {
		c, k := s.least(func(k *known) bool { return k.code == nil },
			func(a, b *known) bool { return a.touched.Before(b.touched) })
		if k == nil {
			break
		}
		s.disk -= k.disk
		delete(s.known, c)
		s.shelf.drop(c)
	}
}

// least returns the first idle module by the order before, of those that want accepts.
func (s *Sandbox) least(want func(*known) bool, before func(a, b *known) bool) (at cid.Cid, out *known) {
	for c, k := range s.known {
		if k.runs == 0 && s.flights[c] == nil && want(k) && (out == nil || before(k, out)) {
			at, out = c, k
		}
	}
	return at, out
}

// once runs f for a module unless such a call is under way, and waits for the end. lead is called
// before f starts, on the caller's goroutine: f may outlive the call.
func (s *Sandbox) once(ctx context.Context, c cid.Cid, what string, f func() error, lead func()) error {
	for {
		s.mu.Lock()
		if s.alive.Err() != nil {
			s.mu.Unlock()
			return closed(what)
		}
		fl := s.flights[c]
		led := fl == nil
		if led {
			fl = &flight{done: make(chan struct{})}
			s.flights[c] = fl
			s.work.Add(1)
		}
		s.mu.Unlock()
		if led {
			lead()
			go s.fly(c, fl, f)
		}
		select {
		case <-fl.done:
		case <-ctx.Done():
			return shoal.Wrap(shoal.Internal, what, ctx.Err())
		}
		if led || fl.err == nil {
			return fl.err
		}
		// Another caller's bytes were bad; these may be good.
	}
}

func (s *Sandbox) fly(c cid.Cid, fl *flight, f func() error) {
	defer s.work.Done()
	defer func() {
		if r := recover(); r != nil {
			fl.err = shoal.E(shoal.Internal, "module "+c.String(), fmt.Sprint("the engine failed: ", r), "")
		}
		s.mu.Lock()
		delete(s.flights, c)
		s.mu.Unlock()
		s.trim()
		close(fl.done)
	}()
	fl.err = f()
}
