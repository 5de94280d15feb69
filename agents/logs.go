package agents

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Line is one that an agent's code logged. Lines are kept in the memory of the node on which the turn ran: some of the
// last ones for each agent, as long as they fit.
type Line struct {
	At     int64        `cbor:"a" json:"at_ms"` // Unix milliseconds
	Number uint64       `cbor:"n" json:"number"`
	Epoch  uint64       `cbor:"e" json:"epoch"`
	Peer   shoal.PeerID `cbor:"p" json:"peer"`
	Text   string       `cbor:"t" json:"text"`
}

const (
	keptLines    = 256     // of one agent
	keptLogBytes = 8 << 20 // of all
)

// logs keeps the lines of a node's agents; those of the agent that logged least recently go first.
type logs struct {
	mu    sync.Mutex
	list  map[shoal.Key]*pages
	bytes int
	made  uint64 // lines so far: the clock of this node's log
}

type pages struct {
	lines []Line
	bytes int
	used  uint64
}

func (l *logs) add(key shoal.Key, line Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.list[key]
	if p == nil {
		p = &pages{}
		l.list[key] = p
	}
	l.made++
	line.Number, p.used = l.made, l.made
	p.lines = append(p.lines, line)
	l.grow(p, len(line.Text)+64)
	for len(p.lines) > keptLines {
		l.grow(p, -len(p.lines[0].Text)-64)
		p.lines = p.lines[1:]
	}
	for l.bytes > keptLogBytes {
		var oldest shoal.Key
		for k, q := range l.list {
			if oldest == "" || q.used < l.list[oldest].used {
				oldest = k
			}
		}
		l.bytes -= l.list[oldest].bytes
		delete(l.list, oldest)
	}
}

func (l *logs) grow(p *pages, n int) {
	p.bytes += n
	l.bytes += n
}

// after returns the lines that came later than a number.
func (l *logs) after(key shoal.Key, number uint64) []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.list[key]
	if p == nil {
		return nil
	}
	i, _ := slices.BinarySearchFunc(p.lines, number+1, func(x Line, n uint64) int { return cmp.Compare(x.Number, n) })
	return slices.Clone(p.lines[i:])
}

// keepLines keeps what the agent's code logged.
func (x *actor) keepLines(epoch uint64, lines []string) {
	if len(lines) == 0 {
		return
	}
	at := x.a.cfg.Now().UnixMilli()
	for _, l := range lines {
		x.a.cfg.Log.Debug("agent says", "agent", x.genesis.Name, "line", l)
		x.a.logs.add(x.key, Line{At: at, Epoch: epoch, Peer: x.a.Peers.Self(), Text: l})
	}
}

type logsAfter struct {
	Key   []byte `cbor:"k"`
	After uint64 `cbor:"a"`
}

func (a *Agents) onLogs(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	var q logsAfter
	if err := wire.Unmarshal("question for lines", req, &q); err != nil {
		return nil, err
	}
	return wire.Marshal(a.logs.after(shoal.Key(q.Key), q.After)), nil
}

// Tail remembers which lines of an agent's log were seen, of each peer.
type Tail map[shoal.PeerID]uint64

// Logs returns what an agent logged that seen does not have, in order of time, and notes it there. Peers that do not
// answer are passed over.
func (a *Agents) Logs(ctx context.Context, agent string, seen Tail) ([]Line, error) {
	s, err := a.Show(ctx, agent)
	if err != nil {
		return nil, err
	}
	key, _, _, err := parseAgent(s.Key)
	if err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	peers := s.Keepers
	for p := range seen { // those that kept it when the log was last read
		if !slices.Contains(peers, p) {
			peers = append(peers, p)
		}
	}
	found := make(chan []Line, len(peers))
	for _, p := range peers {
		after := seen[p]
		a.work.Go(func() {
			var lines []Line
			if b, err := a.Peers.Ask(ask, p, "agents.logs", wire.Marshal(logsAfter{[]byte(key), after})); err == nil {
				_ = wire.Unmarshal("lines of a log", b, &lines)
			}
			for i := range lines {
				lines[i].Peer = p
			}
			found <- lines
		})
	}
	var all []Line
	for range peers {
		all = append(all, <-found...)
	}
	for _, l := range all {
		seen[l.Peer] = max(seen[l.Peer], l.Number)
	}
	slices.SortStableFunc(all, func(x, y Line) int {
		return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.Epoch, y.Epoch), cmp.Compare(x.Number, y.Number))
	})
	return all, nil
}
