package node

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/expr"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// What a node announces follows what it is: when a label changes, and over a restart.
func TestAnnounceFollows(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	a, err := lone(t, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var cfg Config
	b, err := lone(t, a, func(c *Config) {
		c.Labels = map[string]string{"zone": "one"}
		cfg = *c
	})
	if err != nil {
		t.Fatal(err)
	}
	announces := func(n *Node, zone string) bool {
		found, err := shoaltest.Found(ctx, n.rooms.dht, expr.Index{Kind: "label", Name: "zone=" + zone}.Key(), 0)
		return err == nil && slices.Contains(found, b.ID())
	}
	kept := func(zone string) bool {
		m, err := a.keptRecord(ctx, b.ID())
		return err == nil && m.Attributes.Labels["zone"] == zone && m.ID == b.ID() && !m.Seen.IsZero()
	}
	lists := func(zone string) bool {
		list, note, err := a.Peers(ctx, `labels.zone == "`+zone+`"`)
		return err == nil && note == "" && len(list) == 1 && list[0].PeerID == b.ID()
	}
	eventually(t, 30*time.Second, "the label is announced", func() bool { return announces(a, "one") && announces(b, "one") })
	eventually(t, 30*time.Second, "the record is put", func() bool { return kept("one") })

	attributes := b.rooms.members.Self().Attributes
	attributes.Labels = map[string]string{"zone": "two"}
	b.rooms.members.SetAttributes(attributes)
	eventually(t, 30*time.Second, "the new label is announced, and the old one no longer", func() bool {
		return announces(a, "two") && announces(b, "two") && !announces(b, "one")
	})
	eventually(t, 30*time.Second, "the new record is put", func() bool { return kept("two") })
	if b.describe(ctx); b.rooms.members.Self().Attributes.Labels["zone"] != "two" {
		t.Error("a look at the machine took its label away")
	}

	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Labels = map[string]string{"zone": "three"}
	if b, err = Open(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	eventually(t, 30*time.Second, "the label is announced after a restart", func() bool { return announces(a, "three") && announces(b, "three") })
	eventually(t, 30*time.Second, "the record is put after a restart", func() bool { return kept("three") })
	eventually(t, 30*time.Second, "it is found by what it is", func() bool { return lists("three") })
	if announces(b, "two") || lists("one") || lists("two") { // others may still follow the old key; the record says no
		t.Error("it is still found by what it was")
	}
}
