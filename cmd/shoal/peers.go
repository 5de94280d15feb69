package main

import (
	"fmt"
	"net/http"

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
		Use:   "peers",
		Short: "List the other members of the fabric",
		Long: `Every fact carries its age: the time since this node last had news of that peer. A node with
--members-table off looks up who announces what --where asks for (GPUs, labels, cpus, memory, arch,
os); for anything else it asks a sample of the fabric, and says so on the error stream.`,
		Example: `  shoal peers
  shoal peers --where 'cpus >= 8 && labels.zone == "a"'
  shoal peers --where 'gpus.exists(g, g.memory >= gib(16))'
  shoal peers --rates`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rates {
				if where != "" {
					return usage(cmd, "--rates shows all peers: it takes no --where")
				}
				return s.rates(cmd)
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
					fmt.Sprintf("%d cpus, %s%s", p.Attributes.CPUs, size(p.Attributes.Memory), labels(p.Attributes)),
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
	cmd.Flags().StringVar(&where, "where", "", "only those that fulfil this CEL expression over os, arch, cpus, memory,\ndisk, gpus, labels, load")
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
				string(p.Peer), unknown(p.RTT, cost.Seconds(p.RTT)), unknown(p.Bytes, size(uint64(p.Bytes))+"/s"), unknown(p.Fetch, size(uint64(p.Fetch))+"/s"),
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
