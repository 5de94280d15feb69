package topic

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

func define(o *open) ([]byte, error) {
	var d Definition
	if err := wire.Unmarshal("definition of a topic", o.Payload, &d); err != nil {
		return nil, err
	}
	if err := d.Check(); err != nil {
		return nil, err
	}
	switch {
	case o.def.Made && o.def.Definition != d:
		return nil, shoal.E(shoal.Exists, "topic", "it is there already, defined otherwise", "remove it first, or take another name")
	case o.def.Made:
		return o.view()
	}
	o.def = defined{Definition: d, Made: true}
	if err := o.changed(); err != nil {
		return nil, err
	}
	return o.view()
}

// changed keeps the definition, with a new version.
func (o *open) changed() error {
	o.def.Version++
	return o.State.Put(definitionKey, wire.Marshal(o.def))
}

func (o *open) view() ([]byte, error) {
	v := View{Definition: o.def.Definition, Made: o.def.Made, Version: o.def.Version}
	var err error
	if v.Bindings, err = o.bindings(); err != nil {
		return nil, err
	}
	if err := o.present(&v); err != nil {
		return nil, err
	}
	if o.def.Definition.Durable {
		v.First, v.Next, v.Bytes = o.log.First, o.log.Next, o.log.Bytes
		least, err := o.log.Least()
		if err != nil {
			return nil, err
		}
		v.Pending = v.Next - min(v.Next, least)
	}
	return wire.Marshal(v), nil
}

// bindings returns them in order of IDs.
func (o *open) bindings() (out []Binding, err error) {
	pairs, err := o.State.Scan(bindings, nil, MaxBindings)
	if err != nil || len(pairs) == 0 {
		return nil, err
	}
	out = make([]Binding, len(pairs))
	for i, p := range pairs {
		if err := decode(p.Value, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// id names a binding by what it is.
func (b *Binding) id() string {
	parts := []string{b.Kind, b.To, b.Method, b.Mode, b.Group, b.Filter, b.Key}
	if b.Read {
		parts = append(parts, "read")
	}
	h := sha256.Sum256(wire.Marshal(parts))
	return hex.EncodeToString(h[:10])
}

// holds reports whether a binding has a consumer of a durable topic, for which messages are held.
func (b *Binding) holds() bool { return b.Mode != Ask }

func bind(o *open) ([]byte, error) {
	var b Binding
	if err := wire.Unmarshal("binding", o.Payload, &b); err != nil {
		return nil, err
	}
	if err := b.Check(); err != nil {
		return nil, err
	}
	b.ID = b.id()
	all, err := o.bindings()
	if err != nil {
		return nil, err
	}
	for _, x := range all {
		if x.ID == b.ID {
			return wire.Marshal(x), nil
		}
	}
	if len(all) >= MaxBindings {
		return nil, shoal.E(shoal.Exists, "binding", fmt.Sprintf("%d are bound to the topic already", len(all)), "unbind one, or use a second topic")
	}
	b.At = o.Now.UnixMilli()
	if o.def.Definition.Durable {
		if b.From == 0 || b.From > o.log.Next {
			b.From = o.log.Next
		}
		b.From = max(b.From, o.log.First)
		if err := o.consume(&b); err != nil {
			return nil, err
		}
	} else {
		b.From = 0
	}
	if err := o.State.Put(bindingKey(b.ID), wire.Marshal(b)); err != nil {
		return nil, err
	}
	return wire.Marshal(b), o.changed()
}

// consume makes the consumer of a binding, or finds that of its group.
func (o *open) consume(b *Binding) error {
	if !b.holds() {
		return nil
	}
	c, err := o.log.Cursor(b.Consumer())
	if err != nil || c != nil {
		return err
	}
	if _, err := o.log.Make(b.Consumer(), b.From, true); err != nil {
		return err
	}
	return o.wake()
}

func unbind(o *open) ([]byte, error) {
	all, err := o.bindings()
	if err != nil {
		return nil, err
	}
	what := string(o.Payload)
	var gone []Binding
	still := map[string]bool{} // consumers
	for _, b := range all {
		if b.is(what) {
			gone = append(gone, b)
		} else {
			still[b.Consumer()] = true
		}
	}
	for _, b := range gone {
		if err := o.State.Delete(bindingKey(b.ID)); err != nil {
			return nil, err
		}
		if name := b.Consumer(); o.def.Definition.Durable && !still[name] {
			still[name] = true // once is enough
			c, err := o.log.Cursor(name)
			if err == nil && c != nil {
				err = o.log.Forget(c)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	if len(gone) > 0 {
		if err := o.changed(); err != nil {
			return nil, err
		}
	}
	return wire.Marshal(len(gone)), nil
}

// is reports whether a binding is meant.
func (b *Binding) is(what string) bool {
	if b.Method == "" {
		return what == b.ID || what == b.To
	}
	to, ok := strings.CutPrefix(what, b.To)
	return what == b.ID || ok && (to == "."+b.Method || to == "#"+b.Method)
}
