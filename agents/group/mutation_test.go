package group

import (
	"flag"
	"testing"
)

var mutationSeeds = flag.Int("mutation-seeds", 1000, "how many schedules a switched-off rule has to be noticed in")

// TestEachRuleMatters switches the house rules off, one at a time, and wants the checker to name the invariant
// that broke.
func TestEachRuleMatters(t *testing.T) {
	for _, c := range []struct {
		rule string
		from uint64 // the first schedule to try: one that is known to show it saves time
		set  func(*world)
	}{
		{"proposals are not forwarded", 1, func(w *world) { w.off.noForwardBan = true }},
		{"proposals are not forwarded, nor judged", 1, func(w *world) { w.off.noForwardBan, w.off.noJudge = true, true }},
		{"no turn before the barrier", 1, func(w *world) { w.off.noTurnBarrier = true }},
		{"no turn before the barrier, nor judged", 1, func(w *world) { w.off.noTurnBarrier, w.off.noJudge = true, true }},
		{"no read before the barrier", 1, func(w *world) { w.off.noReadBarrier = true }},
		{"fsync before acknowledging", 1, func(w *world) { w.off.noFsync = true }},
		{"a majority before acknowledging", 1, func(w *world) { w.hand.early = true }},
		{"the commit index is kept", 161, func(w *world) { w.off.noCommit = true }},
		{"a hand-over gives the lease up", 10, func(w *world) { w.off.noTransferGap = true }},
		{"acknowledging promises", 82, func(w *world) { w.off.noPromise = true }},
		{"a promise outlives eviction", 599, func(w *world) { w.off.noReload = true }},
		{"a node that starts waits", 55, func(w *world) { w.off.noBoot = true }},
		{"leases count from sending", 1, func(w *world) { w.off.noSendTime = true }},
		{"leases end", 1, func(w *world) { w.off.noClock = true }},
		{"member IDs are fresh", 1, func(w *world) { w.off.noFreshID = true }},
		{"a wiped disk is another store", 1, func(w *world) { w.hand.keepIdentity = true }},
		{"newcomers learn first", 1, func(w *world) { w.off.noLearner = true }},
		{"truncate below the synced state", 10, func(w *world) { w.off.noSynced = true }},
		{"a new incarnation ends leaderships", 1, func(w *world) { w.off.noIncarnation = true }},
	} {
		t.Run(c.rule, func(t *testing.T) {
			for seed := c.from; seed < c.from+uint64(*mutationSeeds); seed++ {
				if w := schedule(seed, c.set); w.check.broken != "" {
					t.Logf("seed %d: %s: %s", seed, w.check.broken, w.check.detail)
					return
				}
			}
			t.Errorf("nobody noticed in %d schedules that it was off", *mutationSeeds)
		})
	}
}
