// Package scenario says what a simulated cluster is like and what happens to it. One file describes it for both storeys:
// complete nodes in virtual time (package world) and a model of a million (package model).
//
// A Scenario that ReadFile or Parse returned is checked and complete: every default is filled in, every name resolves, every
// figure is within its bounds. It is only read after that, by any number of goroutines.
package scenario

import (
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// The tags of the structs say what a file may hold; Parse, the defaults and the schema are made from them: yaml: the field's name,
// doc: what it is, and its default where a file that is silent means a value; in: bounds; must: it has to be there; enum: its values.

// Scenario is one cluster, its load, and what goes wrong.
type Scenario struct {
	Name  string `yaml:"name" doc:"short name: letters, digits and dashes" must:"true"`
	About string `yaml:"about" doc:"what it is for, one sentence"`

	Duration Span     `yaml:"duration" doc:"simulated time, from when the cluster stands and load begins" must:"true" in:"1ms..3650d"`
	Settle   Span     `yaml:"settle" doc:"simulated time after the load has ended, in which repair may finish; default 0" in:"0s..365d"`
	Seeds    []uint64 `yaml:"seeds" doc:"each gives one run; default [1]"`
	Start    string   `yaml:"start" doc:"warm: routing tables are filled in; bootstrap: nodes join through a few others; default warm" enum:"warm,bootstrap"`
	Table    bool     `yaml:"member_table" doc:"whether each node keeps a table of all members; default false"`

	Regions []Region    `yaml:"regions" doc:"where nodes are; default one"`
	Latency [][]Span    `yaml:"latency" doc:"one way, from the region of the row to that of the column; may be left out where there is one region: 1ms" in:"0s..1h"`
	Jitter  float64     `yaml:"jitter" doc:"each message is late by up to this part of its latency, uniformly; default 0" in:"0..1"`
	Loss    [][]float64 `yaml:"loss" doc:"probability that a packet is lost and sent again, by regions like latency; default none" in:"0..1"`

	Classes []Class   `yaml:"classes" doc:"kinds of nodes" must:"true"`
	Data    []Dataset `yaml:"data" doc:"datasets that are in the cluster when load begins"`
	Agents  []Agents  `yaml:"agents" doc:"agents that exist when load begins"`
	Topics  []Topics  `yaml:"topics" doc:"topics that exist when load begins"`
	Load    []Load    `yaml:"load" doc:"what is asked of the cluster"`
	Faults  []Fault   `yaml:"faults" doc:"what goes wrong, and when"`

	Policies []cost.Policy `yaml:"policies" doc:"rules of placement to compare: fluid, ship-data, ship-code; default [fluid]"`
	Expect   []Expect      `yaml:"expect" doc:"what must hold of the figures of every run, such as 'locality >= 0.95'"`

	File string `yaml:"-"` // where it was read from
	Sum  string `yaml:"-"` // SHA-256 of the file's bytes, hexadecimal
}

// Span is a duration in a file: 20ms, 1.5h, 2d.
type Span = time.Duration

// Size is a number of bytes in a file: 64MiB, 1.5GB, 100.
type Size uint64

// Rate is a number of bytes a second. In a file it is in bits when it says so: 100Mbit, 1Gbit, 10MB.
type Rate float64

// Region is a place; all nodes in it have the same latency to those of another.
type Region struct {
	Name  string  `yaml:"name" doc:"name" must:"true"`
	Share float64 `yaml:"share" doc:"part of the nodes that are here, of classes that name no region; default equal shares" in:"0..1"`
}

// Class is a kind of node.
type Class struct {
	Name     string            `yaml:"name" doc:"name" must:"true"`
	Count    int               `yaml:"count" doc:"nodes of this class; --nodes scales all classes" must:"true" in:"0..20000000"`
	Regions  []string          `yaml:"regions" doc:"where they are, in turn; default all, by share"`
	Cores    int               `yaml:"cores" doc:"processors, and tasks at once; default 4" in:"1..4096"`
	Gas      float64           `yaml:"gas_per_s" doc:"gas that a core spends in a second; default 1e9" in:"1..1e18"`
	Memory   Size              `yaml:"memory" doc:"bytes; default 8GiB" in:"1MiB.."`
	Disk     Size              `yaml:"disk" doc:"bytes free; default 100GiB"`
	DiskRate Rate              `yaml:"disk_rate" doc:"bytes a second; default 500MB" in:"1.."`
	Sync     Span              `yaml:"disk_sync" doc:"how long an fsync takes; default 1ms" in:"0s..1m"`
	GPUs     []GPU             `yaml:"gpus" doc:"graphics processors of each"`
	Up       Rate              `yaml:"up" doc:"what it can send; default 1Gbit" in:"1.."`
	Down     Rate              `yaml:"down" doc:"what it can receive; default 1Gbit" in:"1.."`
	Session  Span              `yaml:"session" doc:"mean time until it goes, exponential; default 0: it stays" in:"0s..3650d"`
	Downtime Span              `yaml:"downtime" doc:"mean time until it is back, with its disk, exponential; default 10m" in:"1ms..3650d"`
	NAT      bool              `yaml:"nat" doc:"it can connect, and cannot be connected to but through those it is connected to"`
	Labels   map[string]string `yaml:"labels" doc:"attributes that needs can speak of"`
}

// GPU is a graphics processor of a class.
type GPU struct {
	Vendor string  `yaml:"vendor" doc:"nvidia, amd, ..." must:"true"`
	Model  string  `yaml:"model" doc:"name of the model"`
	Count  int     `yaml:"count" doc:"how many; default 1" in:"1..64"`
	Memory Size    `yaml:"memory" doc:"bytes" must:"true" in:"1.."`
	Rate   float64 `yaml:"gas_per_s" doc:"gas that it spends in a second; default 100 times a core's" in:"1..1e20"`
}

// Dataset is a family of datasets of one kind.
type Dataset struct {
	Name      string  `yaml:"name" doc:"name" must:"true"`
	Count     int     `yaml:"count" doc:"how many; default 1" in:"1..10000000"`
	Bytes     Size    `yaml:"bytes" doc:"size of each, or the mean of their sizes" must:"true" in:"1.."`
	Sigma     float64 `yaml:"sigma" doc:"of a lognormal distribution of sizes; default 0: all alike" in:"0..4"`
	Partition Size    `yaml:"partition" doc:"bytes of a partition; default 16MiB" in:"1KiB..64GiB"`
	Replicas  int     `yaml:"replicas" doc:"copies of each partition; default 2" in:"1..1000"`
	Zipf      float64 `yaml:"zipf" doc:"exponent of their popularity: the i-th is asked for in proportion to 1/i^zipf; default 0: equally" in:"0..10"`
	Class     string  `yaml:"class" doc:"only nodes of this class keep it; default any"`
}

// Agents is a family of agents of one kind.
type Agents struct {
	Name     string `yaml:"name" doc:"name" must:"true"`
	Count    int    `yaml:"count" doc:"how many; default 1" in:"1..10000000"`
	State    Size   `yaml:"state" doc:"bytes of state; default 1KiB"`
	Replicas int    `yaml:"replicas" doc:"keepers; default 3" in:"1..9"`
	Reads    string `yaml:"reads" doc:"the datasets whose partitions a call may read: each agent reads one of them again and again"`
	Read     Size   `yaml:"read_bytes" doc:"bytes of it that a call reads; default 0"`
}

// Topics is a family of topics of one kind.
type Topics struct {
	Name        string `yaml:"name" doc:"name" must:"true"`
	Count       int    `yaml:"count" doc:"how many; default 1" in:"1..10000000"`
	Subscribers int    `yaml:"subscribers" doc:"nodes that listen to each; default 3" in:"0..1000000"`
	Durable     bool   `yaml:"durable" doc:"whether messages are kept in a log; default false"`
}

// What a load asks for.
const (
	Lookup  = "lookup"  // the nodes closest to a random key
	Provide = "provide" // says in the DHT who holds a random key
	Find    = "find"    // who holds a partition of a dataset
	FindGPU = "gpu"     // a node with a GPU, by the DHT's capability keys
	Task    = "task"    // a task on a partition of a dataset
	Call    = "call"    // an agent, that writes
	Read    = "read"    // an agent, that reads
	Publish = "publish" // a message on a topic
)

// Load is one stream of requests.
type Load struct {
	Name string  `yaml:"name" doc:"name in the report; default what it asks for"`
	Ask  string  `yaml:"ask" doc:"what is asked for" enum:"lookup,provide,find,gpu,task,call,read,publish" must:"true"`
	On   string  `yaml:"on" doc:"the datasets, agents or topics it is about; default the first"`
	From string  `yaml:"from" doc:"the class whose nodes ask; default any"`
	Rate float64 `yaml:"rate" doc:"requests a second in the whole cluster, a Poisson process" in:"0..1e9"`

	Burst *Burst `yaml:"burst" doc:"in place of rate: many at once, again and again"`
	Daily *Daily `yaml:"daily" doc:"rate follows the hour of the day"`
	Trace string `yaml:"trace" doc:"in place of rate: a CSV file with a header and the columns seconds and, if wanted, node and item"`
	Begin Span   `yaml:"begin" doc:"when it begins; default 0" in:"0s.."`
	End   Span   `yaml:"end" doc:"when it ends; default the scenario's duration" in:"0s.."`

	Work  Work `yaml:"task" doc:"of ask: task"`
	Bytes Size `yaml:"bytes" doc:"of a call's payload or a message; default 256" in:"0..4MiB"`

	Rows    []Row `yaml:"-"` // of the trace, by time
	Skipped int   `yaml:"-"` // broken rows of the trace
}

// Burst is many requests at once.
type Burst struct {
	Every Span `yaml:"every" doc:"between bursts" must:"true" in:"1ms.."`
	Count int  `yaml:"count" doc:"requests in each" must:"true" in:"1..10000000"`
}

// Daily makes a rate rise and fall once a day, as a cosine.
type Daily struct {
	Peak float64 `yaml:"peak" doc:"greatest over mean rate, 1 to 2" must:"true" in:"1..2"`
	At   Span    `yaml:"at" doc:"time of the peak, from the begin; default 12h" in:"0s..24h"`
}

// Row is one request of a trace. Node and Item count from 0; -1: drawn.
type Row struct {
	At   Span
	Node int
	Item int
}

// Work is what a task takes.
type Work struct {
	Code     Size    `yaml:"code" doc:"bytes of its module; default 256KiB"`
	Modules  int     `yaml:"modules" doc:"different modules of that size, asked for equally often; default 1" in:"1..100000"`
	Gas      float64 `yaml:"gas" doc:"gas of one task; default 0" in:"0..1e20"`
	PerByte  float64 `yaml:"gas_per_byte" doc:"gas for each byte of its input; default 0" in:"0..1e12"`
	Result   Size    `yaml:"result" doc:"bytes of its result; default 1KiB"`
	Needs    string  `yaml:"needs" doc:"what the node must have, in CEL, as of 'run --needs'"`
	GPU      bool    `yaml:"gpu" doc:"it takes a GPU for itself while it runs, and its gas is spent there"`
	Deadline Span    `yaml:"deadline" doc:"after which it counts as failed; default 10m" in:"1ms.."`
}

// What can go wrong.
const (
	Kill      = "kill"      // nodes lose their power; they come back with what was synced when the fault is over
	Wipe      = "wipe"      // the same, and their disks are gone
	Churn     = "churn"     // sessions end and begin: of everybody, in place of the classes' own figures
	Partition = "partition" // nodes cannot speak with the others, nor the others with them
	OneWay    = "one-way"   // what nodes send does not arrive; what is sent to them does
	SlowLink  = "slow-link" // latency times factor
	SlowDisk  = "slow-disk" // an fsync takes factor times as long
	SlowGPU   = "slow-gpu"  // a GPU task takes factor times as long
	SlowCPU   = "slow-cpu"  // a task takes factor times as long
	ClockStep = "clock-step"
)

// Fault is something that goes wrong for a while.
type Fault struct {
	Kind     string  `yaml:"kind" doc:"what goes wrong" enum:"kill,wipe,churn,partition,one-way,slow-link,slow-disk,slow-gpu,slow-cpu,clock-step" must:"true"`
	At       Span    `yaml:"at" doc:"when it begins" must:"true" in:"0s.."`
	For      Span    `yaml:"for" doc:"how long it lasts; default to the end of the load; it may last to the end of settle" in:"0s.."`
	Share    float64 `yaml:"share" doc:"part of the nodes it concerns, 0 to 1; default all that class and region name" in:"0..1"`
	Nodes    int     `yaml:"nodes" doc:"in place of share: how many" in:"0.."`
	Class    string  `yaml:"class" doc:"only nodes of this class"`
	Region   string  `yaml:"region" doc:"only nodes of this region"`
	Factor   float64 `yaml:"factor" doc:"of slow-*: default 10" in:"0.001..1e6"`
	Step     Span    `yaml:"step" doc:"of clock-step: by how much, forward or back"`
	Session  Span    `yaml:"session" doc:"of churn: mean session" in:"1ms..3650d"`
	Downtime Span    `yaml:"downtime" doc:"of churn: mean downtime; default 10m" in:"1ms..3650d"`
}

// Expect is a condition on a figure.
type Expect struct {
	Text   string  // as written
	Figure string  // name of a figure of package report, which may end in ' of POLICY'
	Op     string  // <, <=, ==, >=, >
	Value  float64 // in the figure's unit
}

// Holds reports whether x is as expected.
func (e Expect) Holds(x float64) bool {
	switch e.Op {
	case "<":
		return x < e.Value
	case "<=":
		return x <= e.Value
	case "==":
		return x == e.Value
	case ">=":
		return x >= e.Value
	case ">":
		return x > e.Value
	}
	return false
}

// Nodes returns how many nodes the scenario has.
func (s *Scenario) Nodes() (n int) {
	for _, c := range s.Classes {
		n += c.Count
	}
	return n
}
