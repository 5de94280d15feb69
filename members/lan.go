package members

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/wire"
)

// Bounds of joining over the local network.
const (
	codeHolds    = 10 * time.Minute
	codeRounds   = 1 << 18 // of the slow hash
	codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	publicBits   = 40
	secretBits   = 20
	maxPending   = 16
	maxSeen      = 64
	maxWrong     = 8 // wrong proofs before a code is given up
	lanEvery     = time.Second
	pickUp       = 15 * time.Second // for an approved joiner to come back
)

// lan is the state of joining over the local network, on both sides.
type lan struct {
	seen    map[shoal.PeerID][]string // nodes heard of, with addresses
	pending map[shoal.PeerID]*request
}

// request is a machine that waits for approval.
type request struct {
	nonce  []byte
	since  time.Time
	secret []byte // set by Approve
	reply  []byte // once granted: repeated when it was lost
	taken  chan struct{}
}

// Request is a machine that asks to join.
type Request struct {
	Peer  shoal.PeerID
	Since time.Time
}

// lanRequest asks any node whether somebody has typed the code there.
type lanRequest struct {
	Nonce []byte `cbor:"n"` // 16 bytes
	Sent  int64  `cbor:"t"` // unix milliseconds
	Life  uint64 `cbor:"l"`
}

// lanReply has only Now while nobody has.
type lanReply struct {
	Now   int64  `cbor:"t"`
	Grant []byte `cbor:"g,omitempty"` // an admission
	Proof []byte `cbor:"p,omitempty"` // that the code's secret was typed there
}

// code is what a joiner shows.
type code struct{ public, secret []byte }

// publicPart is the part of a code that everybody who is asked can compute.
func publicPart(p shoal.PeerID, nonce []byte) []byte {
	key, err := pbkdf2.Key(sha256.New, string(p)+"\x00"+string(nonce), []byte("shoal code"), codeRounds, publicBits/8)
	if err != nil {
		panic("pbkdf2 with SHA-256 is always there: " + err.Error())
	}
	return key
}

// String returns the code as it is read aloud: XXXX-XXXX-XXXX, without I, L, O and U.
func (c code) String() string {
	var b [8]byte
	copy(b[3:], c.public)
	n := binary.BigEndian.Uint64(b[:])<<secretBits | uint64(binary.BigEndian.Uint32(c.secret)&(1<<secretBits-1))
	var out strings.Builder
	for i := 11; i >= 0; i-- {
		out.WriteByte(codeAlphabet[n>>(5*i)&31])
		if i == 8 || i == 4 {
			out.WriteByte('-')
		}
	}
	return out.String()
}

// parseCode reads a code as people type it.
func parseCode(s string) (code, error) {
	var n uint64
	digits := 0
	for _, r := range strings.ToUpper(s) {
		switch r {
		case '-', ' ', '\t':
			continue
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		i := strings.IndexRune(codeAlphabet, r)
		if i < 0 || digits == 12 {
			digits = -1
			break
		}
		n = n<<5 | uint64(i)
		digits++
	}
	if digits != 12 {
		return code{}, shoal.E(shoal.Invalid, "code", "it has not the form XXXX-XXXX-XXXX",
			"type it as the joining machine shows it")
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n>>secretBits)
	return code{b[3:], binary.BigEndian.AppendUint32(nil, uint32(n&(1<<secretBits-1)))}, nil
}

// proof shows the joiner that the member knows the secret part of its code. It reaches nobody else,
// so nobody can try secrets against it.
func proof(secret []byte, joiner, member shoal.PeerID, nonce, grant []byte) []byte {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "%s\x00%s\x00%x\x00", joiner, member, nonce)
	h.Write(grant)
	return h.Sum(nil)
}

// discovered takes what the local network tells.
func (m *Members) discovered(p shoal.PeerID, addresses []string) {
	if p == m.self || len(addresses) == 0 {
		return
	}
	addresses = slices.Clone(addresses[:min(len(addresses), 16)])
	m.mu.Lock()
	if _, ok := m.lan.seen[p]; !ok && len(m.lan.seen) >= maxSeen {
		for old := range m.lan.seen { // any one: it will be heard again
			delete(m.lan.seen, old)
			break
		}
	}
	m.lan.seen[p] = addresses
	m.mu.Unlock()
	m.note(event{peer: p, addresses: addresses})
}

