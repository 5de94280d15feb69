package api

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// TopicCreate makes a topic. Zeros of a durable one: retained for a day and up to 512 MiB, 5 tries, 30 s until it is delivered again.
type TopicCreate struct {
	Name        string  `json:"name"`
	Durable     bool    `json:"durable,omitempty"`
	Audience    string  `json:"audience,omitempty"` // small, large; "": as it turns out
	RetainS     float64 `json:"retain_s,omitempty"`
	RetainBytes uint64  `json:"retain_bytes,omitempty"`
	Tries       int     `json:"tries,omitempty"`
	AckS        float64 `json:"ack_wait_s,omitempty"`
	Replicas    int     `json:"replicas,omitempty"`
}

// TopicCreated is a topic that was made.
type TopicCreated struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// TopicMessage is a message of a topic.
type TopicMessage struct {
	ID        string `json:"id,omitempty"`
	Publisher string `json:"publisher,omitempty"`
	Seq       uint64 `json:"seq,omitempty"`    // of the publisher, without gaps
	Offset    uint64 `json:"offset,omitempty"` // of a durable topic
	AtMS      int64  `json:"at_ms,omitempty"`
	Trace     string `json:"trace,omitempty"`
	Key       string `json:"key,omitempty"`
	Body      []byte `json:"body,omitempty"`
	Data      string `json:"data,omitempty"`     // CID of a body that is longer than is handed over here
	Try       int    `json:"try,omitempty"`      // to a consumer
	Reason    string `json:"reason,omitempty"`   // why it was given up
	Consumer  string `json:"consumer,omitempty"` // that gave it up
	// Lost says that messages From to To of a publisher ("": offsets of a durable topic) are gone, and nothing else is set.
	Lost *TopicGap `json:"lost,omitempty"`
}

// TopicGap is a run of messages that are gone.
type TopicGap struct {
	Publisher string `json:"publisher,omitempty"`
	From      uint64 `json:"from"`
	To        uint64 `json:"to"`
}

// TopicPublish sends messages, in their order; of each Body, Key and Trace count.
type TopicPublish struct {
	Topic    string         `json:"topic"`
	Messages []TopicMessage `json:"messages"`
}

// TopicAsk sends a message and wants an answer.
type TopicAsk struct {
	Topic          string  `json:"topic"`
	Body           []byte  `json:"body,omitempty"`
	Key            string  `json:"key,omitempty"`
	TimeoutSeconds float64 `json:"timeout_s,omitempty"` // 0: 10
}

// TopicBind binds something to a topic. To is AGENT.METHOD, a service's name, or MODULE#EXPORT, where MODULE is a CID or example:NAME.
type TopicBind struct {
	Topic  string `json:"topic"`
	To     string `json:"to"`
	Kind   string `json:"kind,omitempty"` // agent, service or function; "": as To is written
	Mode   string `json:"mode"`
	Read   bool   `json:"read,omitempty"` // with ask: the agent's method only reads
	Group  string `json:"group,omitempty"`
	Filter string `json:"filter,omitempty"`
	Key    string `json:"key,omitempty"`
	From   uint64 `json:"from,omitempty"`
}

// TopicInfo is a topic in a list, and what there is to say of it.
type TopicInfo struct {
	Name        string          `json:"name"`
	Key         string          `json:"key"`
	Kind        string          `json:"kind"` // fast or durable
	Audience    string          `json:"audience,omitempty"`
	RetainS     float64         `json:"retain_s,omitempty"`
	RetainBytes uint64          `json:"retain_bytes,omitempty"`
	Tries       int             `json:"tries,omitempty"`
	AckS        float64         `json:"ack_wait_s,omitempty"`
	BornMS      int64           `json:"born_ms,omitempty"`
	Bindings    []topic.Binding `json:"bindings"`
	Subscribers int             `json:"subscribers"` // nodes, of a fast topic
	Publishers  int             `json:"publishers"`  // nodes, of a fast topic
	First       uint64          `json:"first,omitempty"`
	Next        uint64          `json:"next,omitempty"`
	Bytes       uint64          `json:"bytes,omitempty"`
	Consumers   []TopicConsumer `json:"consumers,omitempty"`
	Here        *TopicHere      `json:"here,omitempty"`
	Failure     string          `json:"failure,omitempty"` // its agent could not be asked
}

// TopicConsumer is a position in a durable topic.
type TopicConsumer struct {
	Name   string `json:"name"`
	Next   uint64 `json:"next"`
	Lag    uint64 `json:"lag"`
	Leased int    `json:"leased"`
	Dead   int    `json:"dead"`
	UsedMS int64  `json:"used_ms"`
}

