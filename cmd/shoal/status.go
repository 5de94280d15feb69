package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/node"
)

func statusCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Describe the local node",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st node.Status
			if err := s.client().Call(cmd.Context(), http.MethodGet, "status", nil, &st); err != nil {
				return err
			}
			return s.show(st, func() {
				s.printf("peer      %s\nfabric    %s\nmembers   %d (%d connected)\n", st.PeerID, st.Fabric, st.Members, st.Connected)
				for i, a := range st.Addresses {
					label := "address"
					if i > 0 {
						label = ""
					}
					s.printf("%-9s %s\n", label, a)
				}
				s.printf("tasks     %d running, %d queued, %d slots\n", st.Load.Running, st.Load.Queued, st.Load.Slots)
				s.printf("storage   %s held, %s free\n", size(st.Load.HeldBytes), size(st.Load.DiskFree))
				s.machine(st.Attributes, st.Load)
				s.printf("up        %s, version %s, in %s\n", ago(st.UptimeS), st.Version, st.Dir)
				for _, p := range st.Pending {
					s.printf("asks to join: %s ('shoal invite approve CODE' admits it, with the code it shows)\n", p)
				}
				if st.Unrestored > 0 {
					s.printf("warning: %d partitions have too few copies and no peer to copy them to\n", st.Unrestored)
				}
			})
		},
	}
}
