package node

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/services"
	"github.com/shoal-fabric/shoal/services/batch"
)

func (n *Node) buildServices() (err error) {
	r := n.rooms
	cfg := n.cfg.Services
	cfg.Log, cfg.Slots = n.cfg.Log, n.cfg.Slots
	if n.cfg.patient {
		cfg.OfferWait = n.cfg.patience()
	}
	var programs services.Programs
	if len(n.cfg.Executors) > 0 {
		programs = warmPrograms{r.native}
	}
	r.services, err = services.New(cfg, services.Deps{
		Programs: programs,
		Peers:    r.rpc, Directory: r.dht, Members: r.members, Names: serviceNames{r.agents}, Code: serviceCode{agentCode{n}}, Agents: lateAgents{n}, Shared: r.state,
		Link: n.link, Load: r.sched.Load,
	})
	return err
}

// serviceNames are the directories of agents, as services need them.
type serviceNames struct{ a *agents.Agents }

func (s serviceNames) Full(name string) (string, error) { return s.a.ServiceName(name) }

func (s serviceNames) Define(ctx context.Context, name string, key shoal.Key, spec []byte) error {
	return s.a.Define(ctx, name, key, spec)
}

func (s serviceNames) Find(ctx context.Context, name string) (services.Named, error) {
	return named(s.a.Defined(ctx, name))
}

func (s serviceNames) Remove(ctx context.Context, name string) (services.Named, error) {
	return named(s.a.Undefine(ctx, name))
}

func (s serviceNames) List(ctx context.Context, owner shoal.PeerID) (list []services.Named, err error) {
	all, err := s.a.Definitions(ctx, owner)
	for i := range all {
		n, _ := named(&all[i], nil)
		list = append(list, n)
	}
	return list, err
}

func (s serviceNames) Kept(yield func(n services.Named, first bool)) error {
	return s.a.KeptServices(func(_ shoal.PeerID, e directory.Entry, first bool) {
		n, _ := named(&e, nil)
		yield(n, first)
	})
}

func named(e *directory.Entry, err error) (services.Named, error) {
	if err != nil {
		return services.Named{}, err
	}
	return services.Named{Name: e.Name, Key: shoal.Key(e.Key), Spec: e.Spec, At: e.At}, nil
}

// serviceCode is the code of services: kept as that of agents is.
type serviceCode struct{ agentCode }

func (c serviceCode) Here(ctx context.Context, module string) (size, missing uint64, compiled bool) {
	id, err := shoal.ParseCID(module)
	if err != nil {
		return 0, 0, false
	}
	have, missing, _ := c.n.rooms.data.Missing(ctx, id)
	return have + missing, missing, c.n.rooms.sandbox.Ready(id)
}

// warmPrograms are the native executors, as processes that stay.
type warmPrograms struct{ n *native.Native }

// Room says why no process could be started now. Devices that are taken are not waited for: another node may have some.
func (w warmPrograms) Room(name string) error {
	wait, err := w.n.Room(shoal.ExecCID(name), shoal.Limits{})
	if err == nil && wait {
		err = shoal.E(shoal.Overloaded, shoal.ExecPrefix+name, "its devices are taken", "try again later")
	}
	return err
}

func (w warmPrograms) Open(ctx context.Context, name, method string) (services.Program, error) {
	p, err := w.n.Open(ctx, name, nil, []string{"SHOAL_METHOD=" + method})
	if err != nil {
		return nil, err
	}
	return warmProgram{p}, nil
}

// warmProgram is a warm process as an instance of a service.
type warmProgram struct{ *native.Warm }

func (w warmProgram) Run(ctx context.Context, calls []services.Call) ([]batch.Answer, error) {
	payloads := make([][]byte, len(calls))
	for i := range calls {
		payloads[i] = calls[i].Payload
	}
	b, err := w.Calls(ctx, batch.Pack(payloads))
	if err != nil {
		return nil, err
	}
	return batch.Unpack(len(calls), b)
}

// ServiceSpec says what service is wanted. Zero values: as services.Spec has them.
type ServiceSpec struct {
	Name       string
	Code       string // what Module takes; ""
	Exec       string // name of a native executor, with or without exec:; ""
	Method     string
	Min, Max   int
	Target     time.Duration
	Idle       time.Duration
	Needs      string
	Idempotent bool
}

// CreateService gives a name to a function. Exists: an agent or another service has it.
func (n *Node) CreateService(ctx context.Context, s ServiceSpec) (*services.Definition, error) {
	if err := n.belong("create service " + s.Name); err != nil {
		return nil, err
	}
	spec := services.Spec{
		Name: s.Name, Exec: s.Exec, Method: s.Method, Min: s.Min, Max: s.Max, Target: s.Target, Idle: s.Idle, Needs: s.Needs, Idempotent: s.Idempotent,
	}
	if s.Code != "" {
		c, err := n.Module(ctx, s.Code)
		if err != nil {
			return nil, err
		}
		spec.Code = c.String()
	}
	return n.rooms.services.Create(ctx, spec)
}

// CallService has a service process a payload.
func (n *Node) CallService(ctx context.Context, name string, payload []byte, o services.CallOptions) ([]byte, error) {
	if err := n.belong("call " + name); err != nil {
		return nil, err
	}
	return n.rooms.services.Call(ctx, name, payload, o)
}

// Services lists the services of an owner, "" for the fabric's.
func (n *Node) Services(ctx context.Context, owner shoal.PeerID) ([]services.Definition, error) {
	return n.rooms.services.List(ctx, owner)
}

// ShowService describes a service and its instances over the fabric.
func (n *Node) ShowService(ctx context.Context, name string) (*services.Show, error) {
	return n.rooms.services.Show(ctx, name)
}

// RemoveService frees a service's name and closes its instances.
func (n *Node) RemoveService(ctx context.Context, name string) error {
	if err := n.belong("remove service " + name); err != nil {
		return err
	}
	return n.rooms.services.Remove(ctx, name)
}
