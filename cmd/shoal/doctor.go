package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/node"
)

func doctorCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for faults of this node and name them",
		Long:  "Doctor checks addresses, clock, members, reachability, disk and DHT. It ends with 1 when it finds a fault.",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var res []node.Finding
			if err := s.client().Call(cmd.Context(), http.MethodGet, "doctor", nil, &res); err != nil {
				return err
			}
			faults := 0
			for _, f := range res {
				if f.Level == node.Fault {
					faults++
				}
				if s.json {
					if err := s.print(f); err != nil {
						return err
					}
					continue
				}
				line := fmt.Sprintf("%-7s %s: %s", f.Level, f.What, f.Why)
				if f.Try != "" {
					line += ": " + f.Try
				}
				s.printf("%s\n", line)
			}
			if faults > 0 {
				return guestExit(exitFailed)
			}
			return nil
		},
	}
}