// JoinLAN asks the nodes on the local network to let this one in. It shows a code, anew every ten
// minutes; a person types it on a member (Approve). It returns when this node is a member, or with
// ctx: the error then says whether any node was heard. A clock that is far off ends it at once.
func (m *Members) JoinLAN(ctx context.Context, show func(code string)) error {
	if _, err := m.free("join over the local network", ""); err != nil {
		return err
	}
	for {
		j := joiner{m: m, wrong: map[shoal.PeerID]bool{}, nonce: make([]byte, 16)}
		secret := make([]byte, 4)
		rand.Read(j.nonce)
		rand.Read(secret)
		j.code = code{publicPart(m.self, j.nonce), binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(secret)&(1<<secretBits-1))}
		show(j.code.String())
		done, err := j.run(ctx)
		if done {
			return err
		}
	}
}

// joiner is one code's life.
type joiner struct {
	m     *Members
	nonce []byte
	code  code

	heard int
	fault error                 // the last one
	wrong map[shoal.PeerID]bool // sent a proof that does not fit
}

// run polls the nodes heard of. done is false when the code has to be replaced.
func (j *joiner) run(ctx context.Context) (done bool, err error) {
	tick := time.NewTicker(lanEvery)
	defer tick.Stop()
	end := time.NewTimer(codeHolds)
	defer end.Stop()
	for {
		if done, err := j.round(ctx); done || len(j.wrong) >= maxWrong {
			return done, err
		}
		select {
		case <-tick.C:
		case <-end.C:
			return false, nil
		case <-ctx.Done():
			why := "nobody approved the code in time"
			try := "type it on a member: shoal invite approve CODE"
			if j.heard == 0 {
				why, try = "no member was heard on the local network", "join with an invite instead: shoal up --join INVITE"
			}
			if j.heard == 0 && j.fault != nil {
				why = "no member answered on the local network (" + j.fault.Error() + ")"
			}
			e := shoal.E(shoal.Timeout, "join over the local network", why, try)
			e.Err = ctx.Err()
			return true, e
		}
	}
}

// round asks every node once, all at the same time, and enters the fabric of the first that grants.
func (j *joiner) round(ctx context.Context) (done bool, err error) {
	m := j.m
	m.mu.Lock()
	list := make(map[shoal.PeerID][]string, len(m.lan.seen))
	for p, a := range m.lan.seen {
		if !j.wrong[p] {
			list[p] = a
		}
	}
	m.mu.Unlock()
	var last uint64
	if err := m.number(lifeKey, &last); err != nil {
		return true, err
	}
	type answer struct {
		peer  shoal.PeerID
		reply lanReply
		err   error
	}
	answers := make(chan answer, len(list))
	ctx, cancel := context.WithTimeout(ctx, m.cfg.DialTimeout)
	defer cancel()
	for p, addresses := range list {
		go func() {
			a := answer{peer: p}
			defer func() { answers <- a }()
			if a.err = m.net.Connect(ctx, p, addresses); a.err != nil {
				return
			}
			var b []byte
			b, a.err = m.door.AskDoor(ctx, p, "lan", wire.Marshal(lanRequest{j.nonce, m.now().UnixMilli(), last}))
			if a.err == nil {
				a.err = wire.Unmarshal("join", b, &a.reply)
			}
		}()
	}
	for range list {
		a := <-answers
		switch {
		case a.err != nil:
			j.fault = a.err
		case len(a.reply.Grant) == 0:
			j.heard++
			if d := time.UnixMilli(a.reply.Now).Sub(m.now()); d.Abs() > m.cfg.MaxSkew {
				return true, shoal.E(shoal.Refused, "clock", fmt.Sprintf("this machine's clock is %v away from that of member %s, which says %s",
					d.Abs().Round(time.Second), a.peer.Short(), stamp(time.UnixMilli(a.reply.Now))), "set the clock, then join again")
			}
		case !hmac.Equal(a.reply.Proof, proof(j.code.secret, m.self, a.peer, j.nonce, a.reply.Grant)):
			m.cfg.Log.Warn("members: a node grants a membership without knowing the code", "peer", a.peer)
			j.wrong[a.peer] = true
		default:
			var adm admission
			if err := wire.Unmarshal("join", a.reply.Grant, &adm); err != nil {
				return true, err
			}
			if len(adm.Chain) == 0 {
				return true, shoal.E(shoal.Invalid, "join", "the member sent no credential", "")
			}
			return true, m.enter(capability.FabricID(adm.Chain[0].Signer), adm)
		}
	}
	return false, nil
}

