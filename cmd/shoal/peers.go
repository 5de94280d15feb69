package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/scheduler"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

func peersCmd(s *shell) *cobra.Command {
	var where string
	var rates bool
	cmd := &cobra.Command{
		Use:   "peers [PEER]",
		Short: "List the other members of the fabric, or describe one",
		Long: `Peers lists the members; with a peer's ID, or how it ends, it tells all that this one says of its machine. Every fact carries its age: the time since this node last had news of that peer. A node with
--members-table off looks up who announces what --where asks for (executors, GPUs, labels, cpus, memory, arch,
os); for anything else it asks a sample of the fabric, and says so on the error stream.

An expression may speak of os, arch, cpus, memory, disk, version, id, labels, executors, hash_mbs; cpu.model, cpu.cores,
cpu.features; rate.gas (units a second, one core), rate.memory_gbs, rate.disk_gbs; load.slots, load.running, load.queued,
load.task_s, load.disk_free, load.held; and of each of gpus: vendor, model, memory, free, id, driver, healthy, health,
declared. gib(n) and mib(n) are amounts of bytes; version("550.54") compares as versions do. What is not known is 0
or empty.`,
		Example: `  shoal peers
  shoal peers --where 'cpus >= 8 && labels.zone == "a"'
  shoal peers --where 'gpus.exists(g, g.healthy && g.free >= gib(16) && version(g.driver) >= version("550"))'
  shoal peers --where '"avx2" in cpu.features && rate.disk_gbs > 1'
  shoal peers KN4jWc5h
  shoal peers --rates`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case rates && (where != "" || len(args) > 0):
				return usage(cmd, "--rates shows all peers: it takes no peer and no --where")
			case rates:
				return s.rates(cmd)
			case len(args) > 0 && where != "":
				return usage(cmd, "give a peer or --where, not both")
			case len(args) > 0:
				var p node.PeerInfo
				if err := s.client().Call(cmd.Context(), http.MethodGet, "peers/"+url.PathEscape(args[0]), nil, &p); err != nil {
					return err
				}
				return s.show(p, func() { s.peer(p) })
			}
			var res []node.PeerInfo
			note, err := s.client().Get(cmd.Context(), api.Query("peers", "where", where), &res)
			if err != nil {
				return err
			}
			if note != "" { // for scripts too: what they get may not be all there is
				fmt.Fprintln(s.errs, "note: "+note)
			}
			if s.json {
				return s.lines(len(res), func(i int) any { return res[i] })
			}
			rows := make([][]string, len(res))
			for i, p := range res {
				rows[i] = []string{
					string(p.PeerID), string(p.State), ago(p.AgeS), fmt.Sprintf("%d/%d", p.Load.Running+p.Load.Queued, p.Load.Slots),
					brief(p.Attributes, p.Load),
				}
			}
			if len(rows) == 0 {
				s.note("no peer%s", map[bool]string{true: " fits", false: " yet: 'shoal invite' makes an invite for another machine"}[where != ""])
				return nil
			}
			s.table("PEER STATE AGE TASKS MACHINE", rows)
			return nil
		},
	}
	cmd.Flags().BoolVar(&rates, "rates", false, "what this node has measured of each peer, and learnt from tasks: links, speed\nagainst what was said, offers that came to nothing; and of modules")
	cmd.Flags().StringVar(&where, "where", "", "only those that fulfil this CEL expression over os, arch, cpus, memory,\ndisk, gpus, cpu, rate, executors, labels, load, version")
	return cmd
}

// rates shows what placement has learnt.
func (s *shell) rates(cmd *cobra.Command) error {
	var res scheduler.Rates
	if err := s.client().Call(cmd.Context(), http.MethodGet, "rates", nil, &res); err != nil {
		return err
	}
	return s.show(res, func() {
		unknown := func(v float64, text string) string {
			if v <= 0 {
				return "-"
			}
			return text
		}
		var rows [][]string
		for _, p := range res.Peers {
			rows = append(rows, []string{
				string(p.Peer), unknown(p.RTT, cost.Seconds(p.RTT)), unknown(p.Bytes, size(uint64(p.Bytes))+"/s"+map[bool]string{true: " (probed)"}[p.Probed]), unknown(p.Fetch, size(uint64(p.Fetch))+"/s"),
				unknown(p.HashMBs, fmt.Sprintf("%.0f MB/s", p.HashMBs)), fmt.Sprintf("%.2f", p.Factor), fmt.Sprint(p.Runs), fmt.Sprint(p.Lost),
				unknown(p.Doubt, cost.Seconds(p.Doubt)),
			})
		}
		s.table("PEER RTT LINK FETCHES CORE SLOWER RUNS LOST DOUBT", rows)
		rows = nil
		for _, m := range res.Modules[:min(len(res.Modules), 20)] {
			rows = append(rows, []string{m.Module, fmt.Sprint(m.Runs), unknown(m.Gas, count(uint64(m.Gas))+"/s"), unknown(m.Effort, cost.Seconds(m.Effort/cost.DefaultHashMBs))})
		}
		if len(rows) > 0 {
			s.printf("\n")
			s.table("MODULE RUNS GAS TIME", rows)
			s.printf("TIME is that of a run on a core of %.0f MB/s.\n", cost.DefaultHashMBs)
		}
	})
}

// peer prints all that is known of one member.
func (s *shell) peer(p node.PeerInfo) {
	s.printf("peer      %s\nstate     %s, last news %s\n", p.PeerID, p.State, ago(p.AgeS))
	for i, a := range p.Addresses {
		s.printf("%-9s %s\n", map[bool]string{true: "address"}[i == 0], a)
	}
	s.printf("tasks     %d running, %d queued, %d slots\n", p.Load.Running, p.Load.Queued, p.Load.Slots)
	s.printf("storage   %s held, %s free\n", size(p.Load.HeldBytes), size(p.Load.DiskFree))
	s.machine(p.Attributes, p.Load)
	if p.RTTms > 0 || p.RateMBs > 0 {
		s.printf("link      %.1f ms", p.RTTms)
		if p.RateMBs > 0 {
			s.printf(", %.1f MB/s", p.RateMBs)
		}
		s.printf("\n")
	}
	s.printf("version   %s\n", p.Attributes.Version)
}
