package view

import (
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/wire"
)

func FuzzOffer(f *testing.F) {
	for _, it := range []Item{record(1, 1, 1), departed(1, 1, 1), departed(1, 1, 2)} {
		f.Add(wire.Marshal(it), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, direct bool) {
		var it Item
		if wire.Unmarshal("item", b, &it) != nil {
			return
		}
		v := table(9)
		news, err := v.Offer(it, direct, noon)
		if err != nil && shoal.KindOf(err) != shoal.Invalid && shoal.KindOf(err) != shoal.Refused {
			t.Fatalf("kind %v: %v", shoal.KindOf(err), err)
		}
		if news == (len(v.rows) == 0) {
			t.Fatalf("news %v with %d rows", news, len(v.rows))
		}
	})
}

// FuzzPayload signs garbage properly: what a broken or hostile member could send.
func FuzzPayload(f *testing.F) {
	f.Add(record(1, 1, 1).Fact.Payload, uint8(KindRecord), uint64(0))
	f.Add(departed(1, 1, 2).Fact.Payload, uint8(KindDeparture), uint64(1<<63))
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, age uint64) {
		domain := recordDomain
		if kind == KindDeparture {
			domain = departureDomain
		}
		v := table(9)
		_, err := v.Offer(Item{Kind: kind, Fact: capability.Seal(key(1), domain, b), Age: age}, true, noon)
		if k := shoal.KindOf(err); err != nil && k != shoal.Invalid && k != shoal.Refused {
			t.Fatalf("kind %v: %v", k, err)
		}
		v.Changes(noon)
		v.Members(noon)
		v.Prune(noon)
	})
}