// onLAN answers a machine that wants to join: it is noted, and gets its grant once it was approved.
func (m *Members) onLAN(_ context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	var r lanRequest
	if err := wire.Unmarshal("join", req, &r); err != nil {
		return nil, err
	}
	if len(r.Nonce) != 16 {
		return nil, shoal.E(shoal.Invalid, "join", "the nonce has not 16 bytes", "")
	}
	m.mu.Lock()
	if err := m.standing(); err != nil {
		m.mu.Unlock()
		return nil, err
	}
	now := m.now()
	reply := lanReply{Now: now.UnixMilli()}
	if m.skewed(r.Sent, now) != nil { // the joiner sees it in Now, and gives up
		m.mu.Unlock()
		return wire.Marshal(reply), nil
	}
	m.expireRequests(now)
	q := m.lan.pending[from]
	if q == nil || string(q.nonce) != string(r.Nonce) {
		if q == nil && len(m.lan.pending) >= maxPending {
			m.mu.Unlock()
			return nil, shoal.E(shoal.Overloaded, "join", "too many machines ask to join", "wait some minutes")
		}
		q = &request{nonce: r.Nonce, since: now, taken: make(chan struct{})}
		m.lan.pending[from] = q
	}
	approved := q.secret != nil
	granted := q.reply
	m.mu.Unlock()
	if !approved {
		return wire.Marshal(reply), nil
	}
	if granted == nil {
		var err error
		if granted, err = m.admit(from, r.Life); err != nil {
			return nil, err
		}
		m.mu.Lock()
		if q.reply == nil {
			q.reply = granted
			close(q.taken)
		}
		granted = q.reply
		m.mu.Unlock()
	}
	reply.Grant, reply.Proof = granted, proof(q.secret, from, m.self, q.nonce, granted)
	return wire.Marshal(reply), nil
}

// expireRequests drops requests whose code holds no more. m.mu is held.
func (m *Members) expireRequests(now time.Time) {
	for p, q := range m.lan.pending {
		if now.Sub(q.since) > codeHolds {
			delete(m.lan.pending, p)
		}
	}
}

// Pending returns the machines that wait for approval, the longest waiting first. It does not tell
// their codes: those are to be read from the machines themselves.
func (m *Members) Pending() (list []Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expireRequests(m.now())
	for p, q := range m.lan.pending {
		if q.secret == nil {
			list = append(list, Request{p, q.since})
		}
	}
	slices.SortFunc(list, func(a, b Request) int { return a.Since.Compare(b.Since) })
	return list
}

// Approve admits the machine that shows code, and returns its ID once it has its credential. It takes
// some tenths of a second for each machine that waits, and up to 15 seconds for it to come back.
// Refused: no machine that asked here shows this code.
func (m *Members) Approve(ctx context.Context, text string) (shoal.PeerID, error) {
	c, err := parseCode(text)
	if err != nil {
		return "", err
	}
	if err := m.Standing(); err != nil {
		return "", err
	}
	m.mu.Lock()
	m.expireRequests(m.now())
	waiting := make(map[shoal.PeerID]*request, len(m.lan.pending))
	for p, q := range m.lan.pending {
		waiting[p] = q
	}
	m.mu.Unlock()
	for p, q := range waiting {
		if !hmac.Equal(publicPart(p, q.nonce), c.public) {
			continue
		}
		m.mu.Lock()
		q.secret = c.secret
		m.mu.Unlock()
		ctx, cancel := context.WithTimeout(ctx, pickUp)
		defer cancel()
		select {
		case <-q.taken:
			return p, nil
		case <-ctx.Done():
			return p, shoal.E(shoal.Unavailable, "approve "+p.Short(), "it was approved, but has not come back for its credential",
				"see that 'shoal up --join lan' still runs there")
		}
	}
	return "", shoal.E(shoal.Refused, "approve", fmt.Sprintf("none of the %d machines that ask to join here shows this code", len(waiting)),
		"compare the code, and wait until the machine has found this node")
}
