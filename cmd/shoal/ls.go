package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/api"
)

func lsCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:     "ls [CID[/PATH]]",
		Short:   "List a folder of a dataset; without a CID, the datasets this node knows",
		Example: "  shoal ls\n  shoal ls CID/notes",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return s.datasets(cmd)
			}
			c, sub, _ := strings.Cut(strings.TrimPrefix(args[0], "/ipfs/"), "/")
			var res []api.Entry
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("ls/"+c, "path", sub), nil, &res); err != nil {
				return err
			}
			if s.json {
				return s.lines(len(res), func(i int) any { return res[i] })
			}
			for _, e := range res {
				name, n := e.Name, size(e.Bytes)
				if e.Dir {
					name, n = name+"/", "-"
				}
				s.printf("%10s  %s\n", n, name)
			}
			return nil
		},
	}
}

func (s *shell) datasets(cmd *cobra.Command) error {
	var res []api.Dataset
	if err := s.client().Call(cmd.Context(), http.MethodGet, "datasets", nil, &res); err != nil {
		return err
	}
	if s.json {
		return s.lines(len(res), func(i int) any { return res[i] })
	}
	rows := make([][]string, len(res))
	for i, d := range res {
		flags := ""
		if d.Pinned {
			flags += "pinned "
		}
		if d.Public {
			flags += "public "
		}
		if n := len(d.Extra); n > 0 {
			flags += fmt.Sprintf("%d extra", n)
		}
		rows[i] = []string{d.CID, size(d.Bytes), fmt.Sprintf("%d of %d", d.Held, d.Partitions), d.Name, flags}
	}
	if len(rows) == 0 {
		s.note("no dataset here yet: 'shoal put PATH' makes one")
		return nil
	}
	s.table("CID SIZE HELD-HERE NAME FLAGS", rows)
	for _, d := range res {
		for _, x := range d.Extra {
			s.printf("%s: a copy of partition %d beyond the replicas, used %d times: %s\n", d.Name, x.Partition, x.Uses, x.Why)
		}
	}
	return nil
}
