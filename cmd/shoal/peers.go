package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/node"
)

func peersCmd(s *shell) *cobra.Command {
	var where string
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "List the other members of the fabric",
		Long: `Every fact carries its age: the time since this node last had news of that peer. A node with
--members-table off looks up who announces what --where asks for (executors, GPUs, labels, cpus, memory, arch,
os); for anything else it asks a sample of the fabric, and says so on the error stream.`,
		Example: `  shoal peers
  shoal peers --where 'cpus >= 8 && labels.zone == "a"'
  shoal peers --where 'gpus.exists(g, g.memory >= gib(16))'`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
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
	cmd.Flags().StringVar(&where, "where", "", "only those that fulfil this CEL expression over os, arch, cpus, memory,\ndisk, gpus, executors, labels, load")
	return cmd
}
