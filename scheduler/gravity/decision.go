package gravity

import (
	"fmt"

	"github.com/shoal-fabric/shoal"
)

// Decision is what to do with a thing, and both costs, in seconds.
type Decision struct {
	Move  bool         `cbor:"move" json:"move"`
	From  shoal.PeerID `cbor:"from" json:"from"`
	To    shoal.PeerID `cbor:"to,omitempty" json:"to,omitempty"` // the best other place, also when it is not worth it; "": none fits
	Here  float64      `cbor:"here" json:"here_s"`               // paid for distance since the thing came
	There float64      `cbor:"there" json:"there_s"`             // what the same would have taken at To
	Price float64      `cbor:"price" json:"price_s"`             // of moving to To
}

// String is the trigger, for a history: who paid what, and why that is enough, or not.
func (d Decision) String() string {
	switch {
	case d.To == "":
		return fmt.Sprintf("distance took %s since it came to %s; no other place fits", seconds(d.Here), d.From.Short())
	case !d.Move:
		return fmt.Sprintf("distance took %s since it came to %s, it would have been %s at %s; moving takes %s, which does not pay yet",
			seconds(d.Here), d.From.Short(), seconds(d.There), d.To.Short(), seconds(d.Price))
	}
	return fmt.Sprintf("distance took %s since it came to %s, it would have been %s at %s; moving takes %s",
		seconds(d.Here), d.From.Short(), seconds(d.There), d.To.Short(), seconds(d.Price))
}

func seconds(v float64) string {
	if v < 0.0995 {
		return fmt.Sprintf("%.1f ms", v*1e3)
	}
	return fmt.Sprintf("%.3g s", v)
}

// Copy is what one site has paid for reading something that lies elsewhere. It is not safe for
// concurrent use. After a restart without it at most the price of one copy is paid again.
type Copy struct {
	Rent float64 `cbor:"rent" json:"rent_s"` // seconds
}

// Read says whether to buy a copy for a price before reads that take so many seconds, because with them the rent
// would pass the price; if not, they are counted. A site that bought is done: its reads cost nothing.
func (c *Copy) Read(seconds, price float64) (buy bool, why string) {
	if !positive(seconds) {
		return false, "nothing was read"
	}
	if positive(price) && c.Rent+seconds > price {
		return true, fmt.Sprintf("reading from afar took %.3g s, with this it is %.3g s; a copy takes %.3g s", c.Rent, c.Rent+seconds, price)
	}
	c.Rent += seconds
	return false, fmt.Sprintf("reading from afar took %.3g s, a copy takes %.3g s", c.Rent, price)
}