// TopicHere is what the node that was asked does for a topic since it began.
type TopicHere struct {
	pubsub.Counts
	Received    uint64  `json:"received"`
	Lost        uint64  `json:"lost"`
	ReceiveRate float64 `json:"receive_rate"`      // messages a second
	Carrier     string  `json:"carrier,omitempty"` // of a fast topic: streams or gossip
}

func topicInfo(name, key string, v *topic.View) TopicInfo {
	i := TopicInfo{
		Name: name, Key: key, Kind: "fast", Audience: v.Audience, Bindings: v.Bindings, Subscribers: v.Subscribed, Publishers: len(v.Pubs),
		First: v.First, Next: v.Next, Bytes: v.Bytes,
	}
	if v.Durable {
		i.Kind, i.RetainBytes, i.Tries = "durable", v.RetainBytes, cmp.Or(v.Tries, topic.DefaultTries)
		i.RetainS, i.AckS = cmp.Or(v.Retain, topic.DefaultRetain).Seconds(), cmp.Or(v.AckWait, topic.DefaultAckWait).Seconds()
	}
	if i.Bindings == nil {
		i.Bindings = []topic.Binding{}
	}
	return i
}

// mostBody is how long a body is handed over.
const mostBody = 2 << 20

// topicMessage shows a message, whose body it fetches if it lies elsewhere and is not too long.
func topicMessage(ctx context.Context, p *pubsub.PubSub, d *topic.Delivery) TopicMessage {
	m := TopicMessage{
		ID: d.ID(), Publisher: d.Publisher, Seq: d.Seq, Offset: d.Offset, AtMS: d.At, Trace: d.Trace, Key: d.Key, Body: d.Body, Data: d.Data,
		Try: d.Try, Reason: d.Reason,
	}
	if d.Data != "" {
		if b, err := p.Body(ctx, &d.Message, mostBody); err == nil {
			m.Body, m.Data = b, ""
		}
	}
	return m
}

func (s *Server) topicCreate(r *http.Request) (any, error) {
	var req TopicCreate
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	seconds := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
	key, err := s.node.CreateTopic(r.Context(), req.Name, topic.Definition{
		Durable: req.Durable, Audience: req.Audience, Retain: seconds(req.RetainS), RetainBytes: req.RetainBytes, Tries: req.Tries, AckWait: seconds(req.AckS),
	}, req.Replicas)
	return TopicCreated{Name: req.Name, Key: key}, err
}

func (s *Server) topicPublish(r *http.Request) (any, error) {
	var req TopicPublish
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	p, err := s.node.Topics()
	if err != nil {
		return nil, err
	}
	list := make([]topic.Message, len(req.Messages))
	for i, m := range req.Messages {
		list[i] = topic.Message{Body: m.Body, Key: m.Key, Trace: m.Trace}
	}
	if err := p.Publish(r.Context(), req.Topic, list...); err != nil {
		return nil, err
	}
	out := make([]TopicMessage, len(list))
	for i, m := range list {
		out[i] = TopicMessage{ID: m.ID(), Seq: m.Seq, Offset: m.Offset, Data: m.Data}
	}
	return out, nil
}

func (s *Server) topicAsk(r *http.Request) (any, error) {
	var req TopicAsk
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	p, err := s.node.Topics()
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	if req.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.TimeoutSeconds*float64(time.Second)))
		defer cancel()
	}
	reply, err := p.Ask(ctx, req.Topic, topic.Message{Body: req.Body, Key: req.Key})
	return AgentReply{Reply: reply}, err
}

// topicSub sends a topic's messages until the client has as many as it wants, or goes away.
func (s *Server) topicSub(r *http.Request, send func(Event)) (any, error) {
	p, err := s.node.Topics()
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	number := func(name string) uint64 {
		n, bad := strconv.ParseUint(q.Get(name), 10, 63)
		if bad != nil && q.Get(name) != "" {
			err = shoal.E(shoal.Invalid, "subscribe to "+q.Get("topic"), name+"="+q.Get(name)+" is no number", "")
		}
		return n
	}
	from := pubsub.Start{From: number("from"), Consumer: q.Get("consumer")}
	if since := number("since_ms"); since > 0 {
		from.Since = time.UnixMilli(int64(since))
	}
	count := number("count")
	if err != nil {
		return nil, err
	}
	sub, err := p.Subscribe(r.Context(), q.Get("topic"), from)
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	send(Event{Type: "note", Text: "subscribed"})
	for n := uint64(0); count == 0 || n < count; {
		e, err := sub.Next(r.Context())
		if err != nil {
			return nil, err
		}
		if e.Gap != nil {
			send(Event{Type: "message", Message: &TopicMessage{Lost: &TopicGap{Publisher: e.Gap.Publisher, From: e.Gap.From, To: e.Gap.To}}})
			continue
		}
		m := topicMessage(r.Context(), p, &e.Delivery)
		send(Event{Type: "message", Message: &m})
		if n++; from.Consumer != "" && r.Context().Err() == nil {
			sub.Ack(e.Offset)
		}
	}
	return struct{}{}, sub.Flush(r.Context())
}

