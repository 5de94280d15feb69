package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/api"
)

func whereCmd(s *shell) *cobra.Command {
	var trace bool
	cmd := &cobra.Command{
		Use:   "where CID",
		Short: "Say which peer holds which partitions of a dataset",
		Long:  "Where finds the holders through the DHT and asks each what it has. The age says how old its answer is.",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flag := ""
			if trace {
				flag = "1"
			}
			on := func(e api.Event) {
				if e.Hop == nil {
					return
				}
				if s.json {
					_ = s.print(e.Hop)
					return
				}
				h := e.Hop
				line := fmt.Sprintf("%8.1f ms  %-8s %s", h.AfterMS, h.Event, h.Peer.Short())
				if h.Found > 0 {
					line += fmt.Sprintf("  names %d", h.Found)
				}
				if h.Error != "" {
					line += "  " + h.Error
				}
				s.note("%s", line)
			}
			var res []api.HolderResult
			err := s.client().Stream(cmd.Context(), http.MethodGet, api.Query("where/"+args[0], "trace", flag), nil, &res, on)
			if err != nil {
				return err
			}
			if s.json {
				return s.lines(len(res), func(i int) any { return res[i] })
			}
			rows := make([][]string, len(res))
			for i, h := range res {
				rows[i] = []string{string(h.Peer), size(h.Bytes), ago(h.AgeS), ranges(h.Partitions)}
				if len(h.Extra) > 0 {
					rows[i][3] += "; beyond the replicas: " + ranges(h.Extra)
				}
			}
			s.table("PEER BYTES AGE PARTITIONS", rows)
			return nil
		},
	}
	cmd.Flags().BoolVar(&trace, "trace", false, "show each hop of the lookup")
	return cmd
}
