package module

import "strings"

// Agent is the module name of the host calls of agents, which docs/abi.md specifies.
const Agent = "shoal"

// AgentCall returns the type of a host call, as signature does, or "" if there is no such call.
func AgentCall(name string) string {
	switch name {
	case "now", "epoch", "gas":
		return ":I"
	case "reading":
		return ":i"
	case "input", "output", "fail", "error", "rest", "delete", "log", "random",
		"agent", "caller", "request", "trace", "method":
		return "ii:i"
	case "get", "put", "state_clear":
		return "iiii:i"
	case "state_add":
		return "iiiiIi:i"
	case "state_insert", "state_get", "state_fields":
		return "iiiiiii:i"
	case "state_items":
		return "iiiiiiiiii:i"
	case "send", "state_set", "state_remove", "state_has":
		return "iiiiii:i"
	case "scan":
		return "iiiiiii:i"
	case "timer":
		return "iiIiiii:i"
	case "read":
		return "iiiiIii:i"
	case "call", "files":
		return "iiiiiiii:i"
	}
	return ""
}

// Migrate is the method that an upgrade runs. Nobody else may call it, so it is not among the methods.
const Migrate = "migrate"

// methods lists the exported functions that a turn of an agent can be: without parameters, and with an i32
// or nothing as result. They are in the order of the exports.
func (m *Module) methods() ([]string, error) {
	var out []string
	types := m.FuncTypes()
	for _, e := range m.Exports {
		if e.Kind != KindFunc || e.Name == "" || strings.HasPrefix(e.Name, "_") || e.Name == Migrate {
			continue
		}
		if uint64(e.Index) >= uint64(len(types)) {
			return nil, broken(sectionName(7), errNoFunction(e.Index))
		}
		s, err := m.signature(types[e.Index])
		if err != nil {
			return nil, broken(sectionName(3), err)
		}
		if s == ":" || s == ":i" {
			out = append(out, e.Name)
		}
	}
	return out, nil
}
