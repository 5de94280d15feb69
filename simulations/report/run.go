// Package report holds what simulations found: the figures of runs, how they are told and compared.
package report

import "github.com/shoal-fabric/shoal/scheduler/cost"

// Result is what 'sim run' writes: all runs of one scenario.
type Result struct {
	Scenario string   `json:"scenario"` // its name
	Sum      string   `json:"scenario_sha256"`
	Version  string   `json:"version"` // of Shoal
	About    string   `json:"about,omitempty"`
	Nodes    int      `json:"nodes"`
	File     string   `json:"file"`                // where the scenario was read from, or the name of a ready one
	Scaled   int      `json:"scaled_to,omitempty"` // nodes asked for in place of the file\'s
	Set      []string `json:"set,omitempty"`       // values in place of the file\'s: PATH=VALUE
	Duration float64  `json:"duration_s"`          // of the load, simulated
	Runs     []Run    `json:"runs"`
	Expect   []string `json:"expect,omitempty"` // as the scenario has them
	Faults   []Shade  `json:"faults,omitempty"`
	Skipped  int      `json:"skipped_rows,omitempty"` // broken rows of traces that were left out
	Unmet    []Unmet  `json:"unmet,omitempty"`        // expectations
	Cut      bool     `json:"cut,omitempty"`          // it was interrupted: runs may be missing, the last ones end early
}

// Shade is a time in which something was wrong.
type Shade struct {
	From float64 `json:"from_s"`
	To   float64 `json:"to_s"`
	What string  `json:"what"`
}

// Storeys.
const (
	World = "world"
	Model = "model"
)

// Run is one storey, policy and seed.
type Run struct {
	Storey string      `json:"storey"`
	Policy cost.Policy `json:"policy"` // "" is fluid
	Seed   uint64      `json:"seed"`
	Nodes  int         `json:"nodes"`

	Trace     string            `json:"trace_hash,omitempty"` // of every event, in order; the model's only
	Simulated float64           `json:"simulated_s"`
	Wall      float64           `json:"wall_s"`
	Events    uint64            `json:"events"`
	Mix       map[string]uint64 `json:"event_mix,omitempty"` // the events by the district of the model that they are of; "later": of whatever
	RSS       uint64            `json:"rss_bytes"`           // greatest resident size of the process during the run, 0 unknown
	Leaves    map[string]uint64 `json:"leaf_calls,omitempty"`

	Figures map[string]float64  `json:"figures"`            // by name, see Names; those that the scenario does not ask for are absent
	Bytes   map[string]uint64   `json:"bytes"`              // that crossed links, by kind, see Kinds
	Said    map[string]uint64   `json:"bytes_of,omitempty"` // the same by protocol or call, such as data.held
	Series  map[string][]Point  `json:"series,omitempty"`
	Hists   map[string][]Bucket `json:"histograms,omitempty"`
	Broken  []string            `json:"violations,omitempty"` // what the checkers found
	Cut     bool                `json:"cut,omitempty"`
}

// Point is a value over simulated time. Series that have percentiles are several: "lookup_ms_p50", "lookup_ms_p99". Those that
// have a plot of their own are those of the times among the figures (with _p50 and _p99), and availability, locality, queue_mean, gpu_use, and up,
// the part of the nodes that are up.
type Point struct {
	At    float64 `json:"t"` // seconds since the load began: the middle of the time it speaks of
	Value float64 `json:"v"`
}

// Bucket is one bar of a histogram: how many values lie in [From, To).
type Bucket struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Count uint64  `json:"n"`
}

// Unmet is an expectation that did not hold.
type Unmet struct {
	Expect string      `json:"expect"`
	Storey string      `json:"storey"`
	Policy cost.Policy `json:"policy"`
	Seed   uint64      `json:"seed"`
	Value  float64     `json:"value"`
	Absent bool        `json:"absent,omitempty"` // the run has no such figure
}