func (s *Server) topicBind(r *http.Request) (any, error) {
	var req TopicBind
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	p, err := s.node.Topics()
	if err != nil {
		return nil, err
	}
	b := topic.Binding{Kind: req.Kind, To: req.To, Mode: req.Mode, Read: req.Read, Group: req.Group, Filter: req.Filter, Key: req.Key, From: req.From}
	module, export, function := strings.Cut(req.To, "#")
	dot := strings.LastIndexByte(req.To, '.')
	switch {
	case b.Kind == topic.Function || b.Kind == "" && function:
		b.Kind, b.To, b.Method = topic.Function, module, export
	case b.Kind == topic.Agent || b.Kind == "" && dot > 0:
		if b.Kind = topic.Agent; dot > 0 {
			b.To, b.Method = req.To[:dot], req.To[dot+1:]
		}
	default:
		b.Kind = topic.Service
	}
	return p.Bind(r.Context(), req.Topic, b)
}

func (s *Server) topicUnbind(r *http.Request) (any, error) {
	p, err := s.node.Topics()
	if err != nil {
		return nil, err
	}
	n, err := p.Unbind(r.Context(), r.URL.Query().Get("topic"), r.URL.Query().Get("binding"))
	return map[string]int{"removed": n}, err
}

func (s *Server) topicList(r *http.Request) (any, error) {
	p, err := s.node.Topics()
	if err != nil {
		return nil, err
	}
	list, err := p.List(r.Context(), r.URL.Query().Get("owner"), r.URL.Query().Get("prefix"))
	out := make([]TopicInfo, len(list))
	for i, l := range list {
		if l.Err != nil {
			out[i] = TopicInfo{Bindings: []topic.Binding{}, Failure: l.Err.Error(), Name: l.Name}
		} else {
			out[i] = topicInfo(l.Name, "", l.View)
		}
		out[i].Key, out[i].BornMS = l.Key, l.At
	}
	return out, err
}

func (s *Server) topicShow(r *http.Request) (any, error) {
	p, err := s.node.Topics()
	if err != nil {
		return nil, err
	}
	name := r.URL.Query().Get("topic")
	d, err := p.Show(r.Context(), name)
	if err != nil {
		return nil, err
	}
	out := topicInfo(name, d.Key, d.View)
	for _, c := range d.Consumers {
		out.Consumers = append(out.Consumers, TopicConsumer{Name: c.Name, Next: c.Next, Lag: c.Lag, Leased: c.Leased, Dead: c.Dead, UsedMS: c.Used})
	}
	out.Here = &TopicHere{
		Counts: d.Here, Received: d.Cast.Received, Lost: d.Cast.Lost, ReceiveRate: d.Cast.ReceiveRate,
	}
	if !d.View.Durable {
		if out.Here.Carrier = "streams"; d.Cast.Gossip {
			out.Here.Carrier = "gossip"
		}
	}
	return out, nil
}

func (s *Server) topicRemove(r *http.Request) (any, error) {
	p, err := s.node.Topics()
	if err == nil {
		err = p.Remove(r.Context(), r.URL.Query().Get("topic"))
	}
	return map[string]bool{"removed": err == nil}, err
}

func (s *Server) topicDead(r *http.Request) (any, error) {
	p, err := s.node.Topics()
	if err != nil {
		return nil, err
	}
	list, err := p.Dead(r.Context(), r.URL.Query().Get("topic"), r.URL.Query().Get("consumer"))
	out := make([]TopicMessage, len(list))
	for i := range list {
		out[i] = topicMessage(r.Context(), p, &list[i].Delivery)
		out[i].Consumer = list[i].Consumer
	}
	return out, err
}

// TopicResend has messages that were given up delivered again, or, with Drop, forgets them. No offsets: all.
type TopicResend struct {
	Topic    string   `json:"topic"`
	Consumer string   `json:"consumer,omitempty"` // "": all
	Offsets  []uint64 `json:"offsets,omitempty"`
	Drop     bool     `json:"drop,omitempty"`
}

func (s *Server) topicResend(r *http.Request) (any, error) {
	var req TopicResend
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	p, err := s.node.Topics()
	if err != nil {
		return nil, err
	}
	n, err := p.Resend(r.Context(), req.Topic, req.Consumer, req.Drop, req.Offsets...)
	return map[string]int{"messages": n}, err
}

func (s *Server) topicForget(r *http.Request) (any, error) {
	p, err := s.node.Topics()
	if err == nil {
		err = p.Forget(r.Context(), r.URL.Query().Get("topic"), r.URL.Query().Get("consumer"))
	}
	return map[string]bool{"removed": err == nil}, err
}
