package main

import (
	"net/http"

	"github.com/spf13/cobra"
)

func leaveCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "leave",
		Short: "Hand over what this node keeps, leave the fabric, and stop",
		Long: `Leave has other members take this node's place among the keepers of agents, copies every partition that
would otherwise have too few copies, says goodbye and ends the node. It refuses if an agent would be lost. To stop for a while, end the node with SIGTERM instead: nothing moves, and it
comes back when started again.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := s.meter()
			err := s.client().Stream(cmd.Context(), http.MethodPost, "leave", nil, nil, m.on)
			m.clear()
			if err != nil {
				return err
			}
			return s.show(map[string]bool{"left": true}, func() { s.printf("left the fabric\n") })
		},
	}
}