// Kinds of bytes that cross links: payload and frame headers. The transport's own (TLS, yamux, TCP, IP) are not counted, in
// either storey.
const (
	ByData    = "data"    // partitions, to tasks, agents and new replicas
	ByCode    = "code"    // modules
	ByResults = "results" // of tasks
	ByAgents  = "agents"  // calls, replies, Raft
	ByTopics  = "topics"
	ByDHT     = "dht"
	ByMembers = "members" // liveness, records, load
	ByOther   = "other"
)

// Kinds lists the kinds in the order in which they are told.
var Kinds = []string{ByData, ByCode, ByResults, ByAgents, ByTopics, ByDHT, ByMembers, ByOther}

// Figure says what a figure is.
type Figure struct {
	Name string
	Unit string // "", "ms", "s", "bytes", "/s"
	Says string // in a line
	More string // "better", "worse": what it is if it grows; "" neither
}

// Names are all figures, in the order in which they are told. A scenario's expectations use these names.
var Names = []Figure{
	{"lookups", "", "lookups that ended", ""},
	{"lookup_hops_mean", "", "peers on the way to the closest one found: the one asked first is the first", "worse"},
	{"lookup_messages_mean", "", "requests sent in a lookup", "worse"},
	{"lookup_ms_p50", "ms", "time of a lookup, median", "worse"},
	{"lookup_ms_p99", "ms", "time of a lookup, 99th percentile", "worse"},
	{"lookup_exact", "", "part of the lookups that found the closest node that is up, of those that are not behind NAT", "better"},
	{"find_ms_p50", "ms", "time until the first holder of a partition was known, median", "worse"},
	{"find_found", "", "part of the searches that found a holder that is up", "better"},
	{"gpu_ms_p50", "ms", "time until a node with a GPU was known, median", "worse"},
	{"gpu_found", "", "part of the searches that found one", "better"},
	{"tasks", "", "tasks that ended", ""},
	{"task_failed", "", "part of the tasks that failed", "worse"},
	{"task_ms_p50", "ms", "time from asking until the result was there, median", "worse"},
	{"task_ms_p99", "ms", "the same, 99th percentile", "worse"},
	{"makespan_s", "s", "from the first task's begin to the last one's end", "worse"},
	{"locality", "", "part of the bytes that tasks read which were on their node when they were placed", "better"},
	{"moved_bytes", "bytes", "data and code that crossed links for tasks", "worse"},
	{"queue_mean", "", "tasks that wait on a node, mean over nodes and time", "worse"},
	{"gpu_use", "", "part of the time for which a GPU was taken, mean", ""},
	{"calls", "", "calls of agents that ended, reads as well", ""},
	{"call_failed", "", "part of the calls that failed", "worse"},
	{"call_ms_p50", "ms", "time of a call, median", "worse"},
	{"call_ms_p99", "ms", "time of a call, 99th percentile", "worse"},
	{"agent_moves", "", "agents that moved by themselves", ""},
	{"published", "", "messages published", ""},
	{"delivered", "", "part of the deliveries due that happened", "better"},
	{"deliver_ms_p50", "ms", "from publishing to a subscriber, median", "worse"},
	{"availability", "", "part of all requests, of whatever kind, that were answered", "better"},
	{"partitions_lost", "", "partitions of which no copy was left at the end, on any disk", "worse"},
	{"partitions_short", "", "partitions with fewer copies than asked for at the end, on nodes that are up", "worse"},
	{"repair_bytes", "bytes", "data that crossed links to make new replicas", "worse"},
	{"announce_bytes_per_node_hour", "bytes", "of announcing in the DHT what is held", "worse"},
	{"bytes_per_node_hour", "bytes", "all that crossed links", "worse"},
	{"connections_per_node_hour", "", "connections opened", "worse"},
	{"memory_per_node", "bytes", "resident size of the simulator over its nodes", ""},
	{"events_per_s", "/s", "events of the simulator in a second of wall time", ""},
}
